"""What Replicas cost within the agent: lists built, and calls answered from a snapshot.

Run as a process of its own (`python -m bench.sharing_snapshots MACHINE ROUNDS`).
"""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from agent.config.schema import Config
from agent.config.sharing import Sharing, TimeSlicedResource, TimeSlicing
from agent.discovery.inventory import observe
from agent.discovery.library import Session, simulated_machine
from agent.ledger.ledger import Allocation, Ledger
from agent.planning.health import Health
from agent.planning.snapshot import build_snapshot
from agent.planning.strategy import GPU_RESOURCE
from agent.serving.afterwards import Afterwards
from agent.serving.backend import SnapshotBackend, offered_devices
from agent.serving.decisions import Decisions
from agent.serving.nic_grants import NicGrants
from agent.telemetry import logs
from bench.sharing import AIM, REPLICAS
from deviceplugin import wire
from deviceplugin.values import PreferenceRequest

TURNS = Sharing(
    time_slicing=TimeSlicing(resources=(TimeSlicedResource(name="gpu", replicas=REPLICAS),))
)


async def _measured(machine: str, rounds: int) -> dict[str, object]:
    with Session(simulated_machine(Path(machine))) as session:
        inventory = observe(session, overrides={})
    nodes = {
        state: [_Node(inventory, sharing, half_held=half) for sharing in (TURNS, Sharing())]
        for state, half in (("all_free", False), ("half_held", True))
    }
    return {
        "list": _lists(nodes, max(20, rounds // 20)),
        "in_process": {state: _calls(pair, rounds) for state, pair in nodes.items()},
    }


class _Node:
    """One snapshot, and the backend that answers from it, as the daemon has them."""

    def __init__(self, inventory, sharing, *, half_held):
        snapshot = build_snapshot(Config(sharing=sharing), inventory, Health(), previous=None)
        ids = [device.id for device in snapshot.catalog.resources[GPU_RESOURCE]]
        held, self._free = (ids[::2], ids[1::2]) if half_held else ((), ids)
        self._ledger = Ledger(
            confirmed=tuple(
                Allocation(resource=GPU_RESOURCE, device=each, holder=f"default/{number}")
                for number, each in enumerate(held)
            )
        )
        self._snapshot = snapshot.with_state(Health(), self._ledger)
        self._afterwards, self._number = Afterwards(), 0
        self._backend = SnapshotBackend(
            lambda: self._snapshot,
            ledger=lambda: self._ledger,
            granted=self._granted,
            outdated=lambda: None,
            decisions=Decisions(float),
            nic_grants=NicGrants(time.monotonic),
            afterwards=self._afterwards,
        )

    def allocate(self):
        self._number += 1
        self._backend.allocate(GPU_RESOURCE, (self._free[self._number % len(self._free)],))

    def prefer(self):
        request = PreferenceRequest(available=tuple(self._free), must_include=(), size=1)
        self._backend.prefer(GPU_RESOURCE, request)

    def catch_up(self):
        self._afterwards.catch_up()

    def message(self):
        return _message(self._snapshot.catalog)

    def message_after_xid(self):
        struck = Health().marked(self._snapshot.inventory.gpus[3].uuid, "Xid 79")
        return _message(self._snapshot.with_state(struck, self._ledger).catalog)

    def _granted(self, resource, devices):
        # Forgotten again: a kubelet confirms what it was given before much comes together.
        self._ledger.with_grant(resource, devices, at_s=0.0)


def _message(catalog):
    return wire.device_list(offered_devices(catalog)[GPU_RESOURCE]).SerializeToString()


def _lists(nodes, rounds):
    return {
        "bytes": len(nodes["all_free"][0].message()),
        "message_ms": _beside(nodes["all_free"], _Node.message, rounds, per_s=1e3),
        "after_xid_ms": {
            state: _beside(pair, _Node.message_after_xid, rounds, per_s=1e3)
            for state, pair in nodes.items()
        },
        "aim": "message_ms under 5",
        "rounds": rounds,
    }


def _calls(pair, rounds):
    """Time calls, and apart from them what each leaves to be done once it is answered."""
    return {
        "prefer_1_us": _answer(pair, _Node.prefer, rounds),
        "prefer_1_afterwards_us": _rest(pair, _Node.prefer, rounds),
        "allocate_1_us": _answer(pair, _Node.allocate, rounds) | {"aim": AIM},
        "allocate_1_afterwards_us": _rest(pair, _Node.allocate, rounds),
        "rounds": rounds,
    }


def _answer(pair, call, rounds):
    return _beside(pair, call, rounds, per_s=1e6, after=_Node.catch_up)


def _rest(pair, call, rounds):
    return _beside(pair, _Node.catch_up, rounds, per_s=1e6, before=call)


def _beside(pair, call, rounds, *, per_s, before=None, after=None):
    """Time a call on both nodes alternately, so that noise of the machine falls on both."""
    taken = [], []
    for _ in range(rounds):
        for times, node in zip(taken, pair, strict=True):
            if before:
                before(node)
            began = time.perf_counter()
            call(node)
            times.append(time.perf_counter() - began)
            if after:
                after(node)
    shared, whole = map(statistics.median, taken)
    return {"shared": per_s * shared, "whole": per_s * whole, "ratio": shared / whole}


if __name__ == "__main__":
    logs.configure()  # as on a node: every placement and allocation is logged
    json.dump(asyncio.run(_measured(sys.argv[1], int(sys.argv[2]))), sys.stdout)
