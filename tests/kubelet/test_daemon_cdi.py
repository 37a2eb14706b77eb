"""CDI through the daemon: every name a pod was given resolves, now and later."""

import json
from pathlib import Path

from daemon_process import simulated_node

from agent.simulation import machines

SOON_S = 6.0
CDI = ("--device-list-strategy", "cdi-cri")


def spec_file(node, cdi_class="gpu"):
    return node.machine / f"var/run/cdi/k8s.device-plugin.nvidia.com-{cdi_class}.json"


def host_paths(node, names):
    """Resolve qualified names as a runtime does; fail where one cannot be."""
    paths = []
    for name in names:
        kind, _, device = name.partition("=")
        document = json.loads(spec_file(node, kind.partition("/")[2]).read_text())
        [found] = [d for d in document["devices"] if d["name"] == device]
        paths += [n["hostPath"] for n in found["containerEdits"]["deviceNodes"]]
    assert all(Path(path).exists() for path in paths)
    return [path.removeprefix(str(node.machine)) for path in paths]


def configure(node, text):
    """Replace the configuration file in one step."""
    fresh = node.folder / "fresh.yaml"
    fresh.write_text(text)
    fresh.rename(node.folder / "config.yaml")


async def test_features_are_devices_that_resolve():
    async with simulated_node() as node:
        features = ("--mofed-enabled", "--gds-enabled", "--gdrcopy-enabled")
        (node.machine / "dev/gdrdrv").touch()
        await node.serving(*CDI, *features)
        _, allocation = await node.admit("pod", 1)

        classes = [name.partition("=")[0].partition("/")[2] for name in allocation.cdi_devices]
        assert classes == ["gpu", "mofed", "gdrcopy"]  # this machine has no /dev/nvidia-fs*
        assert not spec_file(node, "gds").exists()
        given = host_paths(node, allocation.cdi_devices)
        verbs = {p.name for p in (node.machine / "dev/infiniband").glob("uverbs*")}
        assert len(verbs) >= 8
        assert {f"/dev/infiniband/{name}" for name in (*verbs, "rdma_cm")} <= set(given)
        assert given[-1] == "/dev/gdrdrv"


async def test_names_outlive_changes_of_strategy_and_restarts():
    async with simulated_node() as node:
        configure(node, "version: v1\nflags: {plugin: {deviceListStrategy: cdi-cri}}\n")
        process = await node.serving("--config", str(node.folder / "config.yaml"))
        _, allocation = await node.admit("pod", 2)
        before = host_paths(node, allocation.cdi_devices)

        node.log.write_text("")
        configure(
            node,
            "version: v1\n"
            "flags: {plugin: {deviceListStrategy: cdi-cri, deviceIDStrategy: index}}\n",
        )
        await node.logged("snapshot")
        assert host_paths(node, allocation.cdi_devices) == before
        _, by_index = await node.admit("by-index", 1)
        index_nodes = host_paths(node, by_index.cdi_devices)

        node.log.write_text("")
        configure(node, "version: v1\n")
        await node.logged("snapshot")
        await node.stop(process)
        await node.serving("--config", str(node.folder / "config.yaml"))
        assert host_paths(node, allocation.cdi_devices) == before
        assert host_paths(node, by_index.cdi_devices) == index_nodes


async def test_the_name_of_a_lost_gpu_resolves():
    async with simulated_node() as node:
        await node.serving(*CDI)
        _, allocation = await node.admit("pod", 8)
        before = host_paths(node, allocation.cdi_devices)
        machines.lose(node.machine, "2", silently=True)
        await node.unhealthy(1, timeout_s=SOON_S)

        assert host_paths(node, allocation.cdi_devices) == before


async def test_a_file_is_maintained_under_a_strategy_without_cdi():
    async with simulated_node() as node:
        file = spec_file(node)
        file.parent.mkdir(parents=True)
        foreign = file.with_name("k8s.device-plugin.nvidia.com-imex-channel.json")
        foreign.write_text('{"kind": "k8s.device-plugin.nvidia.com/imex-channel"}')
        file.write_text(
            json.dumps(
                {
                    "kind": "k8s.device-plugin.nvidia.com/gpu",
                    "devices": [{"name": node.uuid(3)}, {"name": "all"}],
                }
            )
        )
        await node.serving()

        name = f"k8s.device-plugin.nvidia.com/gpu={node.uuid(3)}"
        assert host_paths(node, [name])[0] == "/dev/nvidia3"
        assert foreign.exists()


async def test_a_file_of_another_nodes_gpus_goes():
    async with simulated_node() as node:
        file = spec_file(node)
        file.parent.mkdir(parents=True)
        file.write_text(
            '{"kind": "k8s.device-plugin.nvidia.com/gpu",'
            ' "devices": [{"name": "GPU-00000000-0000-0000-0000-000000000000"}]}'
        )
        await node.serving()

        assert not file.exists()
