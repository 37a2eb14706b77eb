"""The node's label orders a MIG layout; the node says how far it is."""

import asyncio
import contextlib

import yaml
from api_server import NODE, ApiServer
from daemon_process import GPU, simulated_node
from mig_machine import divide, instances

from deviceplugin.standin.pods import Container, Pod

SMALL, HALF = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
STATE, REASON = "nvidia.com/mig.config.state", "plumbline.dev/mig.config.reason"
LAYOUTS = {
    "halves": [{"gpus": {"index": 0}, "instances": {"3g.40gb": 2}}],
    "small": [{"gpus": {"index": 0}, "instances": {"1g.10gb": 7}}],
}


@contextlib.asynccontextmanager
async def labelled_node(*, deadline="60s", evict=False, layout=None):
    """Yield a node with an agent on it that an API server knows, and that server."""
    server = ApiServer()
    try:
        async with simulated_node(settled=True) as node:
            divide(node.machine, 0, "9:2", "9:2")
            mig = {"layouts": LAYOUTS, "drainDeadline": deadline, "evict": evict}
            if layout is not None:
                mig["layout"] = layout
            config = {"version": "v1", "plumbline": {"mig": mig}}
            path = node.folder / "config.yaml"
            path.write_text(yaml.safe_dump(config))
            flags = (
                f"--config-file={path}",
                "--mig-strategy=mixed",
                f"--node-name={NODE}",
                f"--kubeconfig={server.kubeconfig(node.folder)}",
            )
            await node.serving(*flags)
            yield node, server
    finally:
        server.close()


async def admit(node, resource, name):
    await node.kubelet.devices(
        resource, lambda now: any(d.healthy for d in now.values()), timeout_s=20
    )
    pod = Pod(name=name, containers=(Container(name="main", requests={resource: 1}),))
    (allocated,) = await node.kubelet.admit(pod)
    return pod, *allocated.device_ids


async def told(server, state, reason=None):
    """Wait until the node says so; return the whole reason."""
    await asyncio.to_thread(
        server.until,
        lambda: (
            (server.node["labels"].get(STATE), server.node["labels"].get(REASON)) == (state, reason)
        ),
    )
    return server.node["annotations"].get(REASON)


async def test_a_label_changes_the_layout_while_pods_elsewhere_go_on():
    async with labelled_node() as (node, server):
        _, elsewhere = await admit(node, GPU, "elsewhere")
        server.label(mig__config="small")

        await node.kubelet.devices(SMALL, lambda now: len(now) == 7, timeout_s=20)
        assert await told(server, "success") is None
        whole = await node.kubelet.devices(GPU)
        assert whole[elsewhere].healthy

        await asyncio.to_thread(server.until, lambda: len(server.events) >= 2)
        said = [(each["type"], each["reason"]) for each in server.events]
        assert said == [("Normal", "MigLayoutPending"), ("Normal", "MigLayoutSuccess")]


async def test_the_node_says_who_is_waited_for_and_in_the_end_why_not():
    async with labelled_node(deadline="1s") as (node, server):
        pod, held = await admit(node, HALF, "works")
        server.label(mig__config="small")

        message = await told(server, "failed", "in-use")
        assert "is held by pod default/works" in message
        assert held in instances(node.machine, 0)
        # How often it said before that it waits, and for whom, is a matter of the moment.
        await asyncio.to_thread(
            server.until,
            lambda: server.events and server.events[-1]["reason"] == "MigLayoutFailed",
        )
        assert server.events[-1]["type"] == "Warning"
        assert "small: " in server.events[-1]["message"]

        await node.kubelet.remove_pod(pod)
        assert await told(server, "success") is None
        assert len(instances(node.machine, 0)) == 7


async def test_an_unknown_layout_is_refused_with_the_nearest():
    async with labelled_node() as (_, server):
        server.label(mig__config="smal")
        assert "did you mean 'small'?" in await told(server, "failed", "refused")

        # Made from the hardware, without being declared.
        server.label(mig__config="all-disabled")
        assert await told(server, "success") is None


async def test_pods_are_evicted_where_that_is_allowed():
    async with labelled_node(evict=True) as (node, server):
        pod, _ = await admit(node, HALF, "works")
        path = "/api/v1/namespaces/default/pods/works"
        server.pods[path] = {"metadata": {"name": "works", "uid": "u-1"}}
        server.label(mig__config="small")

        # The API server ends the pod; here nobody else tells the kubelet.
        await asyncio.to_thread(server.until, lambda: path not in server.pods)
        await node.kubelet.remove_pod(pod)
        assert await told(server, "success") is None


async def test_the_label_goes_before_the_configuration_and_is_waited_for():
    async with labelled_node(layout="halves") as (node, server):
        assert await told(server, "success") is None
        before = set(instances(node.machine, 0))
        server.label(mig__config="small")
        await node.kubelet.devices(SMALL, lambda now: len(now) == 7, timeout_s=20)

        server.label(mig__config=None)
        await node.kubelet.devices(HALF, lambda now: len(now) == 2, timeout_s=20)
        assert not before & set(instances(node.machine, 0))


async def test_without_leave_to_read_the_node_the_configuration_decides():
    server = ApiServer()
    server.refuse = lambda *_: (403, "forbidden", [])
    try:
        async with simulated_node(settled=True) as node:
            mig = {"layouts": LAYOUTS, "layout": "small"}
            path = node.folder / "config.yaml"
            path.write_text(yaml.safe_dump({"version": "v1", "plumbline": {"mig": mig}}))
            await node.serving(
                f"--config-file={path}",
                "--mig-strategy=mixed",
                f"--node-name={NODE}",
                f"--kubeconfig={server.kubeconfig(node.folder)}",
            )
            await node.kubelet.devices(SMALL, lambda now: len(now) == 7, timeout_s=20)
            await node.logged("cluster_unreachable")
    finally:
        server.close()


async def test_an_api_server_that_is_away_hurts_nobody_and_is_told_later():
    async with labelled_node() as (node, server):
        server.label(mig__config="small")
        assert await told(server, "success") is None
        server.refuse = lambda *_: (503, "starting", [])
        server.cut_watches()
        _, _ = await admit(node, GPU, "meanwhile")
        await node.logged("cluster_unreachable")

        server.refuse = None
        server.label(mig__config="halves")
        await node.kubelet.devices(HALF, lambda now: len(now) == 2, timeout_s=30)
        assert await told(server, "success") is None
