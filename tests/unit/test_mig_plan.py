"""Worked cases of planning how a GPU is divided, on the tables of real boards."""

import pytest
from mig_boards import A30, A100, H100, RTX_PRO_6000
from mig_tables import BOARDS, instances, layout, mig_gpu, profile

from agent.planning.mig_outcome import Blocked, Impossible, Plan
from agent.planning.mig_plan import plan_gpu, plan_node
from agent.planning.mig_steps import (
    CreateComputeInstance,
    CreateGpuInstance,
    DestroyGpuInstance,
    Existing,
    New,
    SetMigMode,
)

EMPTY = mig_gpu(A100)


def texts(plan):
    return [step.text.removeprefix("GPU-0: ") for step in plan.steps]


def where(board, plan):
    names = {each.id: each.name.split(".")[0] for each in board}
    return [f"{names[each.profile]}@{each.start}" for each in plan.layout]


def test_a_layout_that_is_there_takes_no_steps():
    gpu = mig_gpu(A100, "3g@0 2g@4 1g@6", held=[(10, 0)])

    assert plan_gpu(gpu, layout(A100, "1g 3g 2g")).steps == ()


def test_only_what_must_go_goes():
    gpu = mig_gpu(A100, "1g@0 1g@1 2g@2")

    assert texts(plan_gpu(gpu, layout(A100, "3g 2g 1g"))) == [
        "destroy compute instance 0 of GPU instance 11 (1g.5gb)",
        "destroy GPU instance 11 (1g.5gb at 1)",
        "create 3g.20gb at 4 (new 1)",
        "create compute instance 3g.20gb in new 1",
    ]


def test_a_new_instance_is_known_by_number_until_the_driver_numbers_it():
    plan = plan_gpu(mig_gpu(A100, "1g@6"), layout(A100, "1g 3g:1,2"))

    assert [type(step) for step in plan.steps] == [
        CreateGpuInstance,
        CreateComputeInstance,
        CreateComputeInstance,
    ]
    assert {step.inside for step in plan.steps[1:]} == {New(number=plan.steps[0].number)}


def test_a_step_carries_the_instance_that_it_destroys():
    (there,) = instances(A100, "3g@4:1,2")

    *_, last = plan_gpu(mig_gpu(A100, "3g@4:1,2"), ()).steps

    assert last == DestroyGpuInstance(gpu="GPU-0", instance=there, name="3g.20gb")


def test_compute_instances_change_inside_a_gpu_instance_that_stays():
    gpu = mig_gpu(A100, "3g@0:1,1,1", held=[(10, 1)])

    plan = plan_gpu(gpu, layout(A100, "3g:2,1"))

    assert texts(plan) == [
        "destroy compute instance 0 of GPU instance 10 (1c.3g.20gb)",
        "destroy compute instance 2 of GPU instance 10 (1c.3g.20gb)",
        "create compute instance 2c.3g.20gb in GPU instance 10",
    ]
    assert plan.steps[-1].inside == Existing(id=10)


def test_what_is_held_is_matched_wherever_it_lies():
    # 1g at 2 keeps 3g from 0 and 2g from 2: 2g at 0 and 3g at 4 are the only way.
    plan = plan_gpu(mig_gpu(H100, "1g@2", held=[(10, 0)]), layout(H100, "3g 2g 1g 1g"))

    assert where(H100, plan) == ["2g@0", "1g@2", "1g@3", "3g@4"]
    assert not any(isinstance(step, DestroyGpuInstance) for step in plan.steps)


def test_a_start_that_is_asked_for_is_kept():
    gpu = mig_gpu(H100, "1g@6 1g@5 1g@4", held=[(12, 0), (11, 0)])

    plan = plan_gpu(gpu, layout(H100, "1g@0 1g@4 1g"))

    assert where(H100, plan) == ["1g@0", "1g@4", "1g@5"]


@pytest.mark.parametrize(
    ("name", "wanted", "start"),
    [
        # Slice 6 is of no use to a 4g, 3g at 0 or 2g: the only one beside which all three stay.
        ("A100", "1g", 6),
        ("A100", "1g+me", 6),
        ("H100", "1g.20gb", 6),
        ("A100", "2g", 4),  # beside it a 4g
        ("A100", "3g", 4),  # beside it a 4g, not only another 3g
        ("A30", "1g", 0),  # a 2g either way
        ("RTX PRO 6000", "1g+gfx", 0),
    ],
)
def test_an_empty_gpu_keeps_room_for_the_largest(name, wanted, start):
    (placed,) = plan_gpu(mig_gpu(BOARDS[name]), layout(BOARDS[name], wanted)).layout

    assert placed.start == start


def test_a_second_small_instance_goes_beside_the_first():
    plan = plan_gpu(mig_gpu(A30, "1g@3"), layout(A30, "1g 1g"))

    assert where(A30, plan) == ["1g@2", "1g@3"]


def test_two_halves_of_rtx_pro_leave_a_half_as_long_as_they_can():
    gpu = mig_gpu(RTX_PRO_6000, "1g+gfx@3", held=[(10, 0)])

    plan = plan_gpu(gpu, layout(RTX_PRO_6000, "1g+gfx 1g+me.all"))

    assert where(RTX_PRO_6000, plan) == ["1g@0", "1g@3"]


def test_mig_mode_is_turned_on_first_and_off_last():
    off = mig_gpu(A100, enabled=False, pending=False)

    on = plan_gpu(off, layout(A100, "7g"))
    gone = plan_gpu(mig_gpu(A100, "7g@0"), None)

    assert texts(on)[0] == "turn MIG mode on"
    assert len(on.steps) == 3
    assert texts(gone) == [
        "destroy compute instance 0 of GPU instance 10 (7g.40gb)",
        "destroy GPU instance 10 (7g.40gb at 0)",
        "turn MIG mode off",
    ]
    assert gone.layout is None


@pytest.mark.parametrize(
    ("enabled", "pending", "wanted", "needed"),
    [
        (True, True, (), False),
        (False, False, None, False),
        (False, True, (), True),  # a reset is due: asked once more
        (True, False, (), True),  # takes back what is due
        (False, True, None, True),
    ],
)
def test_mode_is_set_only_where_it_is_wrong(enabled, pending, wanted, needed):
    plan = plan_gpu(mig_gpu(A100, enabled=enabled, pending=pending), wanted)

    step = SetMigMode(
        gpu="GPU-0", enabled=wanted is not None, was_enabled=enabled, was_pending=pending
    )
    assert plan.steps == ((step,) if needed else ())


def test_a_gpu_without_mig_has_mig_mode_off():
    gpu = mig_gpu((), enabled=False, pending=False)

    assert plan_gpu(gpu, None) == Plan(gpu="GPU-0", steps=(), layout=None)
    assert plan_gpu(gpu, ()).text == "GPU-0: this GPU has no MIG"


def test_who_is_in_the_way_is_named_with_what_can_be_had_now():
    gpu = mig_gpu(A100, "1g@0 1g@1 2g@2", held=[(11, 0)])

    outcome = plan_gpu(gpu, layout(A100, "3g 3g"))

    assert outcome.text == (
        "GPU-0: 1g.5gb at 1 is held by pod-11-0. Possible now: 1g.5gb at 1 + 3g.20gb at 4"
    )
    assert len(outcome.now.steps) == 6


def test_only_the_fewest_holders_are_in_the_way():
    # 3g fits at 4 when one lets go, at 0 only when three do.
    gpu = mig_gpu(A100, "1g@0 1g@1 1g@2 1g@6", held=[(n, 0) for n in (10, 11, 12, 13)])

    outcome = plan_gpu(gpu, layout(A100, "3g 1g 1g 1g"))

    assert [each.holders for each in outcome.obstacles] == [("pod-13-0",)]
    assert outcome.nearest == "1g.5gb at 0 + 1g.5gb at 1 + 1g.5gb at 2 + 1g.5gb at 6"


def test_fewest_counts_what_is_lost_inside_an_instance_that_stays():
    # The 3g at 0 holds more, but nothing of it would be left.
    gpu = mig_gpu(A100, "3g@0:1,1,1 3g@4:2", held=[(10, 0), (10, 1), (10, 2), (11, 0)])

    outcome = plan_gpu(gpu, layout(A100, "3g:2"))

    assert [each.instance.id for each in outcome.obstacles] == [10, 10, 10]


@pytest.mark.parametrize(
    ("board", "there", "held", "wanted", "nearest"),
    [
        # The one 1g+me a GPU can have is held: there is no second beside it.
        (A100, "1g+me@0", (10, 0), "1g+me@6 2g@4", "1g.5gb+me at 0 + 2g.10gb at 4"),
        # The held 1g does for the wanted one: the idle one is one too many.
        (A100, "1g@0 1g@1 2g@2", (11, 0), "4g 2g 1g", "1g.5gb at 1 + 2g.10gb at 2"),
        # As many slices, but two instances rather than one.
        (A30, "2g@0", (10, 0), "2g+me 1g 1g", "2g.12gb at 0 + 1g.6gb at 2 + 1g.6gb at 3"),
        # Slices count first; the 2g at 2 leaves a 3g at 4.
        (A100, "1g@0", (10, 0), "4g@0 2g 1g", "1g.5gb at 0 + 2g.10gb at 2"),
    ],
)
def test_the_largest_part_is_had_beside_what_is_held(board, there, held, wanted, nearest):
    outcome = plan_gpu(mig_gpu(board, there, [held]), layout(board, wanted))

    assert isinstance(outcome, Blocked)
    assert outcome.nearest == nearest


def test_a_compute_instance_in_use_keeps_the_gpu_instance_around_it():
    outcome = plan_gpu(mig_gpu(A100, "3g@0:1,1,1", held=[(10, 1)]), layout(A100, "3g"))

    assert isinstance(outcome, Blocked)
    assert outcome.obstacles[0].text == "1c.3g.20gb at 0 is held by pod-10-1"
    assert texts(outcome.now) == [
        "create 3g.20gb at 4 (new 1)",
        "create compute instance 3g.20gb in new 1",
    ]
    assert outcome.nearest == ("3g.20gb (1c.3g.20gb, 1c.3g.20gb, 1c.3g.20gb) at 0 + 3g.20gb at 4")


def test_the_mode_stays_while_the_whole_gpu_is_held():
    gpu = mig_gpu(A100, enabled=False, pending=False, whole_holders=("train-0",))

    outcome = plan_gpu(gpu, layout(A100, "7g"))

    assert outcome.text == ("GPU-0: the whole GPU is held by train-0. Possible now: MIG mode off")
    assert outcome.now == Plan(gpu="GPU-0", steps=(), layout=None)


def test_an_instance_of_an_unknown_profile_stays_while_it_is_held():
    board = tuple(each for each in A100 if each.id != profile(A100, "1g+me").id)
    gpu = mig_gpu(board, instances=instances(A100, "1g+me@0 1g@1"), holders={(10, 0): ("pod",)})

    outcome = plan_gpu(gpu, layout(A100, "4g 3g"))

    assert outcome.obstacles[0].name == "an instance of profile 20 at 0"
    assert outcome.nearest == "an instance of profile 20 at 0 + 3g.20gb at 4"


@pytest.mark.parametrize(
    ("board", "wanted", "reason", "nearest"),
    [
        (A100, "3g 3g 1g", "3g.20gb + 3g.20gb + 1g.5gb cannot lie beside each other", "3g@0 3g@4"),
        (A100, "1g+me 1g+me", "2 of 1g.5gb+me, and a GPU holds at most 1", "1g@6"),
        (A30, "2g 2g 1g", "5 compute slices, and a GPU has 4", "2g@0 2g@2"),
        (
            A100,
            "3g@0 4g@0",
            "3g.20gb at 0 + 4g.20gb at 0 cannot lie beside each other",
            "4g@0 3g@4",
        ),
        (RTX_PRO_6000, "4g 1g-me", "5 compute slices, and a GPU has 4", "4g@0"),
    ],
)
def test_what_no_gpu_of_the_board_can_be_is_refused(board, wanted, reason, nearest):
    outcome = plan_gpu(mig_gpu(board), layout(board, wanted))

    assert isinstance(outcome, Impossible)
    assert outcome.reasons == (reason,)
    assert where(board, Plan(gpu="", steps=(), layout=outcome.nearest)) == nearest.split()


def test_all_that_is_wrong_is_said_at_once():
    outcome = plan_gpu(EMPTY, layout(A100, "3g@2:3,1 1g"))

    assert outcome.text == (
        "GPU-0: 3g.20gb cannot start at 2, only at 0, 4; "
        "3g.20gb cannot hold the compute instances 3g.20gb, 1c.3g.20gb. "
        "It offers 7g.40gb (1), 4g.20gb (1), 3g.20gb (2), 2g.10gb (3), 1g.10gb (4), 1g.5gb (7), "
        "1g.5gb+me (1). What fits: 1g.5gb at 0 + 3g.20gb at 4"
    )


def test_a_very_long_layout_is_refused_as_well():
    outcome = plan_gpu(EMPTY, layout(A100, " ".join(f"1g@{n % 7} 2g:1" for n in range(40))))

    assert sum(2 if each.profile == 14 else 1 for each in outcome.nearest) == 7


def test_a_node_is_planned_gpu_by_gpu():
    first = mig_gpu(A100, "7g@0", uuid="GPU-1", held=[(10, 0)])
    second = mig_gpu(A30, "1g@0", uuid="GPU-2")
    third = mig_gpu(A100, "7g@0", uuid="GPU-3")
    fourth = mig_gpu(A100, "7g@0", uuid="GPU-4")
    wanted = {
        "GPU-1": layout(A100, "3g"),
        "GPU-2": layout(A30, "4g"),
        "GPU-3": layout(A100, "7g"),
    }

    outcomes = plan_node([fourth, third, second, first], wanted)

    assert [(each.gpu, type(each)) for each in outcomes] == [("GPU-1", Blocked), ("GPU-2", Plan)]
