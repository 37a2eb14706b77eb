import asyncio

import grpc
import pytest

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.errors import AllocationRefused
from deviceplugin.standin import AdmissionFailed
from deviceplugin.values import ContainerAllocation, DeviceNode, Mount, PreferenceRequest

GPU = "nvidia.com/gpu"


@pytest.fixture
async def plugin(bench, kubelet, devices):
    """A channel to the plugin of four devices."""
    bench.run({GPU: devices("a", "b", "c", "d")})
    await kubelet.devices(GPU)
    async with rpc.open_channel(bench.directory / "nvidia-gpu.sock") as channel:
        yield channel


def preference(available, must_include, size):
    return api.PreferredAllocationRequest(
        container_requests=[
            api.ContainerPreferredAllocationRequest(
                available_deviceIDs=available,
                must_include_deviceIDs=must_include,
                allocation_size=size,
            )
        ]
    )


async def test_every_field_of_an_allocation_reaches_the_container(plugin, kubelet, shelf, pod):
    shelf.given = ContainerAllocation(
        envs={"NVIDIA_VISIBLE_DEVICES": "a,b", "EMPTY": ""},
        mounts=(
            Mount(container_path="/c", host_path="/h", read_only=True),
            Mount(container_path="/c2", host_path="/h2", read_only=False),
        ),
        device_nodes=(DeviceNode(container_path="/dev/x", host_path="/r/dev/x", permissions="rw"),),
        annotations={"cdi.k8s.io/p_1": "v.com/gpu=a"},
        cdi_devices=("v.com/gpu=a", "v.com/gpu=b"),
    )

    (held,) = await kubelet.admit(pod(main={GPU: 2}))

    assert held.allocation == shelf.given
    assert shelf.allocated == [(GPU, held.device_ids)]
    assert len(held.device_ids) == 2


async def test_the_preferred_devices_are_the_ones_that_are_given(plugin, kubelet, shelf, pod):
    shelf.preferred = ("d", "b")

    (held,) = await kubelet.admit(pod(main={GPU: 2}))

    assert held.device_ids == {"b", "d"}


async def test_a_backend_sees_ids_in_order_however_they_arrive(plugin, shelf):
    await rpc.PREFER.on(plugin)(preference(["d", "a", "c", "b"], ["c", "a"], 3))

    request = PreferenceRequest(available=("a", "b", "c", "d"), must_include=("a", "c"), size=3)
    assert shelf.asked == [(GPU, request)]


@pytest.mark.parametrize(
    ("answer", "repaired", "reason"),
    [
        (RuntimeError("no snapshot"), ["b", "a", "c"], "RuntimeError: no snapshot"),
        ((), ["b", "a", "c"], "0 ids where 3 were asked for"),
        (("b", "d"), ["b", "d", "a"], "2 ids where 3 were asked for"),
        (("b", "d", "c", "a"), ["b", "d", "c"], "4 ids where 3 were asked for"),
        (("b", "x", "d"), ["b", "d", "a"], "ids that were not offered: x"),
        (("d", "c", "a"), ["b", "d", "c"], "left out ids that must be included: b"),
        (("b", "d", "d"), ["b", "d", "a"], "3 ids of which only 2 differ"),
        (7, ["b", "a", "c"], "TypeError: 'int' object is not iterable"),
    ],
)
async def test_an_unusable_preference_is_repaired_and_told(
    plugin, shelf, notes, answer, repaired, reason
):
    shelf.preferred = answer

    got = await rpc.PREFER.on(plugin)(preference(["d", "c", "b", "a"], ["b"], 3))

    assert list(got.container_responses[0].deviceIDs) == repaired
    assert notes.count("preference_repaired", GPU, reason) == 1


@pytest.mark.parametrize(
    ("available", "must_include", "size", "answer"),
    [
        (["a", "b"], [], 5, ["a", "b"]),
        (["a", "b", "c"], ["b", "c"], 1, ["b"]),
        (["a"], ["z"], 2, ["z", "a"]),
        ([], [], 0, []),
    ],
)
async def test_a_request_that_cannot_be_met_is_answered_as_far_as_possible(
    plugin, shelf, available, must_include, size, answer
):
    got = await rpc.PREFER.on(plugin)(preference(available, must_include, size))

    assert list(got.container_responses[0].deviceIDs) == answer


async def test_a_refused_allocation_fails_the_pod_with_the_reason(plugin, kubelet, shelf, pod):
    shelf.refusal = AllocationRefused("GPU-1 is held by claim x; wait for it")

    with pytest.raises(AdmissionFailed, match="GPU-1 is held by claim x") as failed:
        await kubelet.admit(pod(main={GPU: 1}))

    assert failed.value.reason == "UnexpectedAdmissionError"
    assert "INVALID_ARGUMENT" in failed.value.message


async def test_a_backend_that_crashes_costs_one_call(plugin, kubelet, shelf, pod, notes):
    shelf.refusal = ZeroDivisionError("division by zero")
    allocate = rpc.ALLOCATE.on(plugin)
    request = api.AllocateRequest(
        container_requests=[api.ContainerAllocateRequest(devices_ids=["a"])]
    )

    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await allocate(request)

    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert "nvidia.com/gpu" in failed.value.details()
    assert "ZeroDivisionError: division by zero" in failed.value.details()
    shelf.refusal = None
    await kubelet.admit(pod(main={GPU: 4}))
    assert kubelet.registrations == [GPU]


async def test_a_failed_pod_leaves_nothing_allocated(plugin, kubelet, shelf, pod):
    shelf.refusal = AllocationRefused("no")
    with pytest.raises(AdmissionFailed):
        await kubelet.admit(pod("first", main={GPU: 3}))
    shelf.refusal = None

    (held,) = await kubelet.admit(pod("second", main={GPU: 4}))

    assert held.device_ids == {"a", "b", "c", "d"}


async def test_several_containers_of_one_request_get_an_answer_each(plugin, shelf):
    shelf.given = ContainerAllocation(envs={"K": "V"})
    request = api.AllocateRequest(
        container_requests=[
            api.ContainerAllocateRequest(devices_ids=["a"]),
            api.ContainerAllocateRequest(devices_ids=["b", "c"]),
        ]
    )

    answer = await rpc.ALLOCATE.on(plugin)(request)

    assert [dict(each.envs) for each in answer.container_responses] == [{"K": "V"}, {"K": "V"}]
    assert shelf.allocated == [(GPU, frozenset("a")), (GPU, frozenset("bc"))]


async def test_each_call_has_an_op_id_an_end_and_a_duration(plugin, kubelet, shelf, notes, pod):
    await kubelet.admit(pod("one", main={GPU: 1}))
    shelf.refusal = AllocationRefused("no")
    with pytest.raises(AdmissionFailed):
        await kubelet.admit(pod("two", main={GPU: 1}))

    begun = [event[2] for event in notes.events if event[:2] == ("rpc_begin", "Allocate")]
    ended = [event[2:] for event in notes.events if event[:2] == ("rpc_end", "Allocate")]
    assert [call for call, _, _ in ended] == begun
    assert [error for _, error, _ in ended] == [None, "AllocationRefused: no"]
    assert all(duration_s >= 0 for _, _, duration_s in ended)
    assert len({call.op_id for call in begun}) == 2
    assert all(len(call.op_id) == 8 for call in begun)
    assert begun[0].resource == GPU
    assert begun[0].detail in {"a", "b", "c", "d"}


async def test_an_observer_that_fails_is_not_felt_by_the_kubelet(
    plugin, kubelet, notes, pod, monkeypatch
):
    told = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: told.append(context["message"])
    )

    def fail(_call):
        raise OSError("disk full")

    monkeypatch.setattr(notes, "rpc_begin", fail)

    (held,) = await kubelet.admit(pod(main={GPU: 4}))

    assert len(held.device_ids) == 4
    assert set(told) == {"observer failed in fail"}
