"""A configuration file: what it may say, and what is said about a wrong one."""

import math

import pytest

from agent.config.flags import resolve
from agent.config.schema import Config, DeviceIdStrategy, DeviceListStrategy
from agent.model.errors import ConfigError


@pytest.fixture
def read(tmp_path):
    """Resolve a file with this text."""
    file = tmp_path / "config.yaml"

    def read_text(text):
        file.write_text(text)
        return resolve(["--config", str(file)], {}).config

    return read_text


@pytest.fixture
def refusal(read, tmp_path):
    """The lines of the refusal of a file with this text, without its folder."""

    def refuse(text):
        with pytest.raises(ConfigError) as caught:
            read(text)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return refuse


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but a remark\n",
        "---\n",
        "version: v1\n",
        "{}",
        "version:\nflags:\nresources:\nsharing:\nimex:\nplumbline:\n",
        "flags: {plugin: , gfd: null, migStrategy: ~}\nsharing: {timeSlicing: null, mps: }\n",
    ],
)
def test_what_a_file_leaves_out_is_the_default(read, text):
    assert read(text) == Config()


def test_every_section_is_read(read):
    config = read(
        """
        version: v1
        flags:
          migStrategy: none
          failOnInitError: false
          mpsRoot: /run/nvidia/mps
          nvidiaDriverRoot: /run/nvidia/driver
          gdsEnabled: true
          deviceDiscoveryStrategy: nvml
          plugin:
            passDeviceSpecs: true
            deviceListStrategy: [cdi-cri, envvar]
            deviceIDStrategy: index
            nvidiaCTKPath: /opt/nvidia-ctk
          gfd:
            oneshot: true
            sleepInterval: 1m30.5s
            outputFile: ""
        resources:
          gpus: [{pattern: "*", name: nvidia.com/gpu}]
        imex: {channelIDs: [], required: true}
        plumbline:
          ignoredXids: [31, 13, 31]
          log: {level: debug, format: json}
          cdi: {specDir: /etc/cdi, disableHooks: [all]}
          health: {pollSeconds: 2}
        """
    )

    assert config.flags.fail_on_init_error is False
    assert config.flags.mps_root == "/run/nvidia/mps"
    assert config.flags.dev_root == "/run/nvidia/driver"
    assert config.flags.plugin.device_list_strategy == (
        DeviceListStrategy.ENVVAR,
        DeviceListStrategy.CDI_CRI,
    )
    assert config.flags.plugin.device_id_strategy is DeviceIdStrategy.INDEX
    assert config.flags.plugin.nvidia_ctk_path == "/opt/nvidia-ctk"
    assert config.flags.gfd.sleep_interval == 90.5
    assert config.flags.gfd.output_file == ""
    assert config.imex.required is True
    assert config.plumbline.ignored_xids == (13, 31)
    assert config.plumbline.cdi.spec_dir == "/etc/cdi"
    assert config.plumbline.health.poll_seconds == 2.0


def test_json_is_read_with_its_tabs_and_escapes(read):
    text = '{\n\t"version": "v1",\n\t"flags": {"gfd": {"outputFile": "a\\tb\\/\\u00e9"}}\n}'

    assert read(text).flags.gfd.output_file == "a\tb/é"


def test_one_strategy_needs_no_list_and_order_does_not_matter(read):
    one = read("flags: {plugin: {deviceListStrategy: cdi-cri}}")
    two = read("flags: {plugin: {deviceListStrategy: [cdi-cri, envvar, cdi-cri]}}")
    other_way = read("flags: {plugin: {deviceListStrategy: [envvar, cdi-cri]}}")

    assert one.flags.plugin.device_list_strategy == (DeviceListStrategy.CDI_CRI,)
    assert two == other_way


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("60s", 60), ("1h", 3600), ("1h2m3.5s", 3723.5), ("250ms", 0.25), ("infinite", math.inf)],
)
def test_durations_are_written_as_go_writes_them(read, written, seconds):
    config = read(f"flags: {{gfd: {{sleepInterval: {written}}}}}")

    assert config.flags.gfd.sleep_interval == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["60", "0s", "-1s", "1", "s", "1x", "1s2", "'60 s'", "[1s]"])
def test_a_duration_without_sense_is_refused(refusal, written):
    [line] = refusal(f"flags:\n  gfd:\n    sleepInterval: {written}\n")

    assert line.startswith("config.yaml:3: flags.gfd.sleepInterval: ")
    assert line.endswith("is not a duration with its unit, as in 60s, 1m30s or 500ms, or infinite")


def test_the_nearest_key_is_named_with_place_and_value(refusal):
    assert refusal("flags:\n  plugin:\n    deviceListStrateggy: envvar\n") == [
        (
            "config.yaml:3: flags.plugin.deviceListStrateggy: unknown key (value: 'envvar'); "
            "did you mean 'deviceListStrategy'?"
        )
    ]


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(refusal):
    assert refusal("flags:\n  passDeviceSpecs: true\n") == [
        (
            "config.yaml:2: flags.passDeviceSpecs: unknown key (value: true); "
            "did you mean 'flags.plugin.passDeviceSpecs'?"
        )
    ]


def test_a_key_like_no_other_gets_the_list(refusal):
    assert refusal("imex: {zebra: [1]}\n") == [
        (
            "config.yaml:1: imex.zebra: unknown key (value: a list); "
            "the keys here are channelIDs, required"
        )
    ]


def test_what_only_a_flag_can_say_is_no_key(refusal):
    [line] = refusal("nodeName: a\nrun: {nodeName: a}\n")[1:2]

    assert "nodeName: unknown key" in line
    assert "run." not in line


def test_all_problems_are_told_at_once(refusal):
    lines = refusal(
        "flags:\n"
        "  migStrategy: mixd\n"
        "  plugin:\n"
        "    deviceListStrategy: [envar, cdi-cri, 3]\n"
        "    passDeviceSpecs: maybe\n"
        "imex: {channelIDs: all}\n"
        "plumbline: {health: {pollSeconds: 0}}\n"
    )

    assert lines == [
        "6 problems in the configuration:",
        (
            "  config.yaml:2: flags.migStrategy: 'mixd' is not one of none, single, mixed; "
            "did you mean 'mixed'?"
        ),
        (
            "  config.yaml:4: flags.plugin.deviceListStrategy[0]: 'envar' is not one of envvar, "
            "volume-mounts, cdi-annotations, cdi-cri; did you mean 'envvar'?"
        ),
        (
            "  config.yaml:4: flags.plugin.deviceListStrategy[2]: 3 is not one of envvar, "
            "volume-mounts, cdi-annotations, cdi-cri"
        ),
        "  config.yaml:5: flags.plugin.passDeviceSpecs: 'maybe' is not true or false",
        "  config.yaml:6: imex.channelIDs: 'all' is not a list (each item: a whole number)",
        (
            "  config.yaml:7: plumbline.health.pollSeconds: 0 is not a number of seconds from 0.1 "
            "to 3600"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "flags: {migStrategy: off}",
            "YAML reads off as false; expected one of none, single, mixed (put text in quotes)",
        ),
        (
            "flags: {gfd: {outputFile: 1}}",
            "YAML reads 1 as a number; expected text (put it in quotes)",
        ),
        (
            "flags: {failOnInitError: 'false'}",
            "'false' is text; expected true or false (leave the quotes out)",
        ),
        (
            "plumbline: {health: {pollSeconds: '5'}}",
            "'5' is text; expected a number of seconds from 0.1 to 3600 (leave the quotes out)",
        ),
        ("flags: {failOnInitError: 1}", "1 is not true or false"),
        ("flags: {nvidiaDriverRoot: driver}", "'driver' is not an absolute path"),
        ("flags: {nvidiaDriverRoot: ''}", "'' is not an absolute path"),
        ("plumbline: {ignoredXids: [-1]}", "-1 is not an Xid, a whole number"),
        ("plumbline: {ignoredXids: 13}", "13 is not a list (each item: an Xid, a whole number)"),
        ("version: v2", "'v2' is not v1"),
        ("version: 1", "1 is not v1"),
        ("flags: []", "a list is not a mapping"),
        ("flags: text", "'text' is not a mapping"),
        ("flags: {plugin: {deviceListStrategy: []}}", "the list is empty; expected at least one"),
        ("flags: {plugin: {deviceListStrategy: {a: b}}}", "a mapping is not a list"),
        ("plumbline: {health: {pollSeconds: .nan}}", "nan is not a number of seconds"),
        ("flags: {mpsRoot: !secret /x}", "the YAML tag '!secret' is not known; leave it out"),
        ("flags: {mpsrooot: !secret /x}", "unknown key (value: '/x'); did you mean 'mpsRoot'?"),
    ],
)
def test_a_wrong_value_is_told_with_what_fits(refusal, text, told):
    [line] = refusal(text)

    assert told in line


def test_yaml_words_for_true_are_true(read):
    for word in ("true", "yes", "on", "True"):
        assert read(
            f"flags: {{plugin: {{passDeviceSpecs: {word}}}}}"
        ).flags.plugin.pass_device_specs


def test_a_number_may_have_an_exponent(read):
    assert read("plumbline: {health: {pollSeconds: 1e1}}").plumbline.health.poll_seconds == 10


def test_empty_text_unsets_what_may_be_unset(read):
    config = read("flags: {nvidiaDevRoot: '', mpsRoot: '', nvidiaDriverRoot: /drv}")

    assert config.flags.mps_root is None
    assert config.flags.dev_root == "/drv"


def test_a_key_may_stand_once(refusal):
    assert refusal("flags:\n  gdsEnabled: true\n  mofedEnabled: true\n  gdsEnabled: false\n") == [
        "config.yaml:4: flags.gdsEnabled: the key stands twice, first on line 2; keep one"
    ]


def test_aliases_and_merge_keys_work_as_in_yaml(read):
    config = read(
        "plumbline:\n"
        "  cdi: &base {specDir: /a, disableHooks: [x]}\n"
        "  log: {level: debug}\n"
        "flags:\n"
        "  gfd: {oneshot: &yes_ true, noTimestamp: *yes_}\n"
    )
    merged = read("plumbline:\n  log:\n    <<: {level: debug, format: json}\n    level: error\n")

    assert config.flags.gfd.no_timestamp is True
    assert (merged.plumbline.log.level, merged.plumbline.log.format) == ("error", "json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flags:\n\tgdsEnabled: true\n", "config.yaml:2:1: not YAML: "),
        ("flags: {gdsEnabled: true\n", "config.yaml:2:1: not YAML: "),
        ("a: b: c\n", "config.yaml:1:5: not YAML: "),
        ("version: v1\n---\nversion: v1\n", "expected a single document"),
        ("a: *nowhere\n", "undefined alias"),
        ("a: \x01\n", "not YAML: "),
        ("- version: v1\n", "config.yaml:1: a list is not a mapping"),
        ("just text\n", "config.yaml:1: 'just text' is not a mapping"),
        ("? [a, b]\n: c\n", "a key must be text"),
        ("<<: 3\n", "<< must name a mapping"),
        ("flags: " + "[" * 5000, "is nested too deeply"),
    ],
)
def test_what_is_not_a_configuration_is_told_with_its_place(refusal, text, told):
    assert told in "\n".join(refusal(text))


def test_tabs_are_explained(refusal):
    [line] = refusal("flags:\n\tgdsEnabled: true\n")

    assert line.endswith("indent with blanks, YAML allows no tabs")


def test_aliases_cannot_blow_up(refusal):
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )

    assert refusal(bomb)[0] == "21 problems in the configuration:"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    missing, folder, binary = tmp_path / "missing", tmp_path, tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    told = {
        missing: "No such file or directory",
        folder: "Is a directory",
        binary: "is not UTF-8 text (byte 0)",
    }

    for path, reason in told.items():
        with pytest.raises(
            ConfigError, match=r"(?s)" + reason.replace("(", r"\(").replace(")", r"\)")
        ) as caught:
            resolve(["--config", str(path)], {})
        assert str(path) in str(caught.value)


def test_a_file_too_large_or_endless_is_refused(tmp_path):
    large = tmp_path / "large"
    large.write_bytes(b"#" * (2**20 + 1))

    for path in (large, "/dev/zero"):
        with pytest.raises(ConfigError, match="larger than 1 MiB"):
            resolve(["--config", str(path)], {})


def test_no_file_is_what_dev_null_says():
    assert resolve(["--config", "/dev/null"], {}).config == Config()


def test_a_byte_order_mark_is_no_text(tmp_path):
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfversion: v1\n")

    assert resolve(["--config", str(file)], {}).config == Config()
