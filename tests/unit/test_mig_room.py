"""What a divided GPU has room for."""

import pytest
from mig_boards import A30, A100, H100, RTX_PRO_6000
from mig_tables import BOARDS, instances

from agent.planning.mig_room import room


def counts(board, text):
    found = room(board, instances(board, text))
    return {each.name: found.more[each.id] for each in board if found.more[each.id]}


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_an_empty_gpu_has_room_for_as_many_as_the_driver_says(board):
    assert room(board, ()).more == {each.id: each.most for each in board}


@pytest.mark.parametrize(
    ("board", "there", "left"),
    [
        (A100, "7g@0", {}),
        # Two 3g take every memory slice; the seventh compute slice is lost.
        (A100, "3g@0 3g@4", {}),
        (A100, "4g@0 3g@4", {}),
        (A100, "4g@0 2g@4", {"1g.5gb": 1, "1g.5gb+me": 1, "1g.10gb": 1}),
        (H100, "1g@6 3g@0", {"1g.10gb": 2, "1g.10gb+me": 1, "1g.20gb": 1, "2g.20gb": 1}),
        (A100, "1g+me@0", {"1g.5gb": 6, "1g.10gb": 3, "2g.10gb": 2, "3g.20gb": 1}),
        (A30, "1g@0 1g@2", {"1g.6gb": 2, "1g.6gb+me": 1}),
        (
            RTX_PRO_6000,
            "2g@0 1g+me.all@6",
            {"1g.24gb": 1, "1g.24gb+me": 1, "1g.24gb+gfx": 1, "1g.24gb-me": 1},
        ),
    ],
)
def test_room_is_counted_beside_what_is_there(board, there, left):
    assert counts(board, there) == left


def test_more_of_a_larger_profile_is_worth_more_than_any_number_of_small_ones():
    # Beside a 1g at 6 a 4g still fits; beside one at 0 only a 3g, though all else is alike.
    scores = [room(A100, instances(A100, f"1g@{start}")).score for start in range(7)]

    assert scores.index(max(scores)) == 6
    assert room(A100, ()).score > max(scores) > room(A100, instances(A100, "3g@4")).score > 0


def test_scores_of_several_gpus_add_up():
    # A node with one GPU empty and one full has room for a 7g; one with two halves has not.
    def total(*texts):
        return sum(room(A100, instances(A100, text)).score for text in texts)

    assert total("", "7g@0") > total("3g@4", "3g@4")
