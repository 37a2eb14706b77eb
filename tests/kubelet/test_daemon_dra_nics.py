"""The daemon serves GPUs and NICs to claims, each as a driver of its own."""

import json
from pathlib import Path

from dra_node import GPUS, NICS, dra_node

# mlx5_0, on the PCIe root of GPU 0.
NIC = "nic-0000-18-00-0"
STATE = "sys/class/infiniband/mlx5_0/ports/1/state"


async def test_each_driver_gives_its_own_devices_of_one_claim():
    async with dra_node() as it:
        await it.start("--dra-nics")
        for driver in (GPUS, NICS):
            await it.register(driver)
        gpu = it.node.uuid(0).lower()
        root = it.server.devices(GPUS)[gpu]["attributes"]["resource.kubernetes.io/pcieRoot"]
        assert it.server.devices(NICS)[NIC]["attributes"]["resource.kubernetes.io/pcieRoot"] == root

        claim = it.claim("u1", gpu__nvidia__com=gpu, nic__plumbline__dev=NIC)
        assert await it.prepare(GPUS, claim) == [f"k8s.{GPUS}/claim=u1-{gpu}"]
        assert await it.prepare(NICS, claim) == [f"k8s.{NICS}/claim=u1-{NIC}"]
        assert it.specs() == {f"k8s.{GPUS}-claim_u1.json", f"k8s.{NICS}-claim_u1.json"}
        shown = json.loads(await it.printed("claims", "-o", "json"))
        devices = [(each["driver"], [d["device"] for d in each["devices"]]) for each in shown]
        assert devices == [(GPUS, [gpu]), (NICS, [NIC])]
        table = await it.printed("claims")
        assert all(driver in table for driver in (GPUS, NICS))

        # What is left of the claim is the other driver's.
        assert await it.unprepare(GPUS, claim) == ""
        assert it.specs() == {f"k8s.{NICS}-claim_u1.json"}
        assert await it.unprepare(NICS, claim) == ""
        assert it.specs() == set()


async def test_each_driver_tells_the_containers_of_a_claim_about_its_devices():
    async with dra_node() as it:
        await it.start("--dra-nics", "--dra-metadata")
        gpu, found = it.node.uuid(0).lower(), {}
        claim = it.claim("u1", gpu__nvidia__com=gpu, nic__plumbline__dev=NIC)
        for driver in (GPUS, NICS):
            await it.register(driver)
            await it.prepare(driver, claim)
            spec = it.node.machine / f"var/run/cdi/k8s.{driver}-claim_u1.json"
            (device,) = json.loads(spec.read_text())["devices"]
            (mount,) = device["containerEdits"]["mounts"]
            assert mount["containerPath"].endswith(f"/c-u1/r/{driver}-metadata.json")
            found[driver] = Path(mount["hostPath"])

        # The scheduler and the containers are told the same.
        for driver, name in ((GPUS, gpu), (NICS, NIC)):
            told, _ = json.JSONDecoder().raw_decode(found[driver].read_text())
            (request,) = told["requests"]
            (device,) = request["devices"]
            assert device["name"] == name
            assert device["attributes"] == it.server.devices(driver)[name]["attributes"]

            assert await it.unprepare(driver, claim) == ""
            assert not found[driver].exists()


async def test_a_claim_for_a_nic_outlives_the_agent():
    async with dra_node() as it:
        first = await it.start("--dra-nics")
        await it.register(NICS)
        claim = it.claim("u1", nic__plumbline__dev=NIC)
        before = await it.prepare(NICS, claim)
        it.server.claims.clear()

        first.kill()
        await first.wait()
        (it.node.folder / "plugins_registry" / it.registered()[NICS].name).unlink()
        await it.start("--dra-nics")
        await it.register(NICS)

        assert await it.prepare(NICS, claim) == before


async def test_a_port_that_goes_down_taints_its_nic_until_it_is_up():
    async with dra_node() as it:
        await it.start("--dra-nics")
        await it.register(NICS)
        state = it.node.machine / STATE
        up = state.read_text()

        def taints():
            return [each["key"] for each in it.server.devices(NICS)[NIC].get("taints", ())]

        assert taints() == []
        state.write_text("1: DOWN\n")
        await it.until(lambda: taints() == [f"{NICS}/port-down"])
        state.write_text(up)
        await it.until(lambda: taints() == [])


async def test_nics_are_served_where_the_configuration_says_so():
    async with dra_node() as it:
        await it.start()
        await it.register(GPUS)

        assert set(it.registered()) == {GPUS}
        assert it.server.devices(NICS) == {}


async def test_a_change_of_what_is_served_waits_for_the_next_start():
    async with dra_node() as it:
        config = it.node.folder / "config.yaml"
        config.write_text("version: v1\n")
        await it.start(f"--config-file={config}")
        await it.register(GPUS)

        config.write_text("version: v1\nplumbline: {dra: {nics: true}}\n")
        await it.node.logged("dra_nics_changed")

        claim = it.claim("u1", gpu__nvidia__com=it.node.uuid(0).lower())
        assert await it.prepare(GPUS, claim)
        assert set(it.registered()) == {GPUS}
