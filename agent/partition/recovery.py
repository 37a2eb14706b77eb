"""Finishes what a process began that died: forward, or back where that fails."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from agent.model.errors import BusyError, HardwareError
from agent.partition.execute import lead_back, lead_forward
from agent.partition.journal import Journal, journals, sweep
from agent.partition.locks import locked, locked_by_others
from agent.partition.reset import Reset
from agent.planning.mig_holders import Held


class Recovered(Struct, frozen=True, kw_only=True):
    """What became of one unfinished change."""

    journal: Path
    gpus: tuple[str, ...]
    outcome: str
    """``finished``, ``undone``, ``stuck``, or ``waits`` while another process has the GPUs."""
    reason: str | None = None


def recover(
    folder: Path, reset: Reset | None, held: Held, *, mine: frozenset[str] = frozenset()
) -> tuple[Recovered, ...]:
    """Lead every GPU of an unfinished change to where it was to be, else to where it was.

    ``held`` is who was given what: it is left alone. ``mine`` are GPUs that the caller has locked.

    What cannot be led either way stays written down and is tried again the next time. Raises
    HardwareError when a journal cannot be read.
    """
    if not folder.is_dir():
        return ()
    sweep(folder)
    found = (_recover(path, folder, reset, held, mine) for path in journals(folder))
    return tuple(each for each in found if each is not None)


def _recover(
    path: Path, folder: Path, reset: Reset | None, held: Held, mine: frozenset[str]
) -> Recovered | None:
    journal = Journal.read(path)
    if journal is None:
        return None
    gpus = tuple(turn.gpu for turn in journal.turns)
    try:
        with locked(folder, {*gpus} - mine):
            # It may have ended between being read and being locked.
            fresh = Journal.read(path)
            if fresh is None:
                return None
            outcome, reason = finish(fresh, reset, held)
    except BusyError as error:
        outcome, reason = "waits", str(error)
    return Recovered(journal=path, gpus=gpus, outcome=outcome, reason=reason)


def finish(journal: Journal, reset: Reset | None, held: Held) -> tuple[str, str | None]:
    """Finish or undo one change, whose GPUs are locked; return a Recovered's outcome and reason."""
    reason: str | None = None
    if not journal.back:
        try:
            lead_forward(journal, reset, held)
        except (BusyError, HardwareError) as error:
            reason = str(error)
        else:
            journal.end()
            return "finished", None
    if reason is not None:
        journal.go_back(reason)
    try:
        lead_back(journal, reset, held)
    except (BusyError, HardwareError) as error:
        return "stuck", f"{reason}; {error}" if reason else str(error)
    journal.end()
    return "undone", reason


def unfinished(folder: Path) -> tuple[str, ...]:
    """Return the GPUs of which a change was begun and not ended, by UUID.

    Also those of which another process is about to begin one: it has asked already who holds
    what. Raises HardwareError, ConfigError.
    """
    busy = locked_by_others(folder)
    found = [Journal.read(path) for path in journals(folder)]
    return (*busy, *(turn.gpu for journal in found if journal for turn in journal.turns))
