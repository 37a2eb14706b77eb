"""The last decisions about devices, each with its reasons, for who asks afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from agent.ledger.ledger import Account
from agent.planning.decision import Question, Weighed, document, weigh
from agent.planning.nics import Allotment
from agent.telemetry import logs

KEPT = 1000
# The kubelet allocates right after it asked; what comes later was not asked for.
_SAME_ADMISSION_S = 10.0


class Decision(Struct, kw_only=True):
    """One container's devices."""

    number: int
    at_s: float
    """When the kubelet asked or allocated, on the event loop's clock."""
    resource: str
    devices: tuple[str, ...]
    """Those preferred, and once ``allocated`` those that the kubelet gave."""
    recorded: bytes = b""
    """The document, encoded: a thousand of these are kept. Empty while the question is open."""
    allocated: bool = False
    pod: str | None = None


class Decisions(Struct):
    """Joins the kubelet's question, its Allocate, and the pod that it was for."""

    since_1970_s: Callable[[float], float]
    """Returns a time of the event loop's clock as seconds since 1970."""
    noted: Callable[[Question, Weighed], None] = lambda *_: None
    """Told of every allocation."""
    _kept: deque[Decision] = field(default_factory=lambda: deque(maxlen=KEPT))
    _open: dict[str, tuple[Question, Decision]] = field(default_factory=dict)
    """By resource what was asked last: the kubelet admits one pod at a time, and allocates
    right after it asked."""
    _last: int = 0

    def asked(self, question: Question) -> None:
        """Take in a preference that was answered, and log why."""
        assert question.preferred is not None  # noqa: S101 - it was answered
        self.refused(question.resource)
        decision = self._add(question, question.preferred.devices)
        self._open[question.resource] = question, decision
        why = question.preferred.explanation
        logs.event(
            "placement",
            decision=decision.number,
            resource=question.resource,
            generation=question.snapshot.generation,
            chosen=decision.devices,
            offered=len(question.offered),
            numa_nodes=why.numa_nodes,
            ring_gbps=why.ring_gbps,
            limiting_pair=why.limiting_pair or "none",
            limiting_path=why.limiting_path or "none",
            rails=why.rails or "none",
            runner_up=why.runner_up or "none",
            lost_at=why.lost_at or "none",
            left=why.left_words,
            exact=why.exact,
        )

    def allocated(
        self, unasked: Question, devices: Sequence[str], allotment: Allotment | None = None
    ) -> None:
        """Take in what the kubelet allocated, and the NICs given with it.

        ``unasked`` is how things stood before it, if it did not ask for a preference.
        """
        question, decision = self._answered(unasked, devices)
        weighed = weigh(question, devices)
        decision.devices, decision.allocated = tuple(devices), True
        decision.recorded = _encoded(question, weighed, allotment)
        logs.event(
            "allocated",
            resource=question.resource,
            devices=decision.devices,
            decision=decision.number,
            quality=weighed.quality,
            better=weighed.better.devices if weighed.better else "none",
            nics=(allotment.nics or "none") if allotment else "off",
            missing_nics=_missing(allotment),
        )
        self.noted(question, weighed)

    def refused(self, resource: str) -> None:
        """Take in that an Allocate was refused: what was asked before it came to nothing."""
        if (left := self._open.pop(resource, None)) is not None:
            left[1].recorded = _encoded(left[0], None)

    def confirmed(self, account: Account) -> None:
        """Learn from the kubelet whose devices they were; it cannot know what came later."""
        holders = {each.device: each.holder for each in account.held}
        for decision in reversed(self._kept):
            if not holders:
                return
            if decision.allocated:
                names = {holders.pop(device, None) for device in decision.devices}
                if decision.pod is None and len(names) == 1 and decision.at_s < account.asked_s:
                    _name(decision, names.pop())

    def find(self, *, pod: str | None = None, last: int = KEPT) -> list[dict[str, Any]]:
        """Return the last decisions as documents, the newest at the end.

        ``pod`` is ``namespace/name``, or a name in any namespace.
        """
        found = [each for each in self._kept if pod is None or _is_of(each, pod)][-last:]
        questions = {decision.number: question for question, decision in self._open.values()}
        return [
            self._whole(each, each.recorded or _encoded(questions[each.number], None))
            for each in found
        ]

    def _answered(self, unasked: Question, devices: Sequence[str]) -> tuple[Question, Decision]:
        """Return the question that an allocation answers, and its decision."""
        question, decision = self._open.pop(unasked.resource, (None, None))
        if question is not None and decision is not None:
            late = unasked.at_s - question.at_s > _SAME_ADMISSION_S
            possible = {*question.offered, *question.must}
            if not late and question.size == len(devices) and possible.issuperset(devices):
                decision.at_s = unasked.at_s
                return question, decision
            decision.recorded = _encoded(question, None)
        return unasked, self._add(unasked, ())

    def _add(self, question: Question, devices: tuple[str, ...]) -> Decision:
        self._last += 1
        decision = Decision(
            number=self._last,
            at_s=question.at_s,
            resource=question.resource,
            devices=devices,
        )
        self._kept.append(decision)
        return decision

    def _whole(self, decision: Decision, recorded: bytes) -> dict[str, Any]:
        return {
            "number": decision.number,
            "at_s": self.since_1970_s(decision.at_s),
            "pod": decision.pod,
            "resource": decision.resource,
            "devices": list(decision.devices),
            "allocated": decision.allocated,
            **msgspec.json.decode(recorded),
        }


def _name(decision: Decision, pod: str | None) -> None:
    if pod is not None:
        decision.pod = pod
        logs.event("allocated_to", decision=decision.number, pod=pod)


def _missing(allotment: Allotment | None) -> str:
    missing = allotment.missing if allotment else ()
    return "; ".join(f"{each.gpu}: {each.reason}" for each in missing) or "none"


def _encoded(
    question: Question, weighed: Weighed | None, allotment: Allotment | None = None
) -> bytes:
    return msgspec.json.encode(document(question, weighed, allotment))


def _is_of(decision: Decision, pod: str) -> bool:
    return decision.pod is not None and pod in {decision.pod, decision.pod.partition("/")[2]}
