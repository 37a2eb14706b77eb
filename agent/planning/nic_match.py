"""Which GPU gets which NIC: as many GPUs as possible with a NIC of their own. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence


def match(beside: Mapping[str, Sequence[str]], used: Collection[str] = ()) -> dict[str, str]:
    """Return one NIC for each of as many GPUs as possible, no NIC twice, none of ``used``.

    ``beside`` lists the NICs of each GPU, the first one preferred. A maximum matching by
    augmenting paths; of equals the one that serves the first GPUs.
    """
    owner: dict[str, str] = {}

    def find(gpu: str, seen: set[str]) -> bool:
        open_to_it = [nic for nic in beside[gpu] if nic not in used and nic not in seen]
        # What is free comes before what another GPU would have to give up.
        for nic in sorted(open_to_it, key=lambda nic: nic in owner):
            if nic in seen:
                continue
            seen.add(nic)
            if nic not in owner or find(owner[nic], seen):
                owner[nic] = gpu
                return True
        return False

    for gpu in beside:
        find(gpu, set())
    by_gpu = {gpu: nic for nic, gpu in owner.items()}
    return {gpu: by_gpu[gpu] for gpu in beside if gpu in by_gpu}


def match_rounds(
    beside: Mapping[str, Sequence[str]], rounds: int, used: Collection[str] = ()
) -> dict[str, list[str]]:
    """Return up to ``rounds`` NICs of its own for every GPU: each round one for each."""
    given: dict[str, list[str]] = {gpu: [] for gpu in beside}
    taken = set(used)
    for _ in range(rounds):
        found = match(beside, taken)
        for gpu, nic in found.items():
            given[gpu].append(nic)
        taken |= set(found.values())
    return given
