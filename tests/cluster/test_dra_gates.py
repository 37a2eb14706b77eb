"""Claims where the feature gates are off that more than whole GPUs need."""

import signal

import pytest
from test_dra import PATIENCE_S, claims, gpu_nodes
from testbed.cluster import booted

__all__ = ["claims"]  # a fixture

GATES = ("DRAConsumableCapacity", "DRADeviceTaints", "DRAPartitionableDevices")


@pytest.fixture(scope="module")
def second(built):
    """Another node, whose API server drops what it is told and says nothing."""
    with booted(built, feature_gates=dict.fromkeys(GATES, False)) as cluster:
        yield cluster


@pytest.fixture
def cluster(second):
    yield second
    second.clean()


def cut(cluster):
    """What the agent that runs has said of slices that were cut."""
    events = cluster.agent.events()
    began = max(i for i, each in enumerate(events) if each["event"] == "starting")
    return [each for each in events[began:] if each["event"] == "slices_cut"]


@pytest.mark.parametrize(
    ("claims", "gates"),
    [
        ({"mig": "dynamic", "cells": ["pair"]}, {"DRAPartitionableDevices"}),
        ({"shares": 4}, {"DRAConsumableCapacity"}),
    ],
    indirect=["claims"],
)
def test_whole_gpus_are_claimed_and_the_rest_is_missed_once(cluster, claims, gates):
    claims.wait_devices(8)
    assert [set(each["gates"]) for each in cut(cluster)] == [gates]
    claims.claim("two", 2)
    pod = claims.pod("user", "two").wait_running(timeout_s=PATIENCE_S)
    assert pod.inside().gpus == gpu_nodes(cluster, claims.allocated("two"))

    # What was cut is not sent again with every change.
    before = claims.slices()
    pod.delete()
    claims.wait_none_left()
    claims.wait_devices(8)
    assert len(cut(cluster)) == 1
    assert len(claims.slices()) == len(before)


def test_a_gpu_that_is_ill_is_left_out_where_it_cannot_be_tainted(cluster, claims):
    uuid = cluster.machine.uuids[3]
    cluster.machine.xid(uuid, 79)
    claims.wait_devices(7)
    assert uuid.lower() not in {each["name"] for each in claims.devices()}

    # And offered again when somebody says that it is mended.
    cluster.agent.process.send(signal.SIGHUP)
    claims.wait_devices(8)
