"""How far an order is: in words for labels, and told once at every change."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from msgspec import Struct

from agent.model.errors import (
    BusyError,
    ConfigError,
    HalfDoneError,
    PlumblineError,
    RolledBackError,
)
from agent.telemetry import logs


class State(StrEnum):
    """How far an order is: the values of nvidia.com/mig.config.state."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILED = "failed"


class Reason(StrEnum):
    """Why an order waits or failed, in a word that fits a label."""

    WORKING = "dividing"
    KUBELET = "waiting-for-kubelet"
    DRAINING = "waiting-for-pods"
    REFUSED = "refused"
    IN_USE = "in-use"
    ROLLED_BACK = "failed-and-put-back"
    HALF_DONE = "failed-half-done"
    DRIVER = "driver-does-not-answer"


class Report(Struct, frozen=True, kw_only=True):
    """How far an order is."""

    layout: str
    state: State
    reason: Reason | None
    message: str


class Reports:
    """Tells what is new to the log, and to whoever listens."""

    def __init__(self, tell: Callable[[Report | None], None]) -> None:
        """``tell`` is given every Report that differs from the one before."""
        self._tell = tell
        self._said: Report | None = None
        self._silent = True

    def say(self, report: Report | None) -> None:
        """Tell how far the order is; None: there is none."""
        # Also that there is no order is news once: an earlier process may have said otherwise.
        if report == self._said and not self._silent:
            return
        self._said, self._silent = report, False
        if report is not None:
            note = logs.error if report.state is State.FAILED else logs.event
            note(
                "mig_order",
                layout=report.layout,
                state=report.state,
                reason=report.reason or "none",
                message=report.message,
            )
        self._tell(report)


def reason_of(error: PlumblineError) -> Reason:
    """Return why an order failed."""
    match error:
        case ConfigError():
            return Reason.REFUSED
        case BusyError():
            return Reason.IN_USE
        case RolledBackError():
            return Reason.ROLLED_BACK
        case HalfDoneError():
            return Reason.HALF_DONE
        case _:
            return Reason.DRIVER
