"""The nvidia-smi of a simulated machine: resets its GPUs, and nothing else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.model.errors import PlumblineError
from agent.simulation import machines

_FAILED = 255  # as the real one ends when a GPU cannot be reset


def main(arguments: list[str]) -> int:
    """Run it; the first argument is the machine's folder. Returns the exit code."""
    folder, *rest = arguments
    parser = argparse.ArgumentParser(
        prog="nvidia-smi", description="Of this simulated machine: only resets GPUs."
    )
    parser.add_argument("-r", "--gpu-reset", action="store_true", required=True)
    parser.add_argument("-i", "--id", required=True, metavar="GPU", help="index or UUID")
    gpu = parser.parse_args(rest).id
    try:
        machines.reset(Path(folder), gpu)
    except PlumblineError as error:
        sys.stdout.write(f"The following GPUs could not be reset:\n  GPU {gpu}: {error}\n")
        return _FAILED
    sys.stdout.write(f"GPU {gpu} was successfully reset.\nAll done.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
