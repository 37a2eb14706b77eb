"""The flags of the daemon: their forms, their help, and their misspellings."""

import subprocess
import sys

import pytest

from agent.config.flags import build_parser, resolve
from agent.config.schema import Config, DeviceListStrategy
from agent.config.settings import SETTINGS
from agent.config.summary import describe, print_config
from agent.config.tree import RUN, leaves
from agent.model.errors import ConfigError

# The flags and variables of upstream's plugin: what an existing DaemonSet may already set.
UPSTREAM = {
    "--mig-strategy": ("MIG_STRATEGY", "none", "flags.migStrategy"),
    "--fail-on-init-error": ("FAIL_ON_INIT_ERROR", "false", "flags.failOnInitError"),
    "--driver-root": ("NVIDIA_DRIVER_ROOT", "/a", "flags.nvidiaDriverRoot"),
    "--nvidia-driver-root": ("NVIDIA_DRIVER_ROOT", "/a", "flags.nvidiaDriverRoot"),
    "--dev-root": ("NVIDIA_DEV_ROOT", "/a", "flags.nvidiaDevRoot"),
    "--nvidia-dev-root": ("NVIDIA_DEV_ROOT", "/a", "flags.nvidiaDevRoot"),
    "--pass-device-specs": ("PASS_DEVICE_SPECS", "true", "flags.plugin.passDeviceSpecs"),
    "--device-list-strategy": (
        "DEVICE_LIST_STRATEGY",
        "cdi-cri",
        "flags.plugin.deviceListStrategy",
    ),
    "--device-id-strategy": ("DEVICE_ID_STRATEGY", "index", "flags.plugin.deviceIDStrategy"),
    "--gdrcopy-enabled": ("GDRCOPY_ENABLED", "true", "flags.gdrcopyEnabled"),
    "--gds-enabled": ("GDS_ENABLED", "true", "flags.gdsEnabled"),
    "--mofed-enabled": ("MOFED_ENABLED", "true", "flags.mofedEnabled"),
    "--cdi-annotation-prefix": (
        "CDI_ANNOTATION_PREFIX",
        "my.io/",
        "flags.plugin.cdiAnnotationPrefix",
    ),
    "--nvidia-cdi-hook-path": ("NVIDIA_CDI_HOOK_PATH", "/a", "flags.plugin.nvidiaCTKPath"),
    "--nvidia-ctk-path": ("NVIDIA_CTK_PATH", "/a", "flags.plugin.nvidiaCTKPath"),
    "--driver-root-ctr-path": ("DRIVER_ROOT_CTR_PATH", "/a", "flags.plugin.containerDriverRoot"),
    "--container-driver-root": ("CONTAINER_DRIVER_ROOT", "/a", "flags.plugin.containerDriverRoot"),
    "--mps-root": ("MPS_ROOT", "/a", "flags.mpsRoot"),
    "--shared-devices-allocation-policy": (
        "SHARED_DEVICES_ALLOCATION_POLICY",
        "packed",
        "flags.plugin.sharedDevicesAllocationPolicy",
    ),
    "--device-discovery-strategy": (
        "DEVICE_DISCOVERY_STRATEGY",
        "nvml",
        "flags.deviceDiscoveryStrategy",
    ),
    "--imex-channel-ids": ("IMEX_CHANNEL_IDS", "", "imex.channelIDs"),
    "--imex-required": ("IMEX_REQUIRED", "true", "imex.required"),
    "--kubelet-socket": ("KUBELET_SOCKET", "/a", "run.kubeletSocket"),
    "--cdi-feature-flags": ("CDI_FEATURE_FLAGS", "", "plumbline.cdi.featureFlags"),
    "--cdi-disable-hooks": ("CDI_DISABLE_HOOKS", "all", "plumbline.cdi.disableHooks"),
}


@pytest.mark.parametrize("flag", UPSTREAM)
def test_a_flag_of_upstream_and_its_variable_mean_the_same_setting(flag):
    variable, text, path = UPSTREAM[flag]

    by_flag = resolve([f"{flag}={text}"], {})
    by_variable = resolve([], {variable: text})

    assert (by_flag.config, by_flag.options) == (by_variable.config, by_variable.options)
    assert set(by_flag.provenance) == {path}
    if text != "":
        assert set(by_variable.provenance) == {path}


def test_every_setting_has_one_row_and_every_row_a_setting():
    paths = [setting.path for setting in SETTINGS]

    assert sorted(paths) == sorted(leaves())


def test_no_flag_and_no_variable_means_two_things():
    flags = [flag for setting in SETTINGS for flag in setting.flags]
    variables = [name for setting in SETTINGS for name in setting.env]

    assert len(flags) == len(set(flags))
    assert len(variables) == len(set(variables))


def test_what_no_file_can_hold_has_a_flag():
    assert all(s.flags for s in SETTINGS if s.path.startswith(RUN))


@pytest.mark.parametrize("uid", ["../x", "a/b", ".hidden", "a" * 64])
def test_what_cannot_be_the_uid_of_a_pod_is_refused(uid):
    with pytest.raises(ConfigError, match=r"flag --pod-uid: .* is not the UID of a pod"):
        resolve([f"--pod-uid={uid}"], {})


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--fail-on-init-error"], True),
        (["--fail-on-init-error=true"], True),
        (["--fail-on-init-error=false"], False),
        (["--fail-on-init-error", "false"], False),
        (["--fail-on-init-error", "--gds-enabled"], True),
        (["--fail-on-init-error=false", "--fail-on-init-error=1"], True),
    ],
)
def test_a_switch_is_on_alone_or_says_what_it_is(argv, value):
    assert resolve(argv, {"FAIL_ON_INIT_ERROR": "no"}).config.flags.fail_on_init_error is value


def test_a_list_may_be_repeated_or_separated_by_commas():
    repeated = resolve(["--device-list-strategy", "envvar", "--device-list-strategy=cdi-cri"], {})
    separated = resolve(["--device-list-strategy", "envvar,cdi-cri"], {})

    assert repeated.config == separated.config
    assert repeated.config.flags.plugin.device_list_strategy == (
        DeviceListStrategy.ENVVAR,
        DeviceListStrategy.CDI_CRI,
    )


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--mig-strateg=none"], "unknown flag '--mig-strateg', did you mean --mig-strategy?"),
        (["--mig"], "unknown flag '--mig', did you mean"),
        (["--zzz"], "unknown flag '--zzz';"),
        (["-x"], "unknown flag '-x'"),
        (["none"], "unexpected 'none'"),
        (["--node-name"], "expected one argument"),
        (["--mig-strategy", "--gds-enabled"], "expected one argument"),
    ],
)
def test_a_misspelt_flag_is_told_with_the_nearest(argv, told):
    with pytest.raises(ConfigError) as caught:
        resolve(argv, {})

    assert told in str(caught.value)
    assert "`plumbline run --help` lists the flags" in str(caught.value)


def test_a_wrong_flag_is_named_as_it_was_written():
    with pytest.raises(ConfigError, match=r"^flag --driver-root: flags\.nvidiaDriverRoot: 'x' is"):
        resolve(["--driver-root", "x"], {})


def test_help_names_every_flag_variable_default_and_key():
    text = build_parser().format_help()
    joined = " ".join(text.split())

    for setting in SETTINGS:
        if not setting.flags:
            continue
        wanted = [*setting.flags, *setting.env, setting.help]
        assert all(" ".join(word.split()) in joined for word in wanted), setting.path
        assert not setting.in_file or setting.path in joined
    assert "[default: 13,31,43,45,68,109;" in joined
    assert "envvar|volume-mounts|cdi-annotations|cdi-cri" in joined


def test_asking_for_help_ends_well(capsys):
    with pytest.raises(SystemExit) as caught:
        resolve(["--help"], {})

    assert caught.value.code == 0
    assert "--mig-strategy" in capsys.readouterr().out


def test_the_description_has_a_line_for_each_value_that_differs(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("flags:\n  migStrategy: none\n  gfd:\n    sleepInterval: 90s\n")

    resolved = resolve(
        ["--config", str(file), "--device-list-strategy=cdi-cri"], {"NODE_NAME": "n"}
    )

    assert describe(resolved) == [
        'flags.plugin.deviceListStrategy = ["cdi-cri"] (flag --device-list-strategy)',
        f"flags.gfd.sleepInterval = 90s ({file}:4)",
        f'--config-file = "{file}" (flag --config)',
        '--node-name = "n" (environment variable NODE_NAME)',
    ]


def test_the_printed_configuration_reads_back(tmp_path):
    resolved = resolve(["--print-config", "--gds-enabled"], {"DP_ENABLE_HEALTHCHECKS": "48,all"})
    printed = print_config(resolved)
    file = tmp_path / "printed.yaml"
    file.write_text(printed)

    assert resolved.options.print_config is True
    assert resolve(["--config", str(file)], {}).config == resolved.config
    assert "gdsEnabled: true" in printed
    assert "# flag --gds-enabled" in printed
    assert "# environment variable DP_ENABLE_HEALTHCHECKS" in printed


def test_without_a_file_the_yaml_reader_is_not_even_loaded():
    program = (
        "import sys; from agent.config.flags import resolve; resolve([], {});"
        "print([m for m in ('yaml', 'pydantic', 'typer', 'rich') if m in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )

    assert loaded.stdout.strip() == "[]"


def test_defaults_are_upstreams():
    flags = Config().flags

    assert (flags.mig_strategy, flags.fail_on_init_error, flags.nvidia_driver_root) == (
        "none",
        True,
        "/",
    )
    assert flags.plugin.device_list_strategy == ("envvar",)
    assert (flags.plugin.cdi_annotation_prefix, flags.plugin.nvidia_ctk_path) == (
        "cdi.k8s.io/",
        "/usr/bin/nvidia-ctk",
    )
    assert flags.plugin.container_driver_root == "/driver-root"
    assert (flags.gfd.sleep_interval, flags.use_node_feature_api) == (60, True)
