"""Log lines: one event a line, to standard error, as logfmt or JSON.

`log.event("registered", resource="nvidia.com/gpu")` becomes
`time=... level=info event=registered resource=nvidia.com/gpu`.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import re
import sys
import time

_LOGGER = logging.getLogger("plumbline")
# What logfmt can carry without quotes.
_BARE = re.compile(r"[^\s\"=]+")


def configure(*, level: str = "info", form: str = "text") -> None:
    """Send log lines to standard error; ``form`` is ``text`` (logfmt) or ``json``."""
    # No line names its thread, process, task or source file: finding them out costs more than
    # the rest of the line (the switches are those of the logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Logfmt())
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(level.upper())
    _LOGGER.propagate = False


def event(name: str, /, *, level: int = logging.INFO, **facts: object) -> None:
    """Log one event with its facts, in the order given."""
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, name, extra={"facts": facts})


def soon(name: str, /, **facts: object) -> None:
    """Log one event in the loop's next turn: for RPCs, whose answer goes out before that."""
    asyncio.get_running_loop().call_soon(
        functools.partial(event, name, level=logging.INFO, **facts)
    )


def debug(name: str, /, **facts: object) -> None:
    """Log what only someone who looks for a fault wants to read."""
    event(name, level=logging.DEBUG, **facts)


def warning(name: str, /, **facts: object) -> None:
    """Log what works for now but asks for attention."""
    event(name, level=logging.WARNING, **facts)


def error(name: str, /, **facts: object) -> None:
    """Log what failed."""
    event(name, level=logging.ERROR, **facts)


def _facts(record: logging.LogRecord) -> dict[str, object]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    head: dict[str, object] = {
        "time": f"{moment}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "event": record.getMessage(),
    }
    return {**head, **getattr(record, "facts", {})}


class _Logfmt(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{key}={_quoted(value)}" for key, value in _facts(record).items())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_facts(record), default=str)


def _quoted(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)
