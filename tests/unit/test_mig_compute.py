"""Where compute instances lie in a GPU instance, and what stays when others are wanted."""

from mig_boards import H100
from mig_tables import COMPUTE, profile

from agent.model.mig import ComputeInstance, GpuInstance
from agent.planning.mig_compute import change_compute, new_compute

ONE, TWO, THREE = (COMPUTE[size] for size in (1, 2, 3))
WHOLE = profile(H100, "7g")
THIRD = profile(H100, "3g")


def around(kind, *parts):
    """Make a GPU instance; parts are (profile, start)."""
    compute = tuple(
        ComputeInstance(id=n, profile=id_, uuid=f"MIG-{n}", start=start)
        for n, (id_, start) in enumerate(parts)
    )
    return GpuInstance(id=1, profile=kind.id, placement=kind.placements[0], compute=compute)


def changed(kind, instance, wanted, held=()):
    change = change_compute(kind, instance, wanted, lambda each: each.id in held)
    return [each.id for each in change.gone], [(each.profile, each.start) for each in change.new]


def test_larger_ones_leave_each_other_room():
    # Three slices begin at 0 or 4: at 0 they would leave place for one of two only.
    made = new_compute(WHOLE, (THREE, TWO, TWO))
    assert [(each.profile, each.start) for each in made] == [(THREE, 4), (TWO, 0), (TWO, 2)]


def test_where_all_are_alike_the_driver_chooses():
    assert [each.start for each in new_compute(WHOLE, (ONE,) * 7)] == [None] * 7


def test_what_stays_is_built_around():
    there = around(THIRD, (ONE, 2))
    assert changed(THIRD, there, (TWO, ONE)) == ([], [(TWO, 0)])


def test_what_lies_in_the_way_goes_and_comes_again_elsewhere():
    there = around(THIRD, (ONE, 0))
    assert changed(THIRD, there, (TWO, ONE)) == ([0], [(TWO, 0), (ONE, 2)])


def test_of_alike_ones_that_stays_which_leaves_room():
    there = around(THIRD, (ONE, 0), (ONE, 1), (ONE, 2))
    assert changed(THIRD, there, (TWO, ONE)) == ([0, 1], [(TWO, 0)])


def test_what_is_held_stays_if_anything_can():
    there = around(WHOLE, (ONE, 0), (ONE, 6))
    assert changed(WHOLE, there, (THREE, THREE, ONE), held={1}) == (
        [0, 1],
        [(THREE, 0), (THREE, 4), (ONE, 3)],
    )
    assert changed(WHOLE, there, (THREE, TWO, ONE), held={1}) == ([0], [(THREE, 0), (TWO, 4)])


def test_without_starts_it_is_left_to_the_driver():
    there = around(THIRD, (ONE, None))
    assert changed(THIRD, there, (TWO, ONE)) == ([], [(TWO, None)])
