"""A declared layout on real boards: what is wanted of each GPU, and what is refused."""

import pytest
from mig_boards import BOARDS, gpu, node, uuid

from agent.config.gpu_names import GpuSelector
from agent.config.layouts import own_layouts
from agent.config.mig import LayoutEntry, Mig, PlacedInstance
from agent.config.mig_parted import parse_layouts
from agent.config.problems import Problem
from agent.model.mig import WantedInstance
from agent.planning.layout import choose_layout, resolve_layout
from agent.planning.layout_model import Divided, Mode

PATH = "plumbline.mig.layouts[a]"
H100 = "NVIDIA H100 80GB HBM3"
A100 = "NVIDIA A100-SXM4-40GB"


def layout(*entries):
    return own_layouts(Mig(layouts={"a": entries}), "c.yaml:3")["a"]


def entry(instances=None, *, gpus="all", **said):
    selector = gpus if gpus == "all" else GpuSelector(**gpus)
    return LayoutEntry(gpus=selector, instances=instances, **said)


def wanted(layout, gpus):
    """What is wanted of each GPU, in their order."""
    resolution = resolve_layout(layout, gpus)
    assert resolution.problems == ()
    return [resolution.wanted[gpu.uuid] for gpu in gpus]


def told(layout, gpus):
    """Every problem, without where it stands."""
    resolution = resolve_layout(layout, gpus)
    assert resolution.wanted == {}
    assert all(problem.where == "c.yaml:3" for problem in resolution.problems)
    return [
        f"{problem.path.removeprefix(PATH)}: {problem.message}" for problem in resolution.problems
    ]


def named(divided, gpu):
    """Instances by name: profile, slices of the compute instances, start."""
    profiles = {profile.id: profile for profile in gpu.profiles}
    return [
        (
            profiles[each.profile].name,
            [c.slices for i in each.compute for c in profiles[each.profile].compute if c.id == i],
            each.start,
        )
        for each in divided.instances
    ]


def test_counts_are_instances_with_the_ids_of_the_board_the_largest_first():
    gpus = node("H100", "H100")

    both = wanted(layout(entry({"1g.10gb": 2, "2g.20gb": 1, "3g.40gb": 1})), gpus)

    expected = Divided(
        instances=(
            WantedInstance(profile=9, compute=(2,)),
            WantedInstance(profile=14, compute=(1,)),
            WantedInstance(profile=19, compute=(0,)),
            WantedInstance(profile=19, compute=(0,)),
        )
    )
    assert both == [expected, expected]


def test_a_gpu_is_off_kept_empty_or_left_alone():
    off = entry(enabled=False, gpus={"index": (0,)})
    kept = entry(keep=True, gpus={"uuid": (uuid(1),)})
    empty = entry({}, gpus={"module_id": (3,)})

    assert wanted(layout(off, kept, empty), node("H100", "H100", "A30", "A30")) == [
        Mode.OFF,
        Mode.KEEP,
        Divided(instances=()),
        Mode.KEEP,
    ]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"1c.3g.40gb": 3}, [("3g.40gb", [1, 1, 1], None)]),
        ({"1c.3g.40gb": 4}, [("3g.40gb", [1, 1, 1], None), ("3g.40gb", [1], None)]),
        (
            {"1c.3g.40gb": 2, "2c.3g.40gb": 2},
            [("3g.40gb", [2, 1], None), ("3g.40gb", [2, 1], None)],
        ),
        (
            {"1c.3g.40gb": 2, "3g.40gb": 1},
            [("3g.40gb", [3], None), ("3g.40gb", [1, 1], None)],
        ),
        ({"1c.7g.80gb": 4, "3c.7g.80gb": 1}, [("7g.80gb", [3, 1, 1, 1, 1], None)]),
    ],
)
def test_compute_instances_are_packed_into_as_few_gpu_instances_as_hold_them(counts, expected):
    [divided] = wanted(layout(entry(counts)), node("H100"))

    assert named(divided, gpu("H100")) == expected


def test_instances_may_be_said_exactly():
    exact = entry(
        (
            PlacedInstance(profile="1g.10gb+me"),
            PlacedInstance(profile="3g.40gb", start=4, compute={"1c.3g.40gb": 1, "2c.3g.40gb": 1}),
        )
    )

    [divided] = wanted(layout(exact), node("H100"))

    assert named(divided, gpu("H100")) == [("3g.40gb", [2, 1], 4), ("1g.10gb+me", [1], None)]


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        ({"model": ("*H100*",)}, [0, 1]),
        ({"model": ("NVIDIA A30", "*A100*")}, [2, 3]),
        ({"device_filter": ("0x20b710de",)}, [2]),
        ({"device_filter": ("0x20B710DE:0x147F10DE", "0x20B010DE:0x00000000")}, [2]),
        ({"index": (1, 3)}, [1, 3]),
        ({"model": ("*H100*",), "index": (1, 2)}, [1]),
        ({"pci_address": ("00000000:13:00.0",)}, [3]),
        ({"module_id": (1,)}, [0]),
    ],
)
def test_a_selector_selects_what_fits_every_key(selector, chosen):
    gpus = node("H100", "H100", "A30", "A100")

    modes = wanted(layout(entry(enabled=False, gpus=selector)), gpus)

    assert [i for i, mode in enumerate(modes) if mode is Mode.OFF] == chosen


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({"index": (2,)}, "[0]: no GPU has the index 2; there are 0, 1"),
        (
            {"uuid": ("GPU-00000000-0000-0000-0000-000000000003",)},
            "[0]: no GPU has the UUID GPU-00000000-0000-0000-0000-000000000003; did you mean "
            + uuid(1)
            + "?",
        ),
        (
            {"pci_address": ("0000:1b:00.0",)},
            "[0]: no GPU has the PCI address 0000:1b:00.0; did you mean 0000:11:00.0?",
        ),
        ({"module_id": (9,)}, "[0]: no GPU has the module id 9; there are 1, 2"),
        ({"model": ("*H100*",), "index": (1,)}, "[0]: selects no GPU: none fits every key"),
        ({"model": ("*L40S*",)}, f": selects no GPU of this node, which has {H100}, NVIDIA A30"),
    ],
)
def test_a_selection_that_matches_nothing_is_refused(selector, said):
    assert told(layout(entry({}, gpus=selector)), node("H100", "A30")) == [said]


def test_an_entry_for_other_nodes_is_passed_over_when_another_is_for_this_one():
    a30 = entry({"1g.6gb": 4}, gpus={"model": ("*A30*",)})
    h100 = entry({"7g.80gb": 1}, gpus={"model": ("*H100*",)})

    [divided] = wanted(layout(a30, h100), node("H100"))

    assert named(divided, gpu("H100")) == [("7g.80gb", [7], None)]


def test_a_gpu_that_cannot_do_mig_is_passed_over_unless_it_is_named():
    gpus = node("T4", "A30")

    assert wanted(layout(entry({})), gpus) == [Mode.KEEP, Divided(instances=())]
    assert wanted(layout(entry(enabled=False, gpus={"index": (0,)})), gpus) == [
        Mode.KEEP,
        Mode.KEEP,
    ]
    assert told(layout(entry({}, gpus={"index": (0, 1)})), gpus) == [
        "[0]: GPU 0 (Tesla T4) cannot do MIG; leave out what cannot"
    ]


def test_a_profile_that_is_not_offered_is_refused_once_for_gpus_that_are_alike():
    said = told(layout(entry({"3g.20gb": 1})), node("H100", "A100", "H100"))

    assert said == [
        (
            f"[0].instances[3g.20gb]: GPUs 0, 2 ({H100}) offer no '3g.20gb', only 1g.10gb, "
            "1g.10gb+me, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb; did you mean '3g.40gb'?"
        )
    ]


def test_a_placement_that_the_driver_does_not_allow_is_refused():
    exact = entry((PlacedInstance(profile="3g.40gb", start=3),))

    assert told(layout(exact), node("H100")) == [
        (
            f"[0].instances[0].start: GPU 0 ({H100}) can have '3g.40gb' at 0, 4, not at 3; "
            "did you mean 4?"
        )
    ]


def test_more_compute_instances_than_a_gpu_instance_holds_are_refused():
    exact = entry((PlacedInstance(profile="3g.40gb", compute={"2c.3g.40gb": 2}),))

    assert told(layout(exact), node("H100")) == [
        (
            f"[0].instances[0].compute: '3g.40gb' of GPU 0 ({H100}) has 3 compute slices; "
            "2 x 2c do not fit"
        )
    ]


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        (
            {"1g.10gb": 8},
            f"[0].instances[1g.10gb]: GPU 0 ({H100}) holds 7 of '1g.10gb' at most, not 8",
        ),
        (
            {"3g.40gb": 2, "1g.10gb": 1},
            f"[0]: GPU 0 ({H100}) cannot hold 2 x 3g.40gb, 1g.10gb together; 2 x 3g.40gb would fit",
        ),
        (
            {"4g.40gb": 1, "2g.20gb": 2, "1g.10gb": 1},
            (
                f"[0]: GPU 0 ({H100}) cannot hold 4g.40gb, 2 x 2g.20gb, 1g.10gb together; "
                "4g.40gb, 2g.20gb, 1g.10gb would fit"
            ),
        ),
        (
            (
                PlacedInstance(profile="4g.40gb", start=0),
                PlacedInstance(profile="1g.10gb", start=2),
            ),
            (
                f"[0]: GPU 0 ({H100}) cannot hold 4g.40gb at 0, 1g.10gb at 2 together; "
                "4g.40gb at 0 would fit"
            ),
        ),
        (
            {"1c.3g.40gb": 5, "4g.40gb": 1},
            (
                f"[0]: GPU 0 ({H100}) cannot hold 4g.40gb, 3g.40gb (1c, 1c, 1c), 3g.40gb (1c, 1c) "
                "together; 4g.40gb, 3g.40gb (1c, 1c, 1c) would fit"
            ),
        ),
    ],
)
def test_what_cannot_be_held_together_is_refused_with_what_can(instances, said):
    assert told(layout(entry(instances)), node("H100")) == [said]


def test_two_entries_may_want_the_same_of_a_gpu():
    gpus = node("H100", "H100")
    twice = layout(entry({"1g.10gb": 1}), entry({"1g.10gb": 1}, gpus={"index": (1,)}))

    assert wanted(twice, gpus) == wanted(layout(entry({"1g.10gb": 1})), gpus)


def test_two_entries_that_want_different_things_of_a_gpu_are_refused_with_both_places():
    gpus = node("H100", "H100", "H100")
    twice = layout(entry(enabled=False), entry({"1g.10gb": 2}, gpus={"index": (1, 2)}))

    assert told(twice, gpus) == [
        (
            "[1]: wants 2 x 1g.10gb of GPUs 1, 2, of which plumbline.mig.layouts[a][0] (c.yaml:3) "
            "wants MIG off; select each GPU once"
        )
    ]


def test_the_lines_of_a_file_of_mig_parted_are_in_the_message():
    text = """
version: v1
mig-configs:
  a:
  - {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1}}
  - {devices: [0], mig-enabled: false}
"""
    resolution = resolve_layout(parse_layouts(text, "mig.yaml")["a"], node("A100"))

    assert [str(problem) for problem in resolution.problems] == [
        (
            "mig.yaml:6: mig-configs[a][1]: wants MIG off of GPU 0, of which mig-configs[a][0] "
            "(mig.yaml:5) wants 1g.5gb; select each GPU once"
        )
    ]


@pytest.mark.parametrize(
    ("board", "counts"),
    [
        ("A100", {"3g.20gb": 1, "2g.10gb": 1, "1g.5gb": 2}),
        ("A30", {"2g.12gb": 1, "1g.6gb": 1, "1g.6gb+me": 1}),
        ("H200", {"3g.71gb": 2}),
        ("B200", {"1g.24gb": 7}),
        ("RTX", {"2g.48gb": 1, "1g.24gb-me": 1, "1g.24gb.me.all": 1}),
    ],
)
def test_every_board_holds_what_it_is_sold_for(board, counts):
    [divided] = wanted(layout(entry(counts)), node(board))

    assert len(divided.instances) == sum(counts.values())


def choose(names, name):
    layouts = own_layouts(Mig(layouts={each: (entry({}),) for each in names}), "c.yaml:3")
    return choose_layout(layouts, name, where="flag --mig-layout", path="plumbline.mig.layout")


@pytest.mark.parametrize(
    ("names", "name", "said"),
    [
        (("half", "whole"), "hafl", "'hafl' is not a layout; did you mean 'half'?"),
        (("half", "whole"), "x", "'x' is not a layout; the layouts are half, whole"),
        (("half", "whole"), None, "is missing; the layouts are half, whole"),
        ((), "x", "no layout is declared; write one under plumbline.mig.layouts"),
    ],
)
def test_a_layout_that_is_not_declared_is_refused_with_the_nearest(names, name, said):
    assert choose(names, name) == Problem(
        where="flag --mig-layout", path="plumbline.mig.layout", message=said
    )


def test_the_only_layout_needs_no_name():
    assert choose(("half",), None).name == "half"
    assert choose(("half", "whole"), "whole").name == "whole"


def test_the_boards_are_the_ones_of_the_record():
    assert {name: len(profiles) for name, (_, _, profiles) in BOARDS.items()} == {
        "A100": 7,
        "A30": 5,
        "H100": 7,
        "H200": 7,
        "B200": 7,
        "RTX": 11,
        "T4": 0,
    }
