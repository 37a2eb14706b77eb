"""NICs for GPUs: as many GPUs as possible get one of their own."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from agent.planning.nic_match import match, match_rounds

NICS = [f"mlx5_{n}" for n in range(5)]
BESIDE = st.dictionaries(
    st.sampled_from([f"GPU-{g}" for g in range(5)]),
    st.lists(st.sampled_from(NICS), unique=True, max_size=4),
    max_size=5,
)
USED = st.sets(st.sampled_from(NICS), max_size=3)


def most(beside, used):
    """How many GPUs can get one, by trying every order of GPUs and every choice."""

    def serve(gpus, taken):
        if not gpus:
            return 0
        first, *rest = gpus
        choices = [serve(rest, taken | {nic}) + 1 for nic in beside[first] if nic not in taken]
        return max([serve(rest, taken), *choices])

    return serve([*beside], frozenset(used))


@given(BESIDE, USED)
def test_no_matching_serves_more_gpus(beside, used):
    found = match(beside, used)

    assert len(found) == most(beside, used)
    assert len(set(found.values())) == len(found)
    assert all(nic in beside[gpu] and nic not in used for gpu, nic in found.items())


@given(BESIDE, USED, st.integers(0, 4))
def test_rounds_give_nothing_twice_and_leave_nothing_that_fits(beside, used, rounds):
    given_ = match_rounds(beside, rounds, used)

    everything = [nic for nics in given_.values() for nic in nics]
    assert len(set(everything)) == len(everything)
    assert set(everything).isdisjoint(used)
    assert all(len(nics) <= rounds for nics in given_.values())
    left = {nic for nics in beside.values() for nic in nics} - set(everything) - used
    for gpu, nics in given_.items():
        assert len(nics) == rounds or left.isdisjoint(beside[gpu])


@given(BESIDE)
def test_the_first_nics_go_to_those_that_need_no_other(beside):
    """Where everybody can have the first of his list, everybody does."""
    firsts = {gpu: nics[0] for gpu, nics in beside.items() if nics}
    if len(set(firsts.values())) == len(firsts):
        assert match(beside) == firsts


def test_every_order_of_gpus_serves_as_many():
    beside = {"a": ["x", "y"], "b": ["x"], "c": ["y", "z"]}

    sizes = {len(match({gpu: beside[gpu] for gpu in order})) for order in permutations(beside)}

    assert sizes == {3}
