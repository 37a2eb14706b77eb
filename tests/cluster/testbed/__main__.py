"""`python -m testbed`: prepare the components, or keep a node up to try things by hand."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from testbed import components, images, prerequisites
from testbed.cluster import Cluster, booted

SKIPPED = 77  # what automake's and meson's tests exit with when they cannot run here


def main() -> int:
    """Run a command; returns the exit code."""
    arguments = _parser().parse_args()
    if missing := prerequisites.missing():
        sys.stderr.write("cluster tests skipped, because this machine lacks\n")
        sys.stderr.writelines(f"  - {each}\n" for each in missing)
        return SKIPPED
    try:
        built = components.build(arguments.kubernetes, tell=_tell)
        images.archive()
    except components.ComponentsMissing as error:
        sys.stderr.write(f"cluster tests skipped, because a component cannot be had: {error}\n")
        return SKIPPED
    if arguments.command == "up":
        gates = dict(_gate(text) for text in arguments.feature_gate)
        with booted(built, profile=arguments.profile, feature_gates=gates, tell=_tell) as cluster:
            _keep(cluster, arguments.agent_flags)
    return 0


def _keep(cluster: Cluster, flags: list[str]) -> None:
    cluster.agent.start(*flags)
    # An Event would be set by the very thread that waits for it, and may hold its lock.
    told, tell = os.pipe()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: os.write(tell, b"."))
    print(
        f"""
The agent runs; this is its node until Ctrl-C:

  export KUBECONFIG={cluster.plane.admin}
  {cluster.components["kubectl"]} get node -o yaml
  .venv/bin/plumbline machine xid {cluster.machine.folder} 3 79
  tail -f {cluster.logs}/agent.log
  nsenter --target={cluster.world.pid} --mount --pid    # the node from inside
""",
        flush=True,
    )
    os.read(told, 1)
    _tell("ending")


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _gate(text: str) -> tuple[str, bool]:
    name, _, value = text.partition("=")
    return name, value.lower() != "false"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed", description=__doc__)
    parser.add_argument(
        "--kubernetes",
        default=components.DEFAULT_KUBERNETES,
        metavar="1.N",
        help="the Kubernetes to use (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("prepare", help="build what is not built yet")
    up = commands.add_parser("up", help="boot a node with the agent on it and keep it")
    up.add_argument("--profile", default="dgx-h100", help="machine profile (default: %(default)s)")
    up.add_argument(
        "--feature-gate", action="append", default=[], metavar="NAME=BOOL", help="may be repeated"
    )
    up.add_argument("agent_flags", nargs="*", metavar="-- AGENT FLAGS", help="flags of the agent")
    return parser


if __name__ == "__main__":
    sys.exit(main())
