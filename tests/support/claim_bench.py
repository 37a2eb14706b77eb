"""Claims of one driver on a node, with an API server that knows what it is told."""

import asyncio
import json

from builders import inventory

from agent.config.own import Plumbline, ServingMode
from agent.config.schema import Config
from agent.ledger.ledger import Ledger
from agent.model.errors import ClusterError
from agent.planning.health import Health
from agent.planning.pool import GpuPool
from agent.planning.snapshot import build_snapshot
from agent.serving.claim_specs import ClaimSpecs
from agent.serving.claim_store import ClaimStore
from agent.serving.claims import Claims, Home
from agent.serving.gpu_offers import GpuOffers
from deviceplugin.dra.values import ClaimRef, Prepared, Refused, Released

GPU_DRIVER, POOL = "gpu.nvidia.com", "node-1"


def result(device, request="r", driver=GPU_DRIVER, **more):
    return {"driver": driver, "pool": POOL, "device": device, "request": request, **more}


def claim_object(*results, uid="u1", name="c", configs=(), **metadata):
    allocation = {"devices": {"results": list(results), "config": list(configs)}}
    return {
        "metadata": {"namespace": "default", "name": name, "uid": uid, **metadata},
        "status": {"allocation": allocation} if results else {},
    }


class ClaimBench:
    """What is the same for every driver; the rest is a subclass's."""

    driver = GPU_DRIVER

    def __init__(self, folder):
        self.folder = folder
        self.objects = {}
        self.fetched = []
        self.told = []
        """What claims had, whenever that was said to have changed."""
        self.release = None
        """While this asyncio.Event is not set, nothing gets done in threads."""
        self.boot = "boot-1"
        self.store = ClaimStore(folder / "claims")

    def offers(self):
        """Return what there is to give."""
        raise NotImplementedError

    def stages(self):
        """Return the stages of a claim before its files."""
        return ()

    def files(self, offers):
        """Return the stages that are files."""
        specs = ClaimSpecs(
            self.folder / "cdi",
            self.driver,
            nodes=offers.nodes,
            around=offers.around,
            in_thread=self.in_thread,
        )
        return (specs,)

    def start(self):
        """Begin, as another process on the same node."""
        offers = self.offers()
        self.claims = Claims(
            self.store,
            home=Home(driver=self.driver, pool=POOL, boot=self.boot),
            fetch=self._fetch,
            offers=offers,
            stages=self.stages(),
            files=self.files(offers),
            in_thread=self.in_thread,
            changed=lambda: self.told.append(self.claims.allocated.keys()),
        )

    async def in_thread(self, call, *args):
        await asyncio.sleep(0)
        if self.release is not None:
            await self.release.wait()
        return call(*args)

    def _fetch(self, ref):
        self.fetched.append(ref.uid)
        if ref.uid not in self.objects:
            raise ClusterError("GET: not found (404)")
        return self.objects[ref.uid]

    def ref(self, uid, *results, **more):
        """Allocate devices to a claim; return what the kubelet calls it."""
        self.objects[uid] = claim_object(*results, uid=uid, name=f"c-{uid}", **more)
        return self.named(uid)

    def named(self, uid):
        return ClaimRef(namespace="default", name=f"c-{uid}", uid=uid)

    async def answers(self, *refs):
        """Prepare claims with one call; return the answers by UID."""
        return await self.claims.prepare(refs)

    async def prepare(self, ref):
        return (await self.answers(ref))[ref.uid]

    async def prepared(self, ref):
        answer = await self.prepare(ref)
        assert isinstance(answer, Prepared), answer
        return answer

    async def refused(self, ref):
        answer = await self.prepare(ref)
        assert isinstance(answer, Refused), answer
        # Nothing stays of what is refused.
        assert not (self.folder / f"claims/{ref.uid}.json").exists()
        return answer.reason

    async def unprepare(self, uid):
        assert await self.claims.unprepare([self.named(uid)]) == {uid: Released()}

    @property
    def specs(self):
        folder = self.folder / "cdi"
        paths = folder.iterdir() if folder.is_dir() else ()
        return {each.name: json.loads(each.read_text()) for each in paths}

    def edits(self, uid):
        """Return what the containers of a claim get for each device."""
        devices = self.specs[f"k8s.{self.driver}-claim_{uid}.json"]["devices"]
        return {each["name"]: each["containerEdits"] for each in devices}


class GpuClaimBench(ClaimBench):
    """Claims for GPUs."""

    def __init__(self, folder, seen, ledger=None):
        super().__init__(folder)
        self.seen = seen
        self.ledger = ledger or Ledger()
        self.start()

    def offers(self):
        return GpuOffers(lambda: GpuPool(snapshot=self.seen, ledger=self.ledger))


def idle_node(*gpus):
    """Return what an agent has seen that serves claims on a node with these GPUs."""
    config = Config(plumbline=Plumbline(mode=ServingMode.DRA))
    return build_snapshot(config, inventory(*gpus), Health(), previous=None)
