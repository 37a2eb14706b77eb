"""`make bench`: every figure as JSON; `ARGS=--quick` for fewer rounds, or names of figures."""

import argparse
import asyncio
import json
import os
import platform
import sys

from bench import calls, day, dra, following, idle, mig, placement, sharing, starting, xid

FIGURES = {
    "start": lambda quick: starting.measure(rounds=3 if quick else 9),
    "calls": lambda quick: calls.measure(rounds=200 if quick else 2000),
    "placement": lambda quick: placement.measure(rounds=200 if quick else 2000),
    "day": lambda quick: day.measure(count=200 if quick else 5000),
    "mig": lambda quick: mig.measure(rounds=20 if quick else 200),
    "sharing": lambda quick: sharing.measure(
        rounds=200 if quick else 2000, starts=3 if quick else 7
    ),
    "dra": lambda quick: dra.measure(
        rounds=100 if quick else 1000, starts=2 if quick else 5, idle_seconds=5 if quick else 60
    ),
    "xid": lambda _quick: xid.measure(),
    "following": lambda quick: following.measure(rounds=2 if quick else 5),
    "rest": lambda quick: idle.measure(
        idle_seconds=5 if quick else 30,
        allocations=100 if quick else 1000,
        restarts=5 if quick else 50,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="all when left out")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a shorter rest")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.figures or FIGURES:
        sys.stderr.write(f"measuring {name} ...\n")
        results[name] = asyncio.run(FIGURES[name](arguments.quick))
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    json.dump({"machine": machine, "figures": results}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
