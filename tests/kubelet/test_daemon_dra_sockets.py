"""The sockets at which the kubelet finds the daemon's DRA drivers."""

import socket

from daemon_process import changed
from dra_node import GPUS, dra_node

UID = "8b6e2f6c-5d0e-4c59-9f27-51d3f9a0c8a1"


def sockets(it):
    """Sockets below the kubelet's folder that are a DRA driver's, by their names there."""
    found = [*it.node.folder.glob("plugins/**/*.sock"), *it.node.folder.glob("plugins_registry/*")]
    return {str(path.relative_to(it.node.folder)) for path in found}


async def test_sockets_bear_the_uid_of_the_pod_and_without_one_the_number_of_the_process():
    async with dra_node() as it:
        pod = await it.start(f"--pod-uid={UID}")
        await it.register(GPUS)
        assert sockets(it) == {
            f"plugins/{GPUS}/dra-{UID}.sock",
            f"plugins_registry/{GPUS}-{UID}-reg.sock",
        }
        await it.node.stop(pod)
        assert not sockets(it)

        process = await it.start()
        await it.register(GPUS)
        assert sockets(it) == {
            f"plugins/{GPUS}/dra-{process.pid}.sock",
            f"plugins_registry/{GPUS}-{process.pid}-reg.sock",
        }


async def test_what_a_killed_instance_left_is_removed_its_private_names_as_well():
    async with dra_node() as it:
        killed = await it.start()
        await it.register(GPUS)
        dead = it.registered()[GPUS]
        folders = [it.node.folder / f"plugins/{GPUS}", it.node.folder / "plugins_registry"]
        killed.kill()
        await killed.wait()
        for folder in folders:
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(folder / ".pl-dead-0"))

        process = await it.start()
        await changed(dead.parent, lambda: not dead.exists())
        await it.register(GPUS)
        names = {path.name for folder in folders for path in folder.iterdir()}
        assert names == {f"dra-{process.pid}.sock", f"{GPUS}-{process.pid}-reg.sock"}
