"""Layouts made from the hardware and from its state, in mig-parted's format."""

import pytest
from mig_boards import gpu, node

from agent.model.mig import ComputeInstance, GpuInstance, MigPlacement
from agent.planning.layout_export import Export, GpuState, export_layout
from agent.planning.layout_generation import generate_layouts, layout_document


def on(counts, board=None):
    chosen = {} if board is None else {"device-filter": board}
    return {**chosen, "devices": "all", "mig-enabled": True, "mig-devices": counts}


ENDS = {
    "all-disabled": [{"devices": "all", "mig-enabled": False}],
    "all-enabled": [{"devices": "all", "mig-enabled": True, "mig-devices": {}}],
}


def test_a_node_of_one_board_gets_layouts_without_filters():
    assert generate_layouts(node("H100", "H100", "T4")) == {
        **ENDS,
        "all-balanced": [on({"1g.10gb": 2, "2g.20gb": 1, "3g.40gb": 1})],
        "all-1g.10gb": [on({"1g.10gb": 7})],
        "all-1g.10gb.me": [on({"1g.10gb+me": 1})],
        "all-1g.20gb": [on({"1g.20gb": 4})],
        "all-2g.20gb": [on({"2g.20gb": 3})],
        "all-3g.40gb": [on({"3g.40gb": 2})],
        "all-4g.40gb": [on({"4g.40gb": 1})],
        "all-7g.80gb": [on({"7g.80gb": 1})],
    }


def test_a_board_of_four_slices_is_balanced_otherwise():
    generated = generate_layouts(node("RTX"))

    assert generated["all-balanced"] == [on({"1g.24gb": 2, "2g.48gb": 1})]
    assert generated["all-1g.24gb.me.all"] == [on({"1g.24gb+me.all": 1})]
    assert generated["all-1g.24gb-me"] == [on({"1g.24gb-me": 4})]


def test_a_node_of_several_boards_gets_filters():
    generated = generate_layouts(node("A30", "A100", "A30"))

    assert generated["all-balanced"] == [
        on({"1g.6gb": 2, "2g.12gb": 1}, "0x20B710DE"),
        on({"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}, "0x20B010DE"),
    ]
    assert generated["all-1g.5gb"] == [on({"1g.5gb": 7}, "0x20B010DE")]
    assert generated["all-disabled"] == ENDS["all-disabled"]


def test_without_a_gpu_that_can_do_mig_there_are_no_layouts():
    assert generate_layouts(node("T4")) == {}


def test_a_document_is_what_mig_parted_reads():
    assert layout_document(ENDS) == {"version": "v1", "mig-configs": ENDS}


def instance(profile, *compute, start=0, size=1):
    return GpuInstance(
        id=start + 1,
        profile=profile,
        placement=MigPlacement(start=start, size=size),
        compute=tuple(
            ComputeInstance(id=i, profile=each, uuid=None) for i, each in enumerate(compute)
        ),
    )


SMALL = (instance(19, 0, start=0), instance(19, 0, start=1), instance(9, 0, 0, start=4, size=4))
SMALL_COUNTS = {"1c.3g.40gb": 2, "1g.10gb": 2}


def state(board, index, *instances, enabled=True):
    return GpuState(gpu=gpu(board, index), enabled=enabled, instances=instances)


@pytest.mark.parametrize(
    ("states", "entries"),
    [
        ([state("H100", 0, *SMALL), state("H100", 1, *SMALL)], [on(SMALL_COUNTS)]),
        (
            [state("H100", 0, *SMALL), state("T4", 1, enabled=False)],
            [on(SMALL_COUNTS)],
        ),
        (
            [state("H100", 0, *SMALL), state("H100", 1), state("H100", 2, *SMALL)],
            [
                {"devices": [0, 2], "mig-enabled": True, "mig-devices": SMALL_COUNTS},
                {"devices": [1], "mig-enabled": True, "mig-devices": {}},
            ],
        ),
        (
            [state("H100", 0, *SMALL), state("A30", 1, enabled=False)],
            [
                on(SMALL_COUNTS, "0x233010DE"),
                {"device-filter": "0x20B710DE", "devices": "all", "mig-enabled": False},
            ],
        ),
        ([], []),
    ],
)
def test_gpus_in_the_same_state_share_an_entry(states, entries):
    assert export_layout(states) == Export(entries=entries, notes=())


def test_what_the_format_cannot_say_is_noted():
    bare = instance(14, start=2, size=2)
    apart = (instance(9, 0, start=0, size=4), instance(9, 0, start=4, size=4))
    strange = instance(99, 0)

    assert export_layout([state("H100", 0, *apart), state("H100", 1, bare, strange)]).notes == (
        (
            "GPU 0 (NVIDIA H100 80GB HBM3) has 2 3g.40gb, whose compute instances would be "
            "put into 1 otherwise"
        ),
        "GPU 1 (NVIDIA H100 80GB HBM3) has an instance of a profile that the driver does not list",
        "GPU 1 (NVIDIA H100 80GB HBM3) has a 2g.20gb without a compute instance, which is left out",
    )


def test_of_some_gpus_only_these_are_selected():
    states = [state("H100", 0), state("H100", 1)]
    chosen = export_layout(states, only={states[1].gpu.uuid})
    assert [entry["devices"] for entry in chosen.entries] == [[1]]
