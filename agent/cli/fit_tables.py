"""What `plumbline fit` shows: a row for each size, then what each policy comes to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table

from agent.cli.fit import Answer, PolicyAnswer, RequestAnswer
from agent.cli.render import ranges
from agent.planning.fit import Verdict

_CELLS = {
    Verdict.ADMITTED: "yes",
    Verdict.PENDING: "waits",
    Verdict.REJECTED: "no",
    Verdict.NEVER: "never",
}
_GROUPS = {
    Verdict.REJECTED: "rejected now",
    Verdict.PENDING: "waiting",
    Verdict.NEVER: "never",
}


def show(answer: Answer) -> None:
    """Print an answer for people."""
    console = Console(width=None if Console().is_terminal else 160, highlight=False, markup=False)
    console.print(_title(answer), soft_wrap=True)
    if answer.gpus:
        console.print(_sizes_table(answer))
        for policy, each in answer.policies.items():
            for line in (f"{policy}: {_largest(each)}", *_groups(each)):
                console.print(line, soft_wrap=True)
        console.print(_aligned_table(answer))
    for note in answer.notes:
        console.print(f"note: {note}", soft_wrap=True)


def _title(answer: Answer) -> str:
    if not answer.gpus:
        return "there are no GPUs"
    unhealthy = f", unhealthy {ranges(answer.unhealthy)}" if answer.unhealthy else ""
    return (
        f"GPUs {ranges(answer.gpus)}, free {ranges(answer.free) or 'none'}{unhealthy}\n\n"
        "What a container that asks for GPUs alone gets, by --topology-manager-policy\n"
        "(yes: which GPUs on which NUMA nodes)"
    )


def _sizes_table(answer: Answer) -> Table:
    table = Table("asks", *answer.policies, box=box.SIMPLE)
    for row in zip(*(each.requests for each in answer.policies.values()), strict=True):
        table.add_row(str(row[0].size), *map(_cell, row))
    return table


def _cell(request: RequestAnswer) -> str:
    word = _CELLS[Verdict(request.verdict)]
    nodes = ranges(request.numa_nodes) or "unknown"
    return f"{word}: {ranges(request.gpus)} on {nodes}" if request.gpus else word


def _largest(answer: PolicyAnswer) -> str:
    now, empty = answer.now.admitted, answer.empty.admitted
    gaps = tuple(
        each.size
        for each in answer.requests
        if each.verdict != Verdict.ADMITTED and each.size < now
    )
    but = f", but not {_listed(gaps)}" if gaps else ""
    return f"up to {now} now{but}, {empty} when the node is empty"


def _groups(answer: PolicyAnswer) -> Iterator[str]:
    wide = tuple(each.size for each in answer.requests if each.preferred is False)
    if wide:
        yield f"  {_listed(wide)} admitted, but not aligned"
    for (verdict, reason), group in groupby(
        answer.requests, lambda each: (each.verdict, each.reason)
    ):
        if words := _GROUPS.get(Verdict(verdict)):
            yield f"  {_listed(tuple(each.size for each in group))} {words}: {reason}"


def _aligned_table(answer: Answer) -> Table:
    """Return the largest aligned sizes; in brackets those of the empty node, where they differ."""
    table = Table(
        "largest request from",
        "one NUMA node",
        "one socket",
        f"best pairs ({answer.best_pair_gbps} GB/s)",
        box=box.SIMPLE,
    )
    for policy, each in answer.policies.items():
        now, empty = each.now, each.empty
        table.add_row(
            policy,
            _both(now.one_numa_node, empty.one_numa_node),
            _both(now.one_socket, empty.one_socket),
            _both(now.best_pairs, empty.best_pairs),
        )
    return table


def _both(now: int, empty: int) -> str:
    return str(now) if now == empty else f"{now} (empty: {empty})"


def _listed(sizes: tuple[int, ...]) -> str:
    return ranges(sizes).replace("-", " to ").replace(",", ", ")
