"""The kubelet stand-in beside the real kubelet: the same plugin, the same pods, the same outcome.

What a kubelet leaves to chance is taken out: the plugin always prefers the last devices.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from testbed.plugin import BarePlugin, wait_healthy
from testbed.pods import container
from testbed.standin import Standin

from deviceplugin import rpc
from deviceplugin.standin import (
    AdmissionFailed,
    Container,
    Numa,
    Pod,
    Policy,
    TopologyRules,
)
from deviceplugin.values import Device

# Every kind of place a device can have: a node, both nodes, none that is known.
PLACES = ((0,), (0,), (0,), (1,), (1,), (1,), (0, 1), ())
SEEDS = range(int(os.environ.get("PLUMBLINE_SEEDS", "1")))


def make_devices(*, broken=()):
    return [
        Device(id=f"d{n}", healthy=f"d{n}" not in broken, numa_nodes=nodes)
        for n, nodes in enumerate(PLACES)
    ]


class Both:
    """A real kubelet and a stand-in, each with a plugin that offers the same."""

    def __init__(self, cluster, folder, rules):
        self.cluster = cluster
        self.standin = Standin(folder, rules)
        self.real = BarePlugin(cluster.node_side.plugin_dir)
        self.played = BarePlugin(self.standin.folder, self.real.resource)
        self.resource = self.real.resource
        self.pods = {}

    def offer(self, devices):
        for plugin in (self.real, self.played):
            plugin.list(devices)
        if not self.real.calls:
            self.real.start()
            self.played.start()
        healthy = {device.id for device in devices if device.healthy}
        wait_healthy(self.cluster, self.resource, healthy)
        self.standin.run(
            self.standin.kubelet.devices(self.resource, lambda known: _healthy(known) == healthy)
        )

    def admit(self, pod):
        """Have both admit a pod; return what both made of it, and what their plugins were asked."""
        marks = len(self.real.calls), len(self.played.calls)
        outcomes = self._admit_real(pod), self._admit_played(pod)
        asked = [c.sorted for c in self.real.calls[marks[0] :]]
        asked_played = [c.sorted for c in self.played.calls[marks[1] :]]
        assert outcomes[0] == outcomes[1], f"{pod}; the plugins were asked {asked}, {asked_played}"
        assert asked == asked_played, pod
        return outcomes[0]

    def remove(self, pod):
        self.pods.pop(pod.name).delete()
        self.standin.run(self.standin.kubelet.remove_pod(pod))

    def end(self):
        self.real.stop()
        self.played.stop()
        self.standin.stop()

    def _admit_real(self, pod):
        made = [
            container(c.name, resources=c.requests, **_as_init(c, pod)) for c in pod.all_containers
        ]
        count = len(pod.init_containers)
        real = self.cluster.pod(
            pod.name, *made[count:], init=made[:count], nodeName=self.cluster.node.name
        )
        settled = real.wait_admitted()
        if settled.status.phase == "Failed":
            return str(settled.status.reason)
        self.pods[pod.name] = real
        return _held(self.cluster.node.pod_resources()[pod.name])

    def _admit_played(self, pod):
        try:
            self.standin.run(self.standin.kubelet.admit(pod))
        except AdmissionFailed as failure:
            return failure.reason
        return _held(self.standin.pod_resources()[pod.name])


def _healthy(devices):
    return {id_ for id_, device in devices.items() if device.healthy}


def _as_init(made, pod):
    if made not in pod.init_containers:
        return {}
    return {"restartPolicy": "Always"} if made.restartable else {"command": ["/bin/true"]}


def _held(pod):
    """Return what PodResources says of a pod, in an order of its own."""
    return [
        (
            each.name,
            sorted(
                (device.resource_name, tuple(device.device_ids), _nodes(device))
                for device in each.devices
            ),
        )
        for each in pod.containers
    ]


def _nodes(device):
    return sorted(node.ID for node in device.topology.nodes)


@pytest.fixture
def both(empty_node):
    """Start both kubelets with a policy."""
    started = []

    def start(policy=Policy.NONE):
        empty_node.configure_kubelet(
            topologyManagerPolicy=str(policy), topologyManagerScope="container"
        )
        folder = Path(tempfile.mkdtemp(prefix="plb-"))
        rules = TopologyRules(numa=Numa(nodes=(0, 1)), policy=policy)
        started.append((Both(empty_node, folder, rules), folder))
        return started[-1][0]

    yield start
    for each, folder in started:
        each.end()
        shutil.rmtree(folder)


def scenario(rng, resource):
    """Return pods as they might come, and which of them are removed after which."""
    steps = []
    for number in range(8):
        first = rng.randint(0, 3)
        init = [
            Container(
                name="before",
                requests={resource: rng.randint(1, max(1, first))},
                restartable=rng.random() < 0.3,
            )
        ]
        requests = [first, *([rng.randint(1, 2)] if rng.random() < 0.3 else [])]
        steps.append(
            Pod(
                name=f"p{number}",
                init_containers=tuple(init) if first and rng.random() < 0.5 else (),
                containers=tuple(
                    Container(name=f"c{n}", requests={resource: count} if count else {})
                    for n, count in enumerate(requests)
                ),
            )
        )
    return steps


@pytest.mark.parametrize("policy", Policy, scope="module")
@pytest.mark.parametrize("seed", SEEDS)
def test_pods_as_they_come_have_the_same_outcome(both, policy, seed):
    both = both(policy)
    rng = random.Random(f"{policy} {seed}")
    both.offer(make_devices())
    admitted = []
    outcomes = []
    for pod in scenario(rng, both.resource):
        outcomes.append(both.admit(pod))
        if isinstance(outcomes[-1], list):
            admitted.append(pod)
        if len(admitted) > 2:
            both.remove(admitted.pop(rng.randrange(3)))
            both.offer(make_devices(broken={f"d{rng.randrange(len(PLACES))}"}))

    # A scenario in which nothing happens would prove nothing.
    assert any(held for outcome in outcomes if isinstance(outcome, list) for _, held in outcome)
    assert both.real.count(rpc.ALLOCATE) == both.played.count(rpc.ALLOCATE) > 2
