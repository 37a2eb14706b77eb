"""The `plumbline` command: dispatches, and turns errors into messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys

from agent import VERSION
from agent.model.errors import PlumblineError


def main() -> None:
    """Run a command; the exit code of an error is the error's own."""
    try:
        sys.exit(_dispatch(sys.argv[1:]))
    except PlumblineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader (head, a pager) left; what Python would flush at exit has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _dispatch(arguments: list[str]) -> int:
    # The daemon shares its node with the workload: it starts without the command line's
    # libraries (typer and rich: 9 MiB and 100 ms).
    if arguments[:1] == ["run"]:
        # The first thing a container's process 1 hears may be its end; until it serves, there
        # is nothing to take back.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        from agent.daemon.run import run  # noqa: PLC0415

        return run(arguments[1:])
    if arguments == ["--version"]:
        sys.stdout.write(f"{VERSION}\n")
        return 0
    from agent.cli.commands import app  # noqa: PLC0415

    app(arguments)
    return 0


if __name__ == "__main__":
    main()
