"""MIG instances that come, go, fail and are divided anew while the daemon runs."""

import asyncio
import json
import signal

from daemon_process import GPU, simulated_node
from mig_machine import destroy, divide, instances

from agent.simulation import machines
from deviceplugin.standin.pods import Container, Pod

SMALL, HALF = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
# Longer than the five seconds that are promised: the machine may be busy.
SOON_S = 20


def healthy(devices):
    return {id_ for id_, device in devices.items() if device.healthy}


def all_healthy(count):
    return lambda now: len(now) == len(healthy(now)) == count


async def admit(node, resource, count=1, name="p"):
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    return pod, allocated.device_ids


def cdi_names(node):
    spec = node.machine / "var/run/cdi/k8s.device-plugin.nvidia.com-gpu.json"
    return {device["name"] for device in json.loads(spec.read_text())["devices"]}


def places(node, gpu):
    """The driver's numbers of every instance of a GPU, by UUID."""
    return {
        uuid: (each["gpu_instance"], each["compute_instance"])
        for uuid, each in instances(node.machine, gpu).items()
    }


async def test_instances_appear_and_vanish_as_somebody_else_makes_and_destroys_them():
    async with simulated_node() as node:
        await node.serving("--mig-strategy=mixed", "--device-list-strategy=cdi-cri")

        await asyncio.to_thread(divide, node.machine, 1, "9:2", "19:0", "19:0")
        small = await node.kubelet.devices(SMALL, all_healthy(2), timeout_s=SOON_S)
        half = await node.kubelet.devices(HALF, all_healthy(1), timeout_s=SOON_S)
        whole = await node.kubelet.devices(GPU, all_healthy(7), timeout_s=SOON_S)
        assert node.uuid(1) not in whole
        assert {*small, *half} == set(instances(node.machine, 1)) <= cdi_names(node)
        assert node.kubelet.capacity[SMALL] == 2

        (gone,) = half
        await asyncio.to_thread(destroy, node.machine, 1, 2)
        await node.kubelet.devices(HALF, lambda now: not healthy(now), timeout_s=SOON_S)
        assert healthy(await node.kubelet.devices(SMALL)) == set(small)
        assert gone not in cdi_names(node)

        await asyncio.to_thread(machines.reset, node.machine, "1")
        machines.change(node.machine, "1", {"mig_pending": "off"})
        await asyncio.to_thread(machines.reset, node.machine, "1")
        await node.kubelet.devices(GPU, all_healthy(8), timeout_s=SOON_S)
        assert set(small).isdisjoint(cdi_names(node))


async def test_a_destroyed_instance_stays_listed_until_its_pod_ends():
    async with simulated_node() as node:
        divide(node.machine, 1, "9:2", "19:0")
        await node.serving("--mig-strategy=mixed")
        await node.kubelet.devices(HALF, all_healthy(1), timeout_s=SOON_S)
        pod, held = await admit(node, HALF)

        await asyncio.to_thread(destroy, node.machine, 1, 2)
        await node.kubelet.devices(HALF, lambda now: now and not healthy(now), timeout_s=SOON_S)
        # What takes its place could be opened by the pod that still has its capability nodes.
        await asyncio.to_thread(divide, node.machine, 1, "9:2")
        listed = await node.kubelet.devices(HALF, lambda now: len(now) == 2, timeout_s=SOON_S)
        assert held < set(listed)
        assert not healthy(listed)

        await node.kubelet.remove_pod(pod)
        listed = await node.kubelet.devices(HALF, all_healthy(1), timeout_s=SOON_S)
        assert held.isdisjoint(listed)


async def test_an_xid_of_an_instance_strikes_it_alone_and_one_of_the_gpu_all_of_it():
    async with simulated_node() as node:
        divide(node.machine, 1, "9:2", "19:0", "19:0")
        divide(node.machine, 2, "19:0")
        await node.serving("--mig-strategy=mixed")
        small = await node.kubelet.devices(SMALL, all_healthy(3), timeout_s=SOON_S)
        struck, place = next(each for each in places(node, 1).items() if each[0] in small)

        machines.inject_xid(node.machine, "1", 48, instance=place)
        now = await node.kubelet.devices(SMALL, lambda now: len(healthy(now)) == 2)
        assert healthy(now) == set(small) - {struck}
        assert healthy(await node.kubelet.devices(HALF))

        machines.inject_xid(node.machine, "1", 79)
        now = await node.kubelet.devices(SMALL, lambda now: len(healthy(now)) == 1)
        assert healthy(now) == set(instances(node.machine, 2))
        await node.kubelet.devices(HALF, lambda now: not healthy(now))


async def test_an_xid_of_an_instance_that_was_not_yet_seen_is_not_lost():
    async with simulated_node() as node:
        await node.serving("--mig-strategy=mixed", "--health-poll-seconds=3600")
        await asyncio.to_thread(divide, node.machine, 1, "19:0", "19:0")

        struck, place = next(iter(places(node, 1).items()))

        machines.inject_xid(node.machine, "1", 48, instance=place)

        now = await node.kubelet.devices(
            SMALL, lambda now: len(now) == 2 and len(healthy(now)) == 1, timeout_s=SOON_S
        )
        assert set(now) - healthy(now) == {struck}


async def test_an_instance_that_is_made_again_has_no_part_in_the_faults_of_the_first():
    async with simulated_node() as node:
        divide(node.machine, 1, "19:0")
        await node.serving("--mig-strategy=mixed")
        await node.kubelet.devices(SMALL, all_healthy(1), timeout_s=SOON_S)
        (place,) = places(node, 1).values()
        machines.inject_xid(node.machine, "1", 48, instance=place)
        await node.kubelet.devices(SMALL, lambda now: not healthy(now))

        await asyncio.to_thread(destroy, node.machine, 1)
        await asyncio.to_thread(divide, node.machine, 1, "19:0")

        await node.kubelet.devices(SMALL, all_healthy(1), timeout_s=SOON_S)


async def test_single_offers_instances_as_gpus_and_leaves_out_what_does_not_fit():
    async with simulated_node() as node:
        for gpu in (0, 1):
            divide(node.machine, gpu, *["19:0"] * 7)
        divide(node.machine, 2, "9:2", "19:0")
        divide(node.machine, 3)

        await node.serving("--mig-strategy=single")

        offered = await node.kubelet.devices(GPU)
        assert set(offered) == {*instances(node.machine, 0), *instances(node.machine, 1)}
        (line, *_) = (x for x in node.log.read_text().splitlines() if "event=snapshot " in x)
        for index, reason in (
            (2, "it is divided into 1g.10gb of 16 multiprocessors, 3g.40gb of 60 multiprocessors"),
            (3, "it is in MIG mode and has no instances"),
            (4, "it is not in MIG mode, and nvidia.com/gpu is 1g.10gb of 16 multiprocessors here"),
        ):
            assert f"{node.uuid(index)} ({reason}" in line
        _, given = await admit(node, GPU, 7)
        assert given in (set(instances(node.machine, 0)), set(instances(node.machine, 1)))


async def test_another_strategy_takes_effect_while_pods_run():
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text("version: v1\n")
        divide(node.machine, 0, "19:0", "19:0")
        await node.serving("--config-file", str(config))
        pod, _ = await admit(node, GPU, 8)

        config.write_text("version: v1\nflags: {migStrategy: mixed}\n")
        small = await node.kubelet.devices(SMALL, lambda now: len(now) == 2, timeout_s=SOON_S)
        assert not healthy(small), "the pod has the whole GPU"
        assert f"{node.uuid(0)} is held as nvidia.com/gpu by default/p" in node.log.read_text()

        await node.kubelet.remove_pod(pod)
        await node.kubelet.devices(SMALL, all_healthy(2), timeout_s=SOON_S)


async def test_instances_of_one_container_are_of_one_gpu():
    async with simulated_node() as node:
        for gpu in range(3):
            divide(node.machine, gpu, *["19:0"] * 7)
        await node.serving("--mig-strategy=mixed")
        await node.kubelet.devices(SMALL, all_healthy(21), timeout_s=SOON_S)
        by_gpu = [set(instances(node.machine, gpu)) for gpu in range(3)]

        given = [(await admit(node, SMALL, count, f"p{count}"))[1] for count in (3, 5, 4)]

        homes = [next(i for i, all_ in enumerate(by_gpu) if each <= all_) for each in given]
        assert homes[2] == homes[0], "which had room for exactly these"
        assert homes[1] != homes[0]


# Lets the test say which GPUs are being divided anew, as the daemon itself will.
LISTENING = """
import asyncio, json, signal
import agent.daemon.run as run
take = run.Daemon._take_signals
def listen(daemon):
    take(daemon)
    with_file = lambda: daemon._node.change(json.load(open({path!r})))
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, with_file)
run.Daemon._take_signals = listen
"""


async def test_gpus_that_are_divided_anew_are_off_offer_and_return_in_one_message():
    async with simulated_node() as node:
        divide(node.machine, 1, "9:2", "19:0")
        named = node.folder / "changing.json"
        process = await node.serving(
            "--mig-strategy=mixed", before=LISTENING.format(path=str(named))
        )
        await node.kubelet.devices(SMALL, all_healthy(1), timeout_s=SOON_S)

        named.write_text(json.dumps({node.uuid(1): "being divided anew"}))
        process.send_signal(signal.SIGUSR1)
        await node.kubelet.devices(SMALL, lambda now: not healthy(now), timeout_s=SOON_S)
        await node.kubelet.devices(HALF, lambda now: not healthy(now), timeout_s=SOON_S)
        assert "(being divided anew)" in node.log.read_text()
        await asyncio.to_thread(destroy, node.machine, 1)
        await asyncio.to_thread(divide, node.machine, 1, *["19:0"] * 7)
        await node.kubelet.devices(SMALL, lambda now: len(now) == 7, timeout_s=SOON_S)
        assert not healthy(await node.kubelet.devices(SMALL))

        named.write_text("{}")
        process.send_signal(signal.SIGUSR1)
        now = await node.kubelet.devices(SMALL, all_healthy(7), timeout_s=SOON_S)
        assert set(now) == set(instances(node.machine, 1))
        sent = [x for x in node.log.read_text().splitlines() if "event=devices_sent " in x]
        healthy_ones = [int(x.split("healthy=")[1].split()[0]) for x in sent if SMALL in x]
        assert set(healthy_ones) == {1, 0, 7}


async def test_a_lost_gpu_takes_its_instances_along_and_nobody_elses():
    async with simulated_node() as node:
        for gpu in (1, 2):
            divide(node.machine, gpu, "19:0", "19:0")
        await node.serving("--mig-strategy=mixed")
        await node.kubelet.devices(SMALL, all_healthy(4), timeout_s=SOON_S)

        machines.lose(node.machine, "1")

        now = await node.kubelet.devices(SMALL, lambda now: len(healthy(now)) == 2)
        assert len(now) == 4
        assert healthy(now) == set(instances(node.machine, 1))  # index 1 of those that answer


async def test_an_xid_of_an_instance_that_is_no_more_strikes_nothing():
    async with simulated_node() as node:
        divide(node.machine, 1, "19:0")
        await node.serving("--mig-strategy=mixed")
        await node.kubelet.devices(SMALL, all_healthy(1), timeout_s=SOON_S)

        machines.inject_xid(node.machine, "1", 48, instance=(3, 0))

        await node.logged("xid_unattributed")
        assert healthy(await node.kubelet.devices(SMALL))
        assert len(healthy(await node.kubelet.devices(GPU))) == 7


async def test_under_none_an_xid_of_an_instance_strikes_the_gpu_that_is_given_whole():
    async with simulated_node() as node:
        divide(node.machine, 1, "19:0")
        await node.serving()
        (place,) = places(node, 1).values()

        machines.inject_xid(node.machine, "1", 48, instance=place)

        assert await node.unhealthy(1, timeout_s=SOON_S) == {node.uuid(1)}


async def test_an_agent_that_starts_again_knows_which_instances_are_held():
    async with simulated_node() as node:
        for gpu in (0, 1):
            divide(node.machine, gpu, *["19:0"] * 7)
        first = await node.serving("--mig-strategy=mixed")
        listed = await node.kubelet.devices(SMALL, all_healthy(14), timeout_s=SOON_S)
        _, held = await admit(node, SMALL, 3)
        await node.stop(first)

        await node.serving("--mig-strategy=mixed")
        again = await node.kubelet.devices(SMALL, all_healthy(14), timeout_s=SOON_S)
        _, more = await admit(node, SMALL, 4, name="q")

        assert set(again) == set(listed)
        assert held | more in (set(instances(node.machine, 0)), set(instances(node.machine, 1)))
