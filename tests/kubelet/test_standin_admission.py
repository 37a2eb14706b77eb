"""The stand-in as a whole: pods through NUMA policies, reuse, restarts, pod resources."""

import asyncio

import grpc
import pytest

from deviceplugin import rpc
from deviceplugin._generated import podresources_v1_pb2 as api
from deviceplugin.standin import (
    AdmissionFailed,
    Container,
    Hint,
    Kubelet,
    Numa,
    Pod,
    Policy,
    TopologyRules,
)
from deviceplugin.standin import devices as standin_devices
from deviceplugin.standin.numa import mask_of
from deviceplugin.values import Device

GPU = "nvidia.com/gpu"
NIC = "nvidia.com/nic"


def on_nodes(*nodes):
    return [
        Device(id=f"g{index}", healthy=True, numa_nodes=(node,)) for index, node in enumerate(nodes)
    ]


@pytest.fixture
def kubelet_with(nothing_left_running, bench, directory):
    """Starts a stand-in with these rules and GPUs on these nodes, and runs a test's body."""

    class Running:
        def __init__(self, rules, nodes, **others):
            self.kubelet = Kubelet(directory, rules=rules)
            self.catalog = {GPU: on_nodes(*nodes), **others}

        async def __aenter__(self):
            await self.kubelet.start()
            bench.run(self.catalog)
            for resource in self.catalog:
                await self.kubelet.devices(resource)
            return self.kubelet

        async def __aexit__(self, *_):
            await bench.end()
            await self.kubelet.stop()

    return Running


def two_nodes(policy, **options):
    return TopologyRules(numa=Numa(nodes=(0, 1)), policy=policy, **options)


async def ids(kubelet, pod):
    return [held.device_ids for held in await kubelet.admit(pod)]


async def test_single_numa_node_keeps_a_pod_on_one_node_or_rejects_it(kubelet_with, shelf, pod):
    shelf.preferred = ("g0", "g1")
    async with kubelet_with(two_nodes(Policy.SINGLE_NUMA_NODE), (0, 0, 1, 1)) as kubelet:
        await kubelet.admit(pod("one", main={GPU: 1}))

        # g0 is gone, so two GPUs fit node 1 only: what the plugin prefers is out of the question.
        assert await ids(kubelet, pod("two", main={GPU: 2})) == [{"g2", "g3"}]
        with pytest.raises(AdmissionFailed) as failed:
            await kubelet.admit(pod("three", main={GPU: 2}))

    assert failed.value.reason == "TopologyAffinityError"
    assert failed.value.pod.name == "three"


async def test_best_effort_admits_what_cannot_be_aligned(kubelet_with, shelf, pod):
    async with kubelet_with(two_nodes(Policy.BEST_EFFORT), (0, 0, 1, 1)) as kubelet:
        shelf.preferred = ("g0",)
        await kubelet.admit(pod("one", main={GPU: 1}))
        shelf.preferred = ("g3", "g2", "g1")

        assert await ids(kubelet, pod("two", main={GPU: 3})) == [{"g1", "g2", "g3"}]


async def test_the_plugin_is_offered_what_the_affinity_leaves(kubelet_with, shelf, pod):
    async with kubelet_with(two_nodes(Policy.RESTRICTED), (0, 0, 0, 1)) as kubelet:
        await kubelet.admit(pod(main={GPU: 2}))

    ((_, request),) = shelf.asked
    assert request.available == ("g0", "g1", "g2")
    assert request.size == 2


async def test_a_request_of_all_aligned_devices_is_not_put_to_the_plugin(kubelet_with, shelf, pod):
    async with kubelet_with(two_nodes(Policy.RESTRICTED), (0, 0, 1)) as kubelet:
        assert await ids(kubelet, pod(main={GPU: 2})) == [{"g0", "g1"}]

    assert shelf.asked == []


async def test_another_manager_may_decide_the_node(kubelet_with, shelf, pod):
    def cpus(_pod, _container):
        return {"cpu": [Hint(mask=mask_of([1]), preferred=True)]}

    rules = two_nodes(Policy.SINGLE_NUMA_NODE, hint_providers=(cpus,))
    async with kubelet_with(rules, (0, 0, 1)) as kubelet:
        assert await ids(kubelet, pod(main={GPU: 1})) == [{"g2"}]


async def test_closest_nodes_are_taken_when_asked_for(kubelet_with, shelf, pod):
    distances = {(0, 1): 32, (0, 2): 12, (1, 2): 32}
    numa = Numa(nodes=(0, 1, 2), distances=distances)
    rules = TopologyRules(numa=numa, policy=Policy.RESTRICTED, prefer_closest=True)
    async with kubelet_with(rules, (0, 1, 2)) as kubelet:
        assert await ids(kubelet, pod(main={GPU: 2})) == [{"g0", "g2"}]


async def test_devices_of_init_containers_are_used_again(kubelet_with, shelf, pod):
    async with kubelet_with(TopologyRules(), (0, 0, 0, 0)) as kubelet:
        held = await kubelet.admit(
            pod(init={"first": {GPU: 2}, "second": {GPU: 1}}, main={GPU: 3}, side={GPU: 1})
        )
        by_container = {each.container: each.device_ids for each in held}

    assert by_container["second"] < by_container["first"]
    assert by_container["first"] < by_container["main"]
    assert not by_container["main"] & by_container["side"]
    # What is to be reused is what the plugin must include.
    assert shelf.asked[-2][1].must_include == tuple(sorted(by_container["first"]))


async def test_a_sidecar_keeps_its_devices(kubelet_with):
    sidecar = Container(name="sidecar", requests={GPU: 1}, restartable=True)
    main = Container(name="main", requests={GPU: 2})
    pod = Pod(name="p", containers=(main,), init_containers=(sidecar,))
    async with kubelet_with(TopologyRules(), (0, 0)) as kubelet:
        with pytest.raises(AdmissionFailed, match="2 requested, 1 available"):
            await kubelet.admit(pod)

        assert kubelet.allocated(pod) == ()


async def test_a_pod_admitted_again_gets_what_it_has(kubelet_with, shelf, pod):
    async with kubelet_with(TopologyRules(), (0, 0, 0)) as kubelet:
        first = await ids(kubelet, pod(main={GPU: 2}))
        allocated = len(shelf.allocated)

        assert await ids(kubelet, pod(main={GPU: 2})) == first
        assert len(shelf.allocated) == allocated
        with pytest.raises(AdmissionFailed, match="changed its request"):
            await kubelet.admit(pod(main={GPU: 1}))


async def test_allocations_survive_a_restart_and_devices_wait_for_the_plugin(
    kubelet_with, bench, pod
):
    async with kubelet_with(TopologyRules(), (0, 0, 0)) as kubelet:
        (held,) = await ids(kubelet, pod("one", main={GPU: 2}))
        await bench.end()
        await kubelet.restart()

        assert kubelet.capacity == {GPU: 0}
        with pytest.raises(AdmissionFailed, match="no healthy devices"):
            await kubelet.admit(pod("two", main={GPU: 1}))

        bench.run({GPU: on_nodes(0, 0, 0)})
        await kubelet.devices(GPU)
        (others,) = await ids(kubelet, pod("two", main={GPU: 1}))

    assert not held & others


async def test_a_plugin_that_is_gone_leaves_its_devices_unhealthy(kubelet_with, pod):
    async with kubelet_with(TopologyRules(), (0, 0)) as kubelet:
        (await_again,) = [kubelet.drop_streams(GPU)]
        await await_again

        assert (kubelet.capacity[GPU], kubelet.allocatable[GPU]) == (2, 0)
        with pytest.raises(AdmissionFailed, match="no healthy devices"):
            await kubelet.admit(pod(main={GPU: 1}))


async def test_resources_that_nobody_registered_are_none_of_the_kubelets_business(
    kubelet_with, pod
):
    async with kubelet_with(TopologyRules(), (0,)) as kubelet:
        assert await ids(kubelet, pod(main={NIC: 1})) == []


async def test_a_resource_whose_plugin_is_long_gone_counts_for_nothing(
    kubelet_with, pod, monkeypatch
):
    async with kubelet_with(TopologyRules(), (0, 0)) as kubelet:
        await kubelet.drop_streams(GPU)
        monkeypatch.setattr(standin_devices, "STOP_GRACE_S", 0.0)

        assert (kubelet.capacity, kubelet.allocatable) == ({GPU: 0}, {GPU: 0})
        with pytest.raises(AdmissionFailed) as failed:
            await kubelet.admit(pod(main={GPU: 1}))

    assert failed.value.reason == f"OutOf{GPU}"


async def test_resources_of_one_container_are_served_in_no_fixed_order(kubelet_with, shelf, pod):
    nics = [Device(id="n0", healthy=True)]
    async with kubelet_with(TopologyRules(), (0,), **{NIC: nics}) as kubelet:
        for _ in range(20):
            await kubelet.admit(pod(main={GPU: 1, NIC: 1}))
            await kubelet.remove_pod(pod(main={}))

    orders = {
        tuple(resource for resource, _ in shelf.allocated[n : n + 2])
        for n in range(0, len(shelf.allocated), 2)
    }
    assert orders == {(GPU, NIC), (NIC, GPU)}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"version": "v1alpha"}, "'v1alpha' is not supported"),
        ({"resource_name": "gpu"}, "'gpu' cannot be registered"),
        ({"endpoint": "nobody.sock"}, "cannot dial back"),
    ],
)
async def test_bad_registrations_are_refused(kubelet, monkeypatch, request_, reason):
    from deviceplugin.standin import plugin

    monkeypatch.setattr(plugin, "DIAL_TIMEOUT_S", 0.1)
    from deviceplugin._generated import deviceplugin_v1beta1_pb2 as plugin_api

    fields = {"version": "v1beta1", "endpoint": "x.sock", "resource_name": GPU, **request_}
    async with rpc.open_channel(kubelet.socket) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await rpc.REGISTER.on(channel)(plugin_api.RegisterRequest(**fields))

    assert reason in refused.value.details()
    assert kubelet.registrations == []


def entry(id_, *nodes, resource=GPU):
    topology = api.TopologyInfo(nodes=[api.NUMANode(ID=node) for node in nodes])
    return api.ContainerDevices(
        resource_name=resource, device_ids=[id_], topology=topology if nodes else None
    )


async def test_pod_resources_say_who_holds_what(kubelet_with, pod):
    nics = [
        Device(id="n0", healthy=True, numa_nodes=(0, 1)),
        Device(id="n1", healthy=False),
        Device(id="n2", healthy=True),
    ]
    async with (
        kubelet_with(TopologyRules(), (0, 1), **{NIC: nics}) as kubelet,
        rpc.open_channel(kubelet.pod_resources) as channel,
    ):
        await kubelet.admit(pod("idle", main={}))
        await kubelet.admit(pod("busy", init={"early": {GPU: 1}}, main={GPU: 2, NIC: 2}))
        listed = await rpc.LIST_PODS.on(channel)(api.ListPodResourcesRequest())
        got = await rpc.GET_POD.on(channel)(
            api.GetPodResourcesRequest(pod_name="busy", pod_namespace="default")
        )
        allocatable = await rpc.LIST_ALLOCATABLE.on(channel)(api.AllocatableResourcesRequest())
        with pytest.raises(grpc.aio.AioRpcError, match="pod other in namespace default"):
            await rpc.GET_POD.on(channel)(
                api.GetPodResourcesRequest(pod_name="other", pod_namespace="default")
            )

    by_name = {each.name: each for each in listed.pod_resources}
    assert list(by_name) == ["idle", "busy"]
    assert list(by_name["idle"].containers[0].devices) == []
    (main,) = by_name["busy"].containers
    in_order = sorted(main.devices, key=lambda each: each.device_ids[0])
    # A device of two NUMA nodes has an entry for each.
    nic_entries = [
        entry("n0", 0, resource=NIC),
        entry("n0", 1, resource=NIC),
        entry("n2", resource=NIC),
    ]
    assert in_order == [entry("g0", 0), entry("g1", 1), *nic_entries]
    assert got.pod_resources == by_name["busy"]
    assert list(allocatable.devices) == [entry("g0", 0), entry("g1", 1), *nic_entries]


async def test_a_slow_plugin_holds_up_one_pod_after_the_other(kubelet_with, shelf, pod):
    """Admission is serial: the second pod is asked about when the first is done."""
    async with kubelet_with(TopologyRules(), (0, 0, 0)) as kubelet:
        one, two = await asyncio.gather(
            ids(kubelet, pod("one", main={GPU: 2})), ids(kubelet, pod("two", main={GPU: 1}))
        )

    assert one[0] | two[0] == {"g0", "g1", "g2"}
    assert shelf.asked[1][1].available == tuple(sorted(two[0]))
