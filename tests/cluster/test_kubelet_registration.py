"""How a kubelet takes plugins in and lets them go, seen by a plugin; and the stand-in likewise."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from pathlib import Path

import grpc
import pytest
from testbed.plugin import BarePlugin, wait_healthy
from testbed.standin import Standin

from deviceplugin import names, rpc
from deviceplugin.errors import InvalidResourceName
from deviceplugin.values import Device

OPTIONS, LISTED = rpc.OPTIONS.name, rpc.LIST_AND_WATCH.name


def make_devices(*ids, healthy=True):
    return [Device(id=id_, healthy=healthy) for id_ in ids]


@pytest.fixture
def bare(cluster):
    made = []

    def make(*ids, resource=None):
        made.append(BarePlugin(cluster.node_side.plugin_dir, resource, make_devices(*ids)))
        return made[-1]

    yield make
    for plugin in made:
        plugin.stop()


@pytest.fixture
def standin():
    with tempfile.TemporaryDirectory(prefix="plb-") as folder:
        standin = Standin(Path(folder))
        yield standin
        standin.stop()


@pytest.fixture
def played(standin):
    made = []

    def make(resource, *ids):
        made.append(BarePlugin(standin.folder, resource, make_devices(*ids)))
        return made[-1]

    yield make
    for plugin in made:
        plugin.stop()


def wait_offered(cluster, resource, *, capacity, allocatable):
    """Wait until the node's status says so of a resource."""

    def as_wanted(node):
        told = [part.get(resource) for part in (node.status.capacity, node.status.allocatable)]
        return told == [str(capacity), str(allocatable)]

    why = f"{resource} is not {capacity}, {allocatable} of them allocatable"
    cluster.node.wait(as_wanted, why=why, timeout_s=15)


def test_the_kubelet_dials_back_before_it_answers_and_then_asks_for_the_list(bare):
    plugin = bare("d0")
    plugin.serve()

    plugin.register()

    assert [call.method for call in plugin.calls][:1] == [OPTIONS]
    plugin.wait_streams(1)
    assert [call.method for call in plugin.calls] == [OPTIONS, LISTED]


def test_a_registration_waits_for_a_socket_that_comes_late(cluster, bare):
    plugin = bare("d0")
    registering = threading.Thread(target=plugin.register)
    registering.start()
    cluster.process("kubelet").wait_logged(plugin.resource)

    plugin.serve()

    registering.join()
    wait_healthy(cluster, plugin.resource, ["d0"])


LONG = "x" * 63
NAMES = {
    "plumbline.test/a": True,
    "plumbline.test/A_b.c-9": True,
    f"plumbline.test/{LONG}": True,
    "p/a": True,
    f"{'.'.join([LONG] * 3)}.{'x' * 52}/a": True,
    f"{'.'.join([LONG] * 3)}.{'x' * 53}/a": False,
    f"plumbline.test/{LONG}x": False,
    "plumbline.test/": False,
    "plumbline.test/a-": False,
    "plumbline.test/a/b": False,
    "Plumbline.test/a": False,
    "-plumbline.test/a": False,
    "plumbline..test/a": False,
    "/a": False,
    "a": False,
    "": False,
    "kubernetes.io/a": False,
    "plumbline.kubernetes.io/a": False,
    "requests.plumbline.test/a": False,
}


def is_accepted(plugin, **fields):
    try:
        plugin.register(**fields)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNKNOWN:
            raise
        return False
    return True


def is_valid(resource):
    try:
        names.check_resource_name(resource)
    except InvalidResourceName:
        return False
    return True


def test_the_names_a_kubelet_accepts_are_those_we_take_for_valid(bare, played):
    plugin, plugin_played = bare("d0"), played("plumbline.test/other", "d0")
    plugin.serve()
    plugin_played.serve()

    assert {name: is_accepted(plugin, resource_name=name) for name in NAMES} == NAMES
    assert {name: is_accepted(plugin_played, resource_name=name) for name in NAMES} == NAMES
    assert {name: is_valid(name) for name in NAMES} == NAMES


@pytest.mark.parametrize("version", ["v1beta2", "v1alpha", ""])
def test_a_kubelet_knows_one_version_of_the_api(bare, played, version):
    plugin, plugin_played = bare("d0"), played("plumbline.test/other", "d0")
    plugin.serve()
    plugin_played.serve()

    assert not is_accepted(plugin, version=version)
    assert not is_accepted(plugin_played, version=version)
    assert plugin.calls == plugin_played.calls == []


def test_the_end_of_any_stream_is_the_end_of_the_resource(cluster, standin, bare, played):
    old, new = bare("d0"), None
    old.start()
    wait_healthy(cluster, old.resource, ["d0"])
    new = bare("d1", "d2", resource=old.resource).start()
    wait_healthy(cluster, old.resource, ["d1", "d2"])

    old.end_streams()

    # The newer plugin's own stream is cut off, though nothing is wrong with it.
    new.wait_streams(0)
    wait_offered(cluster, old.resource, capacity=2, allocatable=0)
    new.register()
    wait_healthy(cluster, old.resource, ["d1", "d2"])

    old_played = played(old.resource, "d0").start()
    standin.wait_devices(old.resource, {"d0"})
    new_played = played(old.resource, "d1", "d2").start()
    standin.wait_devices(old.resource, {"d1", "d2"})
    old_played.end_streams()
    new_played.wait_streams(0)
    assert standin.offered(old.resource) == (2, 0)
    new_played.register()
    standin.wait_devices(old.resource, {"d1", "d2"})


def test_a_list_replaces_what_was_listed_on_whichever_stream_it_comes(cluster, bare):
    old = bare("d0").start()
    new = bare("d1", resource=old.resource).start()
    wait_healthy(cluster, old.resource, ["d1"])

    old.list(make_devices("d2", "d3"))

    wait_healthy(cluster, old.resource, ["d2", "d3"])
    new.list(make_devices("d4"))
    wait_healthy(cluster, old.resource, ["d4"])


def test_what_is_listed_is_what_the_node_has(cluster, standin, bare, played):
    plugin = bare().start()
    plugin_played = played(plugin.resource).start()
    # With the capacity and the allocatable that are to come of it.
    lists = [
        (make_devices("a", "b", "c"), (3, 3)),
        ([*make_devices("a"), *make_devices("b", "c", healthy=False)], (3, 1)),
        (make_devices("a", "a", "b"), (2, 2)),
        (make_devices("b", "c", healthy=False), (2, 0)),
        ([], (0, 0)),
        (make_devices("z"), (1, 1)),
    ]
    for devices, (capacity, allocatable) in lists:
        plugin.list(devices)
        plugin_played.list(devices)
        wait_offered(cluster, plugin.resource, capacity=capacity, allocatable=allocatable)
        standin.wait_offered(plugin.resource, capacity=capacity, allocatable=allocatable)

    plugin.end_streams()
    plugin_played.end_streams()

    wait_offered(cluster, plugin.resource, capacity=1, allocatable=0)
    standin.wait_offered(plugin.resource, capacity=1, allocatable=0)


def furnish(folder):
    """Put one of everything into a folder; return the names."""
    (folder / "x-file").write_text("")
    (folder / "x-folder").mkdir()
    (folder / "x-dangling").symlink_to(folder / "x-nowhere")
    (folder / "x-link-to-file").symlink_to(folder / "x-file")
    (folder / "x-link-to-socket").symlink_to(folder / "x.sock")
    os.mkfifo(folder / "x-pipe")
    for path in (folder / "x.sock", folder / "x-folder" / "x.sock"):
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    return {path.name for path in folder.glob("x*")}


def left_in(folder):
    return {path.name for path in folder.glob("x*")}


def tidy(folder):
    (folder / "x-folder" / "x.sock").unlink()
    (folder / "x-folder").rmdir()
    for path in folder.glob("x*"):
        path.unlink()


def test_a_kubelet_that_starts_removes_the_sockets_and_nothing_else(cluster, standin):
    folder = cluster.node_side.plugin_dir
    for each in (folder, standin.folder):
        furnish(each)

    cluster.restart("kubelet")
    standin.run(standin.kubelet.restart())

    expected = {"x-file", "x-folder", "x-dangling", "x-link-to-file", "x-pipe"}
    # A link to a socket that went before it leads nowhere by then, and stays.
    assert left_in(folder) - {"x-link-to-socket"} == expected
    assert left_in(standin.folder) - {"x-link-to-socket"} == expected
    assert (folder / "x-folder" / "x.sock").is_socket()
    tidy(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kubelet_that_ends_leaves_its_socket_and_those_of_plugins(cluster, standin, bare, number):
    plugin = bare("d0").start()
    plugin.wait_streams(1)
    folder = cluster.node_side.plugin_dir

    cluster.stop("kubelet", number)

    plugin.wait_streams(0)
    assert (folder / "kubelet.sock").is_socket()
    assert plugin.socket.is_socket()
    cluster.start("kubelet")
    assert not plugin.socket.exists()
