"""The nvidia-smi of a simulated machine: lists and resets its GPUs, and nothing else."""

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
        prog="nvidia-smi", description="Of this simulated machine: lists GPUs and resets them."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-L", "--list-gpus", action="store_true")
    what.add_argument("-r", "--gpu-reset", action="store_true")
    parser.add_argument("-i", "--id", metavar="GPU", help="index or UUID of the one to reset")
    asked = parser.parse_args(rest)
    if asked.list_gpus:
        for each in machines.look(Path(folder)).gpus:
            sys.stdout.write(f"GPU {each.index}: {each.name} (UUID: {each.uuid})\n")
        return 0
    if asked.id is None:
        parser.error("--gpu-reset: name the GPU with --id")
    gpu = asked.id
    try:
        machines.reset(Path(folder), gpu)
    except PlumblineError as error:
        sys.stdout.write(f"The following GPUs could not be reset:\n  GPU {gpu}: {error}\n")
        return _FAILED
    sys.stdout.write(f"GPU {gpu} was successfully reset.\nAll done.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
