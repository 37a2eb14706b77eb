"""The daemon keeps its ResourceSlices as they are to be, whatever an API server does with them."""

import asyncio
import json

import pytest
import yaml
from api_server import NODE
from dra_node import GPUS, dra_node

from agent.simulation import machines

SOON_S = 2.0
CELLS = {"mode": "dra", "dra": {"cells": ["pair", "quad"]}}


def writes(server):
    return [(method, path) for method, path, _ in server.requests if method not in {"GET", "PATCH"}]


def types(server):
    return {
        value["string"]
        for each in server.devices(GPUS).values()
        for name, value in each["attributes"].items()
        if name == "type"
    }


async def configured(it, plumbline):
    path = it.node.folder / "config.yaml"
    path.write_text(yaml.safe_dump({"version": "v1", "plumbline": plumbline}))
    await it.start(f"--config-file={path}")
    await it.register(GPUS)


async def test_slices_that_somebody_takes_away_or_changes_are_back_at_once():
    async with dra_node() as it:
        await it.start()
        await it.register(GPUS)
        before = it.server.devices(GPUS)

        for _ in range(3):
            it.server.wipe_slices()
            assert it.server.devices(GPUS) == {}
            async with asyncio.timeout(SOON_S):
                await it.until(lambda: it.server.devices(GPUS) == before)
        (name,) = it.server.slices
        changed = json.loads(json.dumps(it.server.slices[name]))
        changed["spec"]["devices"] = changed["spec"]["devices"][:3]
        it.server.store_slice(changed)
        async with asyncio.timeout(SOON_S):
            await it.until(lambda: it.server.devices(GPUS) == before)


async def test_nothing_is_asked_or_written_while_nothing_changes():
    async with dra_node() as it:
        await it.start()
        await it.register(GPUS)
        await it.until(lambda: it.server.slice_watches and it.server.watches)
        gpu = it.node.uuid(0).lower()
        # Seen by the watch of the node, and of no consequence.
        for _ in range(5):
            it.server.heartbeat()
        asked = len(it.server.requests)

        await it.prepare(GPUS, it.claim("u1", gpu__nvidia__com=gpu))

        # What comes first is free as before: the order of the others has not changed.
        news = [(method, path) for method, path, _ in it.server.requests[asked:]]
        assert news == [("GET", "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/c-u1")]


def taints(server):
    return {
        name: {each["key"]: each.get("value") for each in device["taints"]}
        for name, device in server.devices(GPUS).items()
        if device.get("taints")
    }


def addresses(server):
    return {
        name: device["attributes"]["resource.kubernetes.io/pciBusID"]["string"]
        for name, device in server.devices(GPUS).items()
    }


async def test_what_became_of_gpus_is_known_to_the_next_agent():
    async with dra_node() as it:
        first = await it.start()
        await it.register(GPUS)
        lost, struck = (it.node.uuid(i).lower() for i in (0, 1))
        before = addresses(it.server)
        claim = it.claim("u1", gpu__nvidia__com=lost)
        await it.prepare(GPUS, claim)
        machines.inject_xid(it.node.machine, "1", 79)
        await it.until(lambda: taints(it.server) == {struck: {"gpu.nvidia.com/xid": "79"}})
        await it.node.stop(first)
        machines.lose(it.node.machine, "0", silently=True)
        it.server.wipe_slices()

        await it.start()
        await it.register(GPUS)

        ill = {struck: {"gpu.nvidia.com/xid": "79"}, lost: {"gpu.nvidia.com/gpu-lost": "true"}}
        await it.until(lambda: taints(it.server) == ill)
        assert len(it.server.devices(GPUS)) == 8
        assert addresses(it.server)[lost] == before[lost]
        assert await it.unprepare(GPUS, claim) == ""
        await it.until(lambda: lost not in it.server.devices(GPUS))


async def test_a_watch_that_breaks_or_is_too_old_is_begun_anew():
    async with dra_node() as it:
        await it.start()
        await it.register(GPUS)
        for end in (it.server.cut_watches, it.server.expire_watches, it.server.end_watches):
            await it.until(lambda: it.server.slice_watches)
            end()
            it.server.wipe_slices()
            await it.until(lambda: it.server.devices(GPUS))


async def test_a_server_that_has_enough_is_left_alone_as_long_as_it_says():
    async with dra_node() as it:
        await it.start()
        await it.register(GPUS)
        refused = []

        def refuse(method, path):
            if method == "POST" and not refused:
                refused.append(path)
                return 429, "too many requests", [("Retry-After", "1")]
            return None

        it.server.refuse = refuse
        it.server.wipe_slices()
        await it.until(lambda: it.server.devices(GPUS))

        assert len(refused) == 1
        log = it.node.log.read_text()
        assert "too many requests" in log


def without_counters(document):
    document["spec"].pop("sharedCounters", None)
    for device in document["spec"].get("devices", ()):
        device.pop("consumesCounters", None)
    return document


async def test_where_counters_are_dropped_only_what_is_safe_without_is_offered():
    async with dra_node() as it:
        it.server.drop = without_counters
        await configured(it, CELLS)

        await it.until(lambda: types(it.server) == {"gpu"})
        assert len(it.server.devices(GPUS)) == 8
        # Not for a moment was there a pool in which cells lie beside their GPUs.
        sent = [
            device
            for _, _, body in it.server.requests
            for device in ((body or {}).get("spec") or {}).get("devices", ())
        ]
        assert {each["attributes"]["type"]["string"] for each in sent} == {"gpu"}
        await it.node.logged("slices_cut")
        assert "DRAPartitionableDevices" in it.node.log.read_text()
        # It is known now, and nothing is tried again.
        written = len(writes(it.server))
        it.server.wipe_slices()
        await it.until(lambda: len(it.server.devices(GPUS)) == 8)
        assert len(writes(it.server)) == written + 1
        assert it.node.log.read_text().count("slices_cut") == 1


@pytest.mark.parametrize(("minor", "sets"), [("36", 1), ("35+", 1), ("34", 0)])
async def test_counters_stand_where_the_version_of_the_server_wants_them(minor, sets):
    async with dra_node() as it:
        it.server.minor = minor
        await configured(it, CELLS)

        # Cells draw on the counters of several GPUs, which 1.34 has no place for.
        wanted = {"gpu", "pair", "quad"} if sets else {"gpu"}
        await it.until(lambda: types(it.server) == wanted)
        found = [one for one in it.server.slices.values() if "sharedCounters" in one["spec"]]
        assert len(found) == sets
        assert all("devices" not in one["spec"] for one in found)


async def test_what_a_webhook_makes_of_slices_is_said_and_left_alone():
    async with dra_node() as it:
        it.server.drop = annotated
        await it.start()
        await it.register(GPUS)
        await it.node.logged("slices_kept_otherwise")
        await it.until(lambda: it.server.slice_watches)
        written = len(writes(it.server))

        # The watch tells of other slices, and of ours as they are.
        it.server.store_slice(foreign())
        it.server.end_watches()
        await it.until(lambda: it.server.slice_watches)
        it.server.wipe_slices(*(name for name in it.server.slices if name != "other"))
        await it.until(lambda: it.server.devices(GPUS))
        assert len(writes(it.server)) == written + 1


def annotated(document):
    for device in document["spec"].get("devices", ()):
        device["attributes"]["by"] = {"string": "a webhook"}
    return document


def foreign():
    """A slice of another driver on the node."""
    spec = {"driver": "dra.net", "nodeName": NODE, "pool": {"name": NODE, "generation": 1}}
    return {"metadata": {"name": "other"}, "spec": spec}


async def test_a_better_order_waits_until_claims_have_stopped_coming():
    async with dra_node() as it:
        await configured(it, {"mode": "dra"})
        (slice_,) = it.server.slices.values()
        listed = [each["name"] for each in slice_["spec"]["devices"]]
        # Half of one pair is taken: the other half is to be used up before another pair is broken.
        claim = it.claim("u1", gpu__nvidia__com=listed[3])
        await it.prepare(GPUS, claim)

        def order():
            (one,) = it.server.slices.values()
            return [each["name"] for each in one["spec"]["devices"]]

        await it.until(lambda: order() != listed)
        assert sorted(order()) == sorted(listed)
        assert order()[-1] == listed[3]


async def test_a_claim_that_nobody_will_give_back_is_given_back():
    async with dra_node() as it:
        await it.start("--dra-orphan-seconds=1")
        await it.register(GPUS)
        lost = it.claim("lost", gpu__nvidia__com=it.node.uuid(0).lower())
        kept = it.claim("kept", gpu__nvidia__com=it.node.uuid(1).lower())
        for each in (lost, kept):
            await it.prepare(GPUS, each)
        (path,) = (each for each in it.server.claims if each.endswith("c-lost"))
        del it.server.claims[path]

        await it.node.logged("claim_released")
        assert it.specs() == {f"k8s.{GPUS}-claim_kept.json"}
