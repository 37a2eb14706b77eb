import json

import pytest

from deviceplugin import wire
from deviceplugin.standin.accounts import Accounts, read_checkpoint, write_checkpoint
from deviceplugin.standin.pods import NO_NODE, Allocated
from deviceplugin.values import ContainerAllocation

ALLOCATION = ContainerAllocation(envs={"K": "V"}, cdi_devices=("v/c=a",))
(RESPONSE,) = wire.allocate_answer([ALLOCATION]).container_responses


def allocated(container, resource, ids_by_node):
    return Allocated(
        container=container,
        resource=resource,
        ids_by_node={node: frozenset(ids) for node, ids in ids_by_node.items()},
        allocation=ALLOCATION,
        response=RESPONSE.SerializeToString(),
    )


def test_a_checkpoint_brings_back_what_was_written(tmp_path):
    path = tmp_path / "checkpoint"
    accounts = Accounts()
    held = allocated("main", "v/gpu", {0: "ab", NO_NODE: "c"})
    accounts.add("ns/pod", held)

    write_checkpoint(path, accounts, {"v/gpu": {"b", "a"}, "v/nic": set()})
    read, resources = read_checkpoint(path)

    assert list(read) == [("ns/pod", held)]
    assert read.allocated("v/gpu") == {"a", "b", "c"}
    assert resources == {"v/gpu", "v/nic"}


def test_a_checkpoint_is_laid_out_as_the_kubelets(tmp_path):
    path = tmp_path / "checkpoint"
    accounts = Accounts()
    accounts.add("u-1", allocated("main", "v/gpu", {1: "ba", NO_NODE: "c"}))

    write_checkpoint(path, accounts, {"v/gpu": ["b", "a"]})

    document = json.loads(path.read_text())
    (entry,) = document["Data"]["PodDeviceEntries"]
    assert entry["PodUID"] == "u-1"
    assert entry["ContainerName"] == "main"
    assert entry["ResourceName"] == "v/gpu"
    assert entry["DeviceIDs"] == {"-1": ["c"], "1": ["a", "b"]}
    assert document["Data"]["RegisteredDevices"] == {"v/gpu": ["a", "b"]}


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "checkpoint"
    write_checkpoint(path, Accounts(), {"v/gpu": ["a"]})
    path.write_text(path.read_text().replace("v/gpu", "v/cpu"))

    with pytest.raises(ValueError, match=r"checkpoint .* is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", "null", '{"Data": {}}'])
def test_what_is_no_checkpoint_is_refused(tmp_path, text):
    path = tmp_path / "checkpoint"
    path.write_text(text)

    with pytest.raises(ValueError, match=r"checkpoint .* is damaged|JSON|Expecting"):
        read_checkpoint(path)


def test_no_checkpoint_is_an_empty_one(tmp_path):
    accounts, resources = read_checkpoint(tmp_path / "none")

    assert (list(accounts), resources) == ([], set())


def test_a_removed_pod_holds_nothing():
    accounts = Accounts()
    accounts.add("one", allocated("c", "v/gpu", {0: "a"}))
    accounts.add("two", allocated("c", "v/gpu", {0: "b"}))

    accounts.remove("one")
    accounts.remove("never there")

    assert accounts.allocated("v/gpu") == {"b"}
