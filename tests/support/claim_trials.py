"""Kills an agent at every step of preparing a claim, or of giving it back, and looks what is left.

``python claim_trials.py MACHINE FOLDER prepare|unprepare [beside]``: a process for each step, which
ends there without another word; then another one takes over. One line of JSON for each step.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from dying import die_at

from agent.config.own import ClaimedMig, Dra, Plumbline, ServingMode
from agent.config.schema import Config
from agent.daemon.on_demand import InstanceMaker, read_on_demand
from agent.discovery.inventory import observe
from agent.discovery.library import Session
from agent.discovery.mig_gpus import read_mig_gpus
from agent.ledger.ledger import Ledger
from agent.model.errors import PlumblineError
from agent.model.machine import Machine
from agent.model.mig import InstancePlace, MigPlacement
from agent.partition.change import journal_folder
from agent.partition.one_instance import make_instance
from agent.planning.dra_devices import NewInstance
from agent.planning.health import Health
from agent.planning.pool import Claimed, GpuPool
from agent.planning.snapshot import build_snapshot
from agent.serving.claim_instances import ClaimInstances
from agent.serving.claim_metadata import ClaimMetadata
from agent.serving.claim_specs import ClaimSpecs
from agent.serving.claim_store import ClaimStore
from agent.serving.claims import Claims, Home
from agent.serving.gpu_offers import GpuOffers
from deviceplugin.dra.values import ClaimRef, Prepared

DRIVER, POOL = "gpu.nvidia.com", "node-1"
REF = ClaimRef(namespace="default", name="c", uid="u1")
PROFILES = {"1g.10gb": 0, "3g.40gb": 4}
CONFIG = Config(plumbline=Plumbline(mode=ServingMode.DRA, dra=Dra(mig=ClaimedMig.DYNAMIC)))


class Agent:
    """The part of the agent that prepares claims, on one machine."""

    def __init__(self, machine, folder):
        self.machine = machine
        self.session = Session(machine)
        self.claims = None
        self.on_demand = read_on_demand(machine)
        self.look()
        offers = GpuOffers(self.pool)
        store = ClaimStore(folder / "claims")
        self.claims = Claims(
            store,
            home=Home(driver=DRIVER, pool=POOL, boot="b"),
            fetch=lambda _: self.document(),
            offers=offers,
            stages=self.stages(store),
            files=[
                ClaimMetadata(
                    folder / "metadata",
                    DRIVER,
                    wanted=lambda: True,
                    attributes=lambda device: {"name": device},
                    in_thread=self.in_thread,
                ),
                ClaimSpecs(
                    folder / "cdi",
                    DRIVER,
                    nodes=offers.nodes,
                    around=offers.around,
                    in_thread=self.in_thread,
                ),
            ],
            in_thread=self.in_thread,
            changed=lambda: None,
        )

    def stages(self, store):
        return [
            ClaimInstances(
                journal_folder(self.machine),
                store,
                InstanceMaker(self.machine),
                in_mig_mode=lambda uuid: self.seen.gpu(uuid).mig.current,
                seen=self.has_seen,
                changed=self.look,
                in_thread=self.in_thread,
            )
        ]

    def look(self):
        config = CONFIG
        self.seen = build_snapshot(
            config, observe(self.session, overrides={}), Health(), previous=None
        )

    def pool(self):
        claimed = Claimed() if self.claims is None else Claimed(devices=self.claims.allocated)
        return GpuPool(
            snapshot=self.seen, ledger=Ledger(), claimed=claimed, on_demand=self.on_demand
        )

    def document(self):
        """A claim for two instances of one GPU, which come to lie beside each other."""
        gpu = min(self.on_demand)
        names = [
            next(
                each.name
                for each in self.pool().offering.devices
                if each.attributes.get("profile") == profile
                and each.attributes["parentUUID"] == gpu
                and isinstance(each.subject, NewInstance)
                and each.subject.placement.start == start
            )
            for profile, start in PROFILES.items()
        ]
        results = [
            {"driver": DRIVER, "pool": POOL, "device": name, "request": f"r{i}"}
            for i, name in enumerate(names)
        ]
        return {
            "metadata": {"namespace": "default", "name": "c", "uid": "u1"},
            "status": {"allocation": {"devices": {"results": results}}},
        }

    async def has_seen(self, instances):
        self.look()
        assert instances <= self.seen.instances.keys()

    async def in_thread(self, call, *args):
        return call(*args)


def left_over(machine, folder):
    with Session(machine):
        readings = read_mig_gpus()
    return {
        "instances": sum(len(each.instances) for each in readings),
        "modes": sum(each.enabled for each in readings),
        "journals": len([*journal_folder(machine).glob("*.journal")]),
        "files": sorted(
            each.name
            for name in ("claims", "claims-copies", "cdi", "metadata")
            for each in (folder / name).glob("*")
        ),
    }


def prepares_again(_number):
    """After which steps the agent that takes over has the claim to prepare; it costs time."""
    return True


def in_child(act):
    """Run in a process of its own; return how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - a child says it and ends
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def prepared(agent):
    (answer,) = (await agent.claims.prepare([REF])).values()
    if not isinstance(answer, Prepared):
        raise PlumblineError(answer.reason)
    return [(each.device, each.cdi_devices) for each in answer.devices]


def trial(machine, folder, number, what):
    """Die at a step, then take over."""
    if what == "unprepare":
        assert in_child(lambda: asyncio.run(prepared(Agent(machine, folder)))) == 0

    async def begin():
        agent = Agent(machine, folder)
        await agent.claims.load()
        die_at(number)
        if what == "prepare":
            await prepared(agent)
        else:
            await agent.claims.unprepare([REF])

    async def take_over(result):
        agent = Agent(machine, folder)
        await agent.claims.load()
        agent.look()
        if what == "prepare":
            if not agent.claims.known:
                result["after_load"] = left_over(machine, folder)
                if not prepares_again(number):
                    return
            result["answer"] = await prepared(agent)
            result["again"] = await prepared(agent)
            result["prepared"] = left_over(machine, folder)
        await agent.claims.unprepare([REF])

    ended = in_child(lambda: asyncio.run(begin()))
    report = folder / f"report-{number}"

    def second():
        result = {}
        asyncio.run(take_over(result))
        report.write_text(json.dumps(result))

    took_over = in_child(second)
    result = {"step": number, "died": ended, "took_over": took_over}
    if took_over == 0:
        result |= json.loads(report.read_text())
    return result | {"left": left_over_in_child(machine, folder)}


def left_over_in_child(machine, folder):
    report = folder / "left"
    assert in_child(lambda: report.write_text(json.dumps(left_over(machine, folder)))) == 0
    return json.loads(report.read_text())


def make_another(machine):
    """Put an instance beside, as somebody else would: the GPU stays in MIG mode for it."""
    with Session(machine):
        reading = min(read_mig_gpus(), key=lambda each: each.uuid)
        profile = next(each for each in reading.profiles if each.name == "1g.10gb")
        place = InstancePlace(
            gpu=reading.uuid, profile=profile.id, placement=MigPlacement(start=2, size=1)
        )
        make_instance(journal_folder(machine), place, lambda _: None)


def main():
    machine, folder, what = Machine.simulated(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
    if sys.argv[4:] == ["beside"]:
        assert in_child(lambda: make_another(machine)) == 0
    number, died = 1, 9
    while died == 9:
        result = trial(machine, folder, number, what)
        died = result["died"]
        print(json.dumps(result), flush=True)
        number += 1


if __name__ == "__main__":
    main()
