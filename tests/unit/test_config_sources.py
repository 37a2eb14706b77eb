"""Who is believed: command line over environment over file over default, value by value."""

import pytest

from agent.config.flags import reload, resolve
from agent.config.options import RunOptions
from agent.config.schema import Config, DeviceListStrategy, MigStrategy
from agent.config.summary import describe
from agent.model.errors import ConfigError


@pytest.fixture
def file(tmp_path):
    """A file that says something about three settings."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "flags:\n"
        "  nvidiaDriverRoot: /file\n"
        "  mpsRoot: /file\n"
        "  plugin: {containerDriverRoot: /file}\n"
    )
    return path


def test_nothing_said_is_the_default():
    resolved = resolve([], {})

    assert resolved.config == Config()
    assert resolved.options == RunOptions()
    assert resolved.provenance == {}
    assert describe(resolved) == []


def test_each_setting_is_taken_from_the_most_trusted_that_names_it(file):
    resolved = resolve(
        ["--config-file", str(file), "--nvidia-driver-root=/flag"],
        {"NVIDIA_DRIVER_ROOT": "/env", "MPS_ROOT": "/env"},
    )

    flags = resolved.config.flags
    assert flags.nvidia_driver_root == "/flag"
    assert flags.mps_root == "/env"
    assert flags.plugin.container_driver_root == "/file"
    assert {path: str(origin) for path, origin in resolved.provenance.items()} == {
        "flags.nvidiaDriverRoot": "flag --nvidia-driver-root",
        "flags.mpsRoot": "environment variable MPS_ROOT",
        "flags.plugin.containerDriverRoot": f"{file}:4",
        "run.configFile": "flag --config-file",
    }


def test_a_list_of_a_more_trusted_source_replaces_the_whole_list(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("flags: {plugin: {deviceListStrategy: [envvar, cdi-cri]}}")

    resolved = resolve(["--config", str(file)], {"DEVICE_LIST_STRATEGY": "volume-mounts"})

    assert resolved.config.flags.plugin.device_list_strategy == (DeviceListStrategy.VOLUME_MOUNTS,)


def test_the_environment_names_the_file_and_the_flag_names_another(file, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text("flags: {mpsRoot: /other}")

    by_environment = resolve([], {"CONFIG_FILE": str(file)})
    by_flag = resolve(["--config", str(other)], {"CONFIG_FILE": str(file)})

    assert by_environment.config.flags.mps_root == "/file"
    assert by_flag.config.flags.mps_root == "/other"


def test_the_problems_of_all_sources_are_told_together(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("flags: {gdsEnabled: perhaps}")

    with pytest.raises(ConfigError) as caught:
        resolve(["--config", str(file), "--device-id-strategy", "uid"], {"MIG_STRATEGY": "singel"})

    assert str(caught.value).splitlines() == [
        "3 problems in the configuration:",
        f"  {file}:1: flags.gdsEnabled: 'perhaps' is not true or false",
        (
            "  environment variable MIG_STRATEGY: flags.migStrategy: 'singel' is not one of none, "
            "single, mixed; did you mean 'single'?"
        ),
        (
            "  flag --device-id-strategy: flags.plugin.deviceIDStrategy: 'uid' is not one of uuid, "
            "index; did you mean 'uuid'?"
        ),
    ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PASS_DEVICE_SPECS", "true", True),
        ("PASS_DEVICE_SPECS", "YES", True),
        ("PASS_DEVICE_SPECS", "1", True),
        ("PASS_DEVICE_SPECS", " on ", True),
        ("PASS_DEVICE_SPECS", "0", False),
        ("PASS_DEVICE_SPECS", "No", False),
        ("PASS_DEVICE_SPECS", "", False),
    ],
)
def test_the_environment_spells_booleans_in_many_ways(name, text, value):
    assert resolve([], {name: text}).config.flags.plugin.pass_device_specs is value


def test_lists_of_the_environment_are_separated_by_commas():
    config = resolve(
        [],
        {
            "DEVICE_LIST_STRATEGY": "envvar, volume-mounts,",
            "PLUMBLINE_IGNORED_XIDS": "31,13",
            "DP_DISABLE_HEALTHCHECKS": "xids,48",
            "CDI_DISABLE_HOOKS": "all",
        },
    ).config

    assert config.flags.plugin.device_list_strategy == (
        DeviceListStrategy.ENVVAR,
        DeviceListStrategy.VOLUME_MOUNTS,
    )
    assert config.plumbline.ignored_xids == (13, 31)
    assert config.plumbline.health.disable == ("xids", 48)
    assert config.plumbline.cdi.disable_hooks == ("all",)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("FAIL_ON_INIT_ERROR", "maybe", "'maybe' is neither true nor false"),
        ("DEVICE_LIST_STRATEGY", "envvar,cdi", "'cdi' is not one of envvar"),
        ("DEVICE_LIST_STRATEGY", ",", "the list is empty"),
        ("DP_DISABLE_HEALTHCHECKS", "48,al", "'al' is not an Xid, a whole number or one of all"),
        ("DP_ENABLE_HEALTHCHECKS", "-1", "'-1' is not an Xid, a whole number or one of all, xids"),
        ("PLUMBLINE_IGNORED_XIDS", "13;31", "'13;31' is not an Xid, a whole number"),
        ("PLUMBLINE_IGNORED_XIDS", "9" * 5000, "is not an Xid, a whole number"),
        ("PLUMBLINE_HEALTH_POLL_SECONDS", "nan", "is not a number of seconds from 0.1 to 3600"),
        ("PLUMBLINE_HEALTH_POLL_SECONDS", "5s", "'5s' is not a number of seconds"),
        ("IMEX_CHANNEL_IDS", "1", "[1] is neither [] nor [0]"),
        ("NVIDIA_DRIVER_ROOT", "run/nvidia", "'run/nvidia' is not an absolute path"),
        ("CDI_ANNOTATION_PREFIX", "cdi k8s/", "is not the beginning of an annotation key"),
        ("CDI_ANNOTATION_PREFIX", "cdi.k8s.io/toolong", "is not the beginning of an annotation"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value(name, text, told):
    with pytest.raises(ConfigError) as caught:
        resolve([], {name: text})

    message = str(caught.value)
    assert f"environment variable {name}: " in message
    assert told in message
    assert len(message) < 600


def test_of_two_names_for_one_thing_the_first_wins():
    both = {"NVIDIA_CTK_PATH": "/old", "NVIDIA_CDI_HOOK_PATH": "/new"}

    assert resolve([], both).config.flags.plugin.nvidia_ctk_path == "/new"
    both["NVIDIA_CDI_HOOK_PATH"] = ""
    assert resolve([], both).config.flags.plugin.nvidia_ctk_path == "/old"


def test_an_empty_variable_is_no_value_but_where_empty_means_something():
    resolved = resolve([], {"MIG_STRATEGY": "", "NVIDIA_DRIVER_ROOT": "", "KUBELET_SOCKET": ""})

    assert resolved.config == Config()
    assert resolved.options.kubelet_socket == ""


def test_the_device_root_follows_the_driver_root():
    follows = resolve(["--driver-root", "/drv"], {}).config.flags
    own = resolve(["--driver-root", "/drv", "--dev-root", "/"], {}).config.flags

    assert follows.dev_root == "/drv"
    assert own.dev_root == "/"


def test_reloading_sees_the_file_anew_and_keeps_the_rest(file):
    first = resolve(["--config", str(file), "--log-level", "debug"], {"MPS_ROOT": "/env"})
    unchanged = reload(first)
    file.write_text("flags: {nvidiaDriverRoot: /changed, mpsRoot: /changed}")

    second = reload(unchanged)

    assert unchanged.config == first.config
    assert second.config != first.config
    assert second.config.flags.nvidia_driver_root == "/changed"
    assert second.config.flags.mps_root == "/env"
    assert second.config.plumbline.log.level == "debug"


def test_a_bad_file_on_reload_leaves_the_old_value_whole(file):
    first = resolve(["--config", str(file)], {})
    before = first.config
    file.write_text("flags: {nvidiaDriverRoot: 1}")

    with pytest.raises(ConfigError, match=r"flags\.nvidiaDriverRoot"):
        reload(first)
    file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        reload(first)

    assert first.config is before


def test_reloading_is_deaf_to_the_environment_of_the_moment(monkeypatch):
    environ = {"NVIDIA_DRIVER_ROOT": "/then", "HOME": "/root"}
    first = resolve([], environ)
    environ["NVIDIA_DRIVER_ROOT"] = "/now"

    assert reload(first).config.flags.nvidia_driver_root == "/then"
    assert "HOME" not in first.environ


def test_a_configuration_cannot_be_changed():
    config = resolve([], {}).config

    with pytest.raises(AttributeError):
        config.flags.mig_strategy = MigStrategy.MIXED
    assert hash(config) == hash(Config())


def test_bytes_that_are_not_utf8_are_refused_with_their_variable():
    with pytest.raises(ConfigError, match=r"NVIDIA_DRIVER_ROOT.*no text: write it in UTF-8"):
        resolve([], {"NVIDIA_DRIVER_ROOT": "/drv\udcff"})


def test_a_character_that_json_escapes_in_two_halves_is_one(tmp_path):
    file = tmp_path / "config.json"
    file.write_text('{"version": "v1", "flags": {"nvidiaDriverRoot": "/\\ud83d\\ude80"}}')

    config = resolve(["--config", str(file)], {}).config
    assert config.flags.nvidia_driver_root == "/\U0001f680"
