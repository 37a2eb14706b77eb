"""MIG instances in CDI specifications: their names, and what these open."""

import dataclasses

from builders import gpu
from divided import divided
from msgspec.structs import replace

from agent.planning.cdi import Surroundings, cdi_gpus, gpu_spec, is_stale
from tests.unit.cdi_rules import violations


def spec(*gpus, departed=()):
    document = gpu_spec(cdi_gpus(gpus), Surroundings(), departed=cdi_gpus(departed))
    assert violations(document) == []
    return document


def nodes_of(document, name):
    (device,) = (each for each in document["devices"] if each["name"] == name)
    return [node["path"] for node in device["containerEdits"]["deviceNodes"]]


def names(document):
    return {device["name"] for device in document["devices"]}


def test_an_instance_is_opened_by_its_gpu_and_both_capability_nodes():
    document = spec(divided(0, "1g.10gb", ("3g.40gb", 4, (1, 2))), gpu(1))

    caps = "/dev/nvidia-caps/nvidia-cap"
    second = ["/dev/nvidia0", f"{caps}02", f"{caps}021"]
    assert nodes_of(document, "MIG-0-2-1") == nodes_of(document, "0:11") == second
    assert nodes_of(document, "GPU-0") == nodes_of(document, "0") == ["/dev/nvidia0"]
    assert {*second, f"{caps}01", "/dev/nvidia1"} <= set(nodes_of(document, "all"))


def test_only_instances_with_graphics_get_graphics_nodes():
    card = divided(0, "1g.24gb", "1g.24gb+gfx", board="RTX", drm_nodes=("/dev/dri/card0",))

    document = spec(card)

    assert "/dev/dri/card0" not in nodes_of(document, "MIG-0-1-0")
    assert "/dev/dri/card0" in nodes_of(document, "MIG-0-2-0")


def test_an_instance_without_a_capability_node_has_no_name():
    closed = divided(0, "1g.10gb")
    hidden = tuple(
        dataclasses.replace(each, access_node=None) for each in closed.partition.instances
    )

    document = spec(replace(closed, partition=replace(closed.partition, instances=hidden)))

    assert names(document) == {"GPU-0", "0", "all"}


def test_instances_of_a_gpu_that_is_silent_keep_their_names():
    document = spec(gpu(1), departed=[divided(0, "1g.10gb")])

    assert {"MIG-0-1-0", "GPU-0", "0:0"} <= names(document)
    assert nodes_of(document, "all") == ["/dev/nvidia1"]


def test_instances_tell_whether_a_file_is_of_this_node():
    here = [divided(0, "1g.10gb")]

    assert not is_stale(["MIG-0-1-0", "all"], here)
    assert is_stale(["MIG-9-1-0", "0:0", "all"], here)
