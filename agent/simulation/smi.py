"""The nvidia-smi of a simulated machine: lists and resets its GPUs, sets their time slices.

NVML knows no time slices: what is set lies in the machine's folder, a file for each GPU.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.model.errors import PlumblineError
from agent.simulation import machines

_FAILED = 255  # as the real one ends when a GPU cannot be reset
_INVALID, _NO_DEVICE = 2, 6  # its exit codes for an argument and for a GPU that is not there
_WORDS = ("DEFAULT", "SHORT", "MEDIUM", "LONG")


def main(arguments: list[str]) -> int:
    """Run it; the first argument is the machine's folder. Returns the exit code."""
    folder, *rest = arguments
    if rest[:1] == ["compute-policy"]:
        return _compute_policy(Path(folder), rest[1:])
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


def time_slices(folder: Path) -> Path:
    """Return where a machine keeps what was set: files named by UUID, each with a number."""
    return folder / "time-slices"


def _compute_policy(folder: Path, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="nvidia-smi compute-policy", description="Of this simulated machine."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-l", "--list", action="store_true")
    what.add_argument("--set-timeslice", type=int, metavar="0|1|2|3")
    parser.add_argument("-i", "--id", metavar="GPU", help="indices or UUIDs, with commas between")
    asked = parser.parse_args(arguments)
    gpus = machines.look(folder).gpus
    named = asked.id.split(",") if asked.id else [each.uuid for each in gpus]
    chosen = [each for each in gpus if {each.uuid, str(each.index)}.intersection(named)]
    if len(chosen) < len(named):
        sys.stdout.write(f"No devices were found: {asked.id}\n")
        return _NO_DEVICE
    if not asked.list and asked.set_timeslice not in range(len(_WORDS)):
        sys.stdout.write(f"Invalid value for timeslice: {asked.set_timeslice}\n")
        return _INVALID
    store = time_slices(folder)
    for gpu in chosen:
        path = store / gpu.uuid
        if asked.list:
            number = int(path.read_text()) if path.exists() else 0
            sys.stdout.write(f"GPU {gpu.index}: Timeslice: {_WORDS[number]}\n")
        else:
            store.mkdir(exist_ok=True)
            fresh = path.with_suffix(".tmp")
            fresh.write_text(f"{asked.set_timeslice}\n")
            fresh.replace(path)
            sys.stdout.write(f"Successfully set timeslice to {_WORDS[asked.set_timeslice]}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
