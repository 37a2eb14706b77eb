"""MIG instances as the kubelet is offered them, and what a container is told of its own."""

import json

import pytest
from daemon_process import GPU, simulated_node
from mig_machine import divide, instances

from deviceplugin.standin.pods import Container, Pod

SMALL, HALF = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
KIND = "k8s.device-plugin.nvidia.com/gpu"


async def admit(node, resource, count=1, name="p"):
    """Admit a pod once enough is there; return the ids it got and what its container is told."""
    await node.kubelet.devices(
        resource, lambda now: sum(d.healthy for d in now.values()) >= count, timeout_s=20
    )
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    return sorted(allocated.device_ids), allocated.allocation


async def test_mixed_offers_every_profile_by_name_and_whole_gpus_beside_them():
    async with simulated_node() as node:
        divide(node.machine, 1, "9:2", "19:0", "20:0", "14:0")
        await node.serving("--mig-strategy=mixed")

        offered = {
            resource: set(await node.kubelet.devices(resource))
            for resource in (SMALL, HALF, f"{SMALL}.me", "nvidia.com/mig-1c.2g.20gb", GPU)
        }

        by_profile = {}
        for uuid, each in instances(node.machine, 1).items():
            by_profile.setdefault(each["profile"], set()).add(uuid)
        assert offered[SMALL] == by_profile["1g.10gb"]
        assert offered[f"{SMALL}.me"] == by_profile["1g.10gb+me"]
        assert offered[HALF] == by_profile["3g.40gb"]
        assert offered["nvidia.com/mig-1c.2g.20gb"] == by_profile["1c.2g.20gb"]
        assert offered[GPU] == {node.uuid(i) for i in (0, 2, 3, 4, 5, 6, 7)}


async def test_instances_have_the_numa_node_of_their_gpu():
    async with simulated_node() as node:
        divide(node.machine, 6, "19:0")
        await node.serving("--mig-strategy=mixed")

        (device,) = (await node.kubelet.devices(SMALL)).values()
        assert device.numa_nodes == (1,)


@pytest.mark.parametrize("named", ["uuid", "index"])
async def test_a_container_is_told_of_its_instance_under_every_device_list_strategy(named):
    async with simulated_node() as node:
        divide(node.machine, 1, "9:2", "19:0")
        (uuid,) = (u for u, i in instances(node.machine, 1).items() if i["profile"] == "3g.40gb")
        await node.serving(
            "--mig-strategy=mixed",
            "--device-list-strategy=envvar,volume-mounts,cdi-annotations,cdi-cri",
            f"--device-id-strategy={named}",
            "--pass-device-specs",
        )

        ids, given = await admit(node, HALF)

        assert ids == [uuid]
        name = uuid if named == "uuid" else "1:0"
        assert given.envs == {"NVIDIA_VISIBLE_DEVICES": name}
        assert [m.container_path for m in given.mounts] == [
            f"/var/run/nvidia-container-devices/{name}"
        ]
        assert given.cdi_devices == (f"{KIND}={name}",)
        assert list(given.annotations.values()) == [f"{KIND}={name}"]
        own = given.device_nodes[-3:]
        expected = capability_nodes(node, 1, 2, 0)
        assert [n.container_path for n in own] == ["/dev/nvidia1", *expected]
        assert [n.host_path for n in own] == [str(node.machine / n.container_path[1:]) for n in own]
        assert all(n.container_path.startswith("/dev/nvidia") for n in given.device_nodes)


def capability_nodes(node, gpu, gpu_instance, compute_instance):
    """The nodes as the driver's table has them."""
    table = (node.machine / "proc/driver/nvidia-caps/mig-minors").read_text()
    minors = dict(line.split() for line in table.splitlines())
    around = f"gpu{gpu}/gi{gpu_instance}"
    wanted = (f"{around}/access", f"{around}/ci{compute_instance}/access")
    return [f"/dev/nvidia-caps/nvidia-cap{minors[each]}" for each in wanted]


async def test_cdi_devices_of_instances_open_them_and_nothing_else():
    async with simulated_node() as node:
        divide(node.machine, 1, "9:2", "19:0")
        await node.serving("--mig-strategy=mixed", "--device-list-strategy=cdi-cri")

        spec = json.loads((node.machine / f"var/run/cdi/{KIND.replace('/', '-')}.json").read_text())

        nodes = {
            device["name"]: [n["path"] for n in device["containerEdits"]["deviceNodes"]]
            for device in spec["devices"]
        }
        for uuid, each in instances(node.machine, 1).items():
            place = each["gpu_instance"], each["compute_instance"]
            opened = ["/dev/nvidia1", *capability_nodes(node, 1, *place)]
            assert nodes[uuid] == opened
            assert opened in (nodes["1:0"], nodes["1:1"])
            assert set(opened) <= set(nodes["all"])


async def test_a_missing_capability_node_is_said_and_its_return_is_seen():
    async with simulated_node() as node:
        divide(node.machine, 1, "9:2")
        nodes = node.machine / "dev/nvidia-caps"
        hidden = nodes.rename(node.folder / "hidden")
        await node.serving("--mig-strategy=mixed", "--pass-device-specs")

        (device,) = (await node.kubelet.devices(HALF)).values()
        assert not device.healthy
        assert "has no capability node in /dev/nvidia-caps" in node.log.read_text()

        hidden.rename(nodes)
        await node.kubelet.devices(HALF, lambda now: all(d.healthy for d in now.values()))
