"""What fits is what the kubelet's rules, as the stand-in plays them, admit; and what they give."""

import asyncio
import random

from builders import gpu, inventory
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.planning.affinity import Stock
from agent.planning.catalog import OfferedDevice
from agent.planning.fit import Verdict, fit
from agent.planning.placement import PlacementTable, Request
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api
from deviceplugin.standin.accounts import Accounts
from deviceplugin.standin.admission import Admission, TopologyRules
from deviceplugin.standin.devices import ResourceState
from deviceplugin.standin.numa import Numa, Policy
from deviceplugin.standin.pods import (
    TOPOLOGY_AFFINITY_ERROR,
    AdmissionFailed,
    Allocated,
    Container,
    Pod,
)
from deviceplugin.values import ContainerAllocation, Device

GPU = "nvidia.com/gpu"
NOTHING = ContainerAllocation()


class Plugin:
    """Prefers what the table does, as the agent would, who knows all that is free."""

    def __init__(self, table, free):
        self._table = table
        self._free = free

    async def prefer(self, available, must_include, size):
        request = Request(
            available=tuple(available),
            must_include=tuple(must_include),
            size=size,
            free=self._free,
        )
        return self._table.choose(request).devices

    async def allocate(self, _):
        return api.AllocateResponse(container_responses=[api.ContainerAllocateResponse()])


@st.composite
def nodes_of_gpus(draw):
    """Return a stock and the table of its GPUs."""
    machine = draw(st.integers(1, 4))
    node = st.integers(0, machine - 1)
    several = st.sets(node, min_size=1).map(tuple)
    place = st.one_of(st.tuples(node), st.tuples(node), st.just(()), several)
    places = draw(st.lists(place, min_size=1, max_size=7))
    gpus = [gpu(i, numa_node=place[0] if place else None) for i, place in enumerate(places)]
    indices = st.sampled_from(range(len(places)))
    broken = draw(st.sets(indices, max_size=2))
    # Mostly free: what is held hides the rest.
    free = set(range(len(places))) - draw(st.sets(indices))
    devices = tuple(
        OfferedDevice(
            id=each.uuid, gpu=each.uuid, reason="Xid" if i in broken else None, numa_nodes=places[i]
        )
        for i, each in enumerate(gpus)
    )
    stock = Stock(
        devices=devices,
        free=frozenset(gpus[i].uuid for i in free),
        nodes=frozenset(range(machine)),
    )
    return stock, PlacementTable(inventory(*gpus), gpus)


def admit(stock, table, policy, size, seed=0):
    """Return what a pod got from the stand-in, or the reason of its rejection."""
    state = ResourceState(client=Plugin(table, tuple(each.id for each in stock.available)))
    state.receive(
        tuple(
            Device(id=each.id, healthy=each.healthy, numa_nodes=each.numa_nodes)
            for each in stock.devices
        )
    )
    accounts = Accounts()
    held = frozenset(each.id for each in stock.devices) - stock.free
    accounts.add(
        "default/earlier",
        Allocated(
            container="main",
            resource=GPU,
            ids_by_node={0: held},
            allocation=NOTHING,
            response=b"",
        ),
    )
    pod = Pod(name="asked", containers=(Container(name="main", requests={GPU: size}),))
    admission = Admission(
        pod,
        resources={GPU: state},
        accounts=accounts,
        rules=TopologyRules(numa=Numa(nodes=tuple(stock.nodes)), policy=Policy(policy.value)),
        rng=random.Random(seed),
    )
    try:
        asyncio.run(admission.run())
    except AdmissionFailed as failed:
        return failed.reason
    return set(accounts.of_container(pod.uid, "main", GPU).device_ids)


@settings(max_examples=300, deadline=None)
@given(nodes_of_gpus(), st.integers(0, 99))
def test_a_verdict_is_what_becomes_of_the_pod(node, seed):
    stock, table = node

    for policy, found in fit(stock, table).policies.items():
        for outcome in found.outcomes:
            became = admit(stock, table, policy, outcome.size, seed)

            if outcome.verdict is Verdict.ADMITTED:
                assert became == set(outcome.placement.devices)
            elif outcome.verdict is Verdict.REJECTED:
                assert became == TOPOLOGY_AFFINITY_ERROR
            else:
                assert isinstance(became, str)
            if outcome.verdict is Verdict.PENDING:
                assert outcome.size > len(stock.available)


@settings(max_examples=100, deadline=None)
@given(nodes_of_gpus())
def test_never_means_not_even_when_all_are_free_and_healthy(node):
    stock, table = node
    whole = stock.repaired().emptied()

    for policy, found in fit(stock, table).policies.items():
        for outcome in found.outcomes:
            best = admit(whole, table, policy, outcome.size)
            assert isinstance(best, str) == (outcome.verdict is Verdict.NEVER)


@settings(max_examples=100, deadline=None)
@given(nodes_of_gpus())
def test_how_far_a_policy_reaches_is_the_largest_that_is_admitted(node):
    stock, table = node
    sizes = range(1, len(stock.devices) + 1)

    for policy, found in fit(stock, table).policies.items():
        for state, reach in ((stock, found.now), (stock.emptied(), found.empty)):
            admitted = [k for k in sizes if not isinstance(admit(state, table, policy, k), str)]
            assert reach.admitted == max(admitted, default=0)
