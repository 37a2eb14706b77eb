"""Names of resources that change while pods run."""

from daemon_process import GPU, simulated_node

from deviceplugin.standin.pods import Container, Pod

H100 = "nvidia.com/h100"
RENAMED = "version: v1\nresources: {gpus: [{pattern: '*H100*', name: h100}]}\n"
TWO_NAMES = """
version: v1
resources:
  gpus:
  - {pattern: "*A100*", name: a100}
  - {pattern: "*", name: rest}
"""


def healthy(devices):
    return {id_ for id_, device in devices.items() if device.healthy}


async def admit(node, name, resource, count):
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: count}),))
    (allocated,) = await node.kubelet.admit(pod)
    return pod, allocated.device_ids


async def test_a_gpu_that_a_pod_holds_is_not_given_again_under_its_new_name():
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text("version: v1\n")
        await node.serving("--config-file", str(config))
        pod, held = await admit(node, "old", GPU, 3)

        config.write_text(RENAMED)
        devices = await node.kubelet.devices(H100, lambda now: len(now) == 8, timeout_s=10)
        assert healthy(devices) == set(devices) - held
        await node.kubelet.devices(GPU, lambda now: not healthy(now), timeout_s=10)
        assert node.kubelet.allocated(pod)[0].device_ids == held

        await node.kubelet.remove_pod(pod)
        devices = await node.kubelet.devices(H100, lambda now: len(healthy(now)) == 8, timeout_s=10)
        _, given = await admit(node, "new", H100, 8)
        assert given == set(devices)


async def test_an_agent_that_starts_with_new_names_learns_who_holds_what():
    async with simulated_node() as node:
        first = await node.serving()
        _, held = await admit(node, "old", GPU, 2)
        await node.stop(first)
        config = node.folder / "config.yaml"
        config.write_text(RENAMED)

        await node.start("--config-file", str(config))

        devices = await node.kubelet.devices(H100, lambda now: len(now) == 8, timeout_s=20)
        assert healthy(devices) == set(devices) - held


async def test_without_pod_resources_what_was_allocated_stays_withheld():
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text("version: v1\n")
        await node.serving("--config-file", str(config))
        pod, held = await admit(node, "old", GPU, 2)
        node.kubelet.pod_resources.unlink()

        config.write_text(RENAMED)
        devices = await node.kubelet.devices(H100, lambda now: len(now) == 8, timeout_s=10)
        await node.logged("pod_resources_unreachable")
        await node.kubelet.remove_pod(pod)

        assert healthy(devices) == set(devices) - held


async def test_a_name_that_no_gpu_has_is_not_registered():
    async with simulated_node() as node:
        config = node.folder / "config.yaml"
        config.write_text(TWO_NAMES)
        await node.start("--config-file", str(config))

        assert len(await node.kubelet.devices("nvidia.com/rest", timeout_s=20)) == 8
        assert node.kubelet.registrations == ["nvidia.com/rest"]
