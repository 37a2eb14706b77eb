"""Layouts in mig-parted's format and in our own section, and what is said of wrong ones."""

import textwrap

import pytest

from agent.config.flags import resolve
from agent.config.gpu_names import GpuSelector
from agent.config.layouts import Counted, Entry, Layout, Placed, Wish, own_layouts
from agent.config.mig import LayoutEntry, Mig, PlacedInstance
from agent.config.mig_parted import declared_layouts, parse_layouts, read_layouts
from agent.model.errors import ConfigError
from agent.model.mig_names import parse_profile

PARTED = """
version: v1
mig-configs:
  all-disabled:
  - devices: all
    mig-enabled: false
  custom:
  - devices: [0, 1]
    device-filter: "0x233010DE"
    mig-enabled: true
    mig-devices: {"1g.10gb": 2, "1c.3g.40gb": 3, "2g.20gb": 0}
  - devices: [2]
    device-filter: ["0x20B010DE", "0x233010DE:0x16C110DE"]
    mig-enabled: true
    mig-devices: {}
"""


def test_a_file_of_mig_parted_is_read():
    layouts = parse_layouts(PARTED, "mig.yaml")

    first = "mig-configs[custom][0]"
    assert layouts == {
        "all-disabled": Layout(
            name="all-disabled",
            where="mig.yaml:4",
            path="mig-configs[all-disabled]",
            entries=(
                Entry(
                    where="mig.yaml:5",
                    path="mig-configs[all-disabled][0]",
                    gpus=GpuSelector(),
                    wish=Wish.OFF,
                ),
            ),
        ),
        "custom": Layout(
            name="custom",
            where="mig.yaml:7",
            path="mig-configs[custom]",
            entries=(
                Entry(
                    where="mig.yaml:8",
                    path=first,
                    gpus=GpuSelector(index=(0, 1), device_filter=("0x233010DE",)),
                    wish=Wish.DIVIDE,
                    counted=(
                        Counted(
                            path=f"{first}.mig-devices[1g.10gb]",
                            profile=parse_profile("1g.10gb"),
                            count=2,
                        ),
                        Counted(
                            path=f"{first}.mig-devices[1c.3g.40gb]",
                            profile=parse_profile("1c.3g.40gb"),
                            count=3,
                        ),
                    ),
                ),
                Entry(
                    where="mig.yaml:12",
                    path="mig-configs[custom][1]",
                    gpus=GpuSelector(
                        index=(2,), device_filter=("0x20B010DE", "0x233010DE:0x16C110DE")
                    ),
                    wish=Wish.DIVIDE,
                ),
            ),
        ),
    }


def parted(entry):
    """A file with one layout of one entry, which starts on line 4."""
    return "version: v1\nmig-configs:\n  a:\n" + textwrap.indent(textwrap.dedent(entry), "  ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "mig-configs: {}",
            "mig.yaml:1: version: is missing; expected v1",
        ),
        (
            "version: v1\nmig-config: {}",
            "mig.yaml:2: mig-config: unknown key (value: a mapping); did you mean 'mig-configs'?",
        ),
        (
            "version: v1\nmig-configs:\n  a: []",
            "mig.yaml:3: mig-configs[a]: has no entry; write devices and mig-enabled",
        ),
        (
            "version: v1\nmig-configs: [1]",
            "mig.yaml:2: mig-configs: a list is not a mapping",
        ),
        (
            parted("- {devices: all, mig-enabled: false, mig-device: {}}"),
            (
                "mig.yaml:4: mig-configs[a][0].mig-device: unknown key (value: a mapping); "
                "did you mean 'mig-devices'?"
            ),
        ),
        (
            parted("- {devices: al, mig-enabled: false}"),
            (
                "mig.yaml:4: mig-configs[a][0].devices: 'al' is not all or a list (each item: a "
                "whole number, 0 or more); did you mean 'all'?"
            ),
        ),
        (
            parted("- {devices: [-1], mig-enabled: false}"),
            "mig.yaml:4: mig-configs[a][0].devices[0]: -1 is not a whole number, 0 or more",
        ),
        (
            parted("- devices: all\n  mig-enabled: false\n  device-filter: 0x233010DE"),
            (
                "mig.yaml:6: mig-configs[a][0].device-filter[0]: YAML reads 0x233010DE as a "
                "number; expected a PCI device id with its vendor, as in 0x233010DE, or with the "
                "subsystem's, as in 0x233010DE:0x16C110DE (put it in quotes)"
            ),
        ),
        (
            parted("- {devices: all, mig-enabled: false, device-filter: H100}"),
            (
                "mig.yaml:4: mig-configs[a][0].device-filter[0]: 'H100' is not a PCI device id "
                "with its vendor, as in 0x233010DE, or with the subsystem's, as in "
                "0x233010DE:0x16C110DE"
            ),
        ),
        (
            parted("- {devices: all, mig-enabled: true}"),
            (
                "mig.yaml:4: mig-configs[a][0].mig-devices: is missing; write the profiles, or {} "
                "for none"
            ),
        ),
        (
            parted("- devices: all\n  mig-enabled: false\n  mig-devices: {1g.10gb: 1}"),
            (
                "mig.yaml:6: mig-configs[a][0].mig-devices: cannot be combined with mig-enabled: "
                "false; leave it out, or enable MIG"
            ),
        ),
        (
            parted("- devices: all\n  mig-enabled: true\n  mig-devices: {1g.10gb: 0, 2g.20gb: 0}"),
            (
                "mig.yaml:6: mig-configs[a][0].mig-devices: asks for none of each; write {} for a "
                "GPU without instances"
            ),
        ),
        (
            parted("- devices: all\n  mig-enabled: true\n  mig-devices:\n    1g10gb: 1"),
            (
                "mig.yaml:7: mig-configs[a][0].mig-devices[1g10gb]: '1g10gb' is not a MIG profile, "
                "as in 1g.10gb, 1g.10gb+me or 1c.3g.20gb; did you mean '1g.10gb'?"
            ),
        ),
        (
            parted("- {devices: all, mig-enabled: true, mig-devices: {1g.10gb: -1}}"),
            (
                "mig.yaml:4: mig-configs[a][0].mig-devices[1g.10gb]: -1 is not a whole number, 0 "
                "or more"
            ),
        ),
        (
            parted("- {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1, 1g.5gb: 2}}"),
            (
                "mig.yaml:4: mig-configs[a][0].mig-devices.1g.5gb: the key stands twice, first on "
                "line 4; keep one"
            ),
        ),
        ("", "mig.yaml: is empty; write version, mig-configs, or remove the file"),
    ],
)
def test_a_wrong_file_of_mig_parted_is_refused_with_the_place_and_the_nearest(text, said):
    with pytest.raises(ConfigError) as error:
        parse_layouts(text, "mig.yaml")

    assert str(error.value) == said


def test_every_problem_of_a_file_is_told_at_once():
    text = parted("- {devices: all, mig-enabled: true}\n- {devices: all, mig-enabled: true}")

    with pytest.raises(ConfigError) as error:
        parse_layouts(text, "m")

    message = "mig-devices: is missing; write the profiles, or {} for none"
    assert str(error.value) == (
        "2 problems in the configuration:\n"
        f"  m:4: mig-configs[a][0].{message}\n"
        f"  m:5: mig-configs[a][1].{message}"
    )


def test_a_file_that_is_not_there_is_told_with_what_to_correct(tmp_path):
    with pytest.raises(ConfigError) as error:
        read_layouts(tmp_path / "mig.yaml")

    assert str(error.value) == (
        f"cannot read the file of MIG layouts {tmp_path}/mig.yaml: No such file or directory; "
        "correct plumbline.mig.file (PLUMBLINE_MIG_FILE) or the file's mount"
    )


def test_our_section_says_the_same_and_more(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(
        textwrap.dedent("""
        version: v1
        plumbline:
          mig:
            allowReset: true
            drainDeadline: 1m
            layouts:
              mixed:
              - gpus: all
                instances: {1g.10gb.me: 1}
              - gpus: {model: "*H100*", uuid: GPU-00000000-0000-0000-0000-000000000001}
                instances:
                - {profile: 3g.40gb, start: 4, compute: {1c.3g.40gb: 2}}
                - {profile: 1g.10gb}
              - gpus: {index: 3, moduleId: [4], pciAddress: "0000:1B:00.0"}
                enabled: false
              - {gpus: {deviceFilter: 0x233010DE:0x16C110DE}, keep: true}
        """)
    )

    mig = resolve(["--config", str(file)], {}).config.plumbline.mig

    assert (mig.allow_reset, mig.evict, mig.drain_deadline) == (True, False, 60.0)
    assert mig.layouts["mixed"] == (
        LayoutEntry(gpus="all", instances={"1g.10gb.me": 1}),
        LayoutEntry(
            gpus=GpuSelector(model=("*H100*",), uuid=("GPU-00000000-0000-0000-0000-000000000001",)),
            instances=(
                PlacedInstance(profile="3g.40gb", start=4, compute={"1c.3g.40gb": 2}),
                PlacedInstance(profile="1g.10gb"),
            ),
        ),
        LayoutEntry(
            gpus=GpuSelector(index=(3,), module_id=(4,), pci_address=("0000:1B:00.0",)),
            enabled=False,
        ),
        LayoutEntry(gpus=GpuSelector(device_filter=("0x233010DE:0x16C110DE",)), keep=True),
    )
    entries = own_layouts(mig, "c.yaml:7")["mixed"].entries
    path = "plumbline.mig.layouts[mixed]"
    assert [entry.wish for entry in entries] == [Wish.DIVIDE, Wish.DIVIDE, Wish.OFF, Wish.KEEP]
    assert entries[0].counted == (
        Counted(
            path=f"{path}[0].instances[1g.10gb.me]", profile=parse_profile("1g.10gb+me"), count=1
        ),
    )
    assert entries[1].placed[0] == Placed(
        path=f"{path}[1].instances[0]",
        profile=parse_profile("3g.40gb"),
        start=4,
        compute=(
            Counted(
                path=f"{path}[1].instances[0].compute[1c.3g.40gb]",
                profile=parse_profile("1c.3g.40gb"),
                count=2,
            ),
        ),
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "{gpus: al, instances: {}}",
            (
                "c.yaml:5: plumbline.mig.layouts[a][0].gpus: 'al' is not all or a mapping; "
                "did you mean 'all'?"
            ),
        ),
        (
            "{gpus: {modle: x}, instances: {}}",
            (
                "c.yaml:5: plumbline.mig.layouts[a][0].gpus.modle: unknown key (value: 'x'); "
                "did you mean 'model'?"
            ),
        ),
        (
            "{gpus: {pciAddress: 1b:00.0}, keep: true}",
            (
                "c.yaml:5: plumbline.mig.layouts[a][0].gpus.pciAddress[0]: '1b:00.0' is not a PCI "
                "address, as in 0000:1b:00.0"
            ),
        ),
        (
            "{instances: {}}",
            "c.yaml:5: plumbline.mig.layouts[a][0].gpus: is missing; expected all or a mapping",
        ),
        (
            "{gpus: all}",
            (
                "c.yaml:4: plumbline.mig.layouts[a][0].instances: is missing; write the profiles, "
                "{} for none yet, or keep: true"
            ),
        ),
        (
            "{gpus: all, keep: true, instances: {}}",
            (
                "c.yaml:4: plumbline.mig.layouts[a][0].instances: cannot be combined with keep; "
                "leave one of the two out"
            ),
        ),
        (
            "{gpus: all, enabled: false, instances: {1g.5gb: 1}}",
            (
                "c.yaml:4: plumbline.mig.layouts[a][0].instances: cannot be combined with enabled "
                "false; leave it out, or enable MIG"
            ),
        ),
        (
            "{gpus: all, instances: {1g.5gb: 0}}",
            (
                "c.yaml:4: plumbline.mig.layouts[a][0].instances: asks for none of each; write {} "
                "for a GPU without instances"
            ),
        ),
        (
            "{gpus: all, instances: {half: 1}}",
            (
                "c.yaml:4: plumbline.mig.layouts[a][0].instances[half]: 'half' is not a MIG "
                "profile, as in 1g.10gb, 1g.10gb+me or 1c.3g.20gb"
            ),
        ),
        (
            "{gpus: all, instances: 3}",
            (
                "c.yaml:5: plumbline.mig.layouts[a][0].instances: 3 is not a mapping or a list "
                "(each item: a mapping)"
            ),
        ),
        (
            "{gpus: all, instances: [{profile: 1c.3g.40gb}]}",
            (
                "c.yaml:4: plumbline.mig.layouts[a][0].instances[0].profile: '1c.3g.40gb' is a "
                "compute instance; write '3g.40gb' here, and it under compute"
            ),
        ),
        (
            "{gpus: all, instances: [{profile: 3g.40gb, compute: {1c.4g.40gb: 1}}]}",
            (
                "c.yaml:4: plumbline.mig.layouts[a][0].instances[0].compute[1c.4g.40gb]: "
                "'1c.4g.40gb' lies in no '3g.40gb'; its name ends in '3g.40gb'"
            ),
        ),
        (
            "{gpus: all, instances: [{profile: 3g.40gb, compute: {}}]}",
            (
                "c.yaml:4: plumbline.mig.layouts[a][0].instances[0].compute: is empty; leave it "
                "out for one that takes all of the instance"
            ),
        ),
    ],
)
def test_a_wrong_section_is_refused_with_the_place_and_the_nearest(
    tmp_path, monkeypatch, entry, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(
        f"version: v1\nplumbline:\n  mig:\n    layouts: {{a: [\n      {entry}\n    ]}}\n"
    )

    with pytest.raises(ConfigError) as error:
        resolve(["--config", "c.yaml"], {})

    assert str(error.value) == said


def test_a_name_in_the_file_and_in_the_section_is_refused(tmp_path):
    file = tmp_path / "mig.yaml"
    file.write_text(PARTED)
    mine = Mig(layouts={"custom": (LayoutEntry(gpus="all", keep=True),)}, file=str(file))

    with pytest.raises(ConfigError) as error:
        declared_layouts(mine, "c.yaml:4")

    assert str(error.value) == (
        "c.yaml:4: plumbline.mig.layouts[custom]: 'custom' is the name of mig-configs[custom] in "
        f"{file}:7 too; rename one of the two"
    )


def test_layouts_of_the_file_and_of_the_section_stand_beside_each_other(tmp_path):
    file = tmp_path / "mig.yaml"
    file.write_text(PARTED)
    mine = Mig(layouts={"mine": (LayoutEntry(gpus="all", keep=True),)}, file=str(file))

    assert set(declared_layouts(mine, "c.yaml:4")) == {"all-disabled", "custom", "mine"}


def test_layouts_cannot_be_changed_once_read(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("plumbline: {mig: {layouts: {a: [{gpus: all, instances: {1g.5gb: 1}}]}}}")
    layouts = resolve(["--config", str(file)], {}).config.plumbline.mig.layouts

    for change in (layouts.clear, lambda: layouts["a"][0].instances.update(x=1)):
        with pytest.raises(AttributeError, match="a configuration cannot be changed"):
            change()
