"""The stand-in under a plugin that does what ours never would, as seen with a kubelet.

tests/cluster/test_kubelet_registration.py and test_shrinking_lists.py show the same of a kubelet.
"""

import tempfile
from pathlib import Path

import grpc
import pytest
from testbed.plugin import BarePlugin
from testbed.standin import Standin

from deviceplugin.standin import Container, KubeletDied, Pod
from deviceplugin.values import Device


def make_devices(*ids):
    return [Device(id=id_, healthy=True) for id_ in ids]


@pytest.fixture
def standin():
    with tempfile.TemporaryDirectory(prefix="plb-") as folder:
        standin = Standin(Path(folder))
        yield standin
        standin.stop()


@pytest.fixture
def bare(standin):
    made = []

    def make(*ids, resource=None):
        made.append(BarePlugin(standin.folder, resource, make_devices(*ids)).start())
        standin.wait_devices(made[-1].resource, ids)
        return made[-1]

    yield make
    for plugin in made:
        plugin.stop()


def asking(plugin):
    return Pod(name="p", containers=(Container(name="c", requests={plugin.resource: 1}),))


def test_a_device_that_leaves_the_list_during_its_allocate_kills_the_kubelet(standin, bare):
    plugin = bare("d0")
    answer = plugin.allocate

    def shrink(call):
        plugin.list([])
        standin.wait_devices(plugin.resource, [])
        return answer(call)

    plugin.allocate = shrink

    with pytest.raises(KubeletDied, match="d0 of"):
        standin.run(standin.kubelet.admit(asking(plugin)))

    plugin.wait_streams(0)
    with pytest.raises(grpc.RpcError):
        plugin.register(timeout_s=0.2)


def test_an_older_stream_takes_the_newest_along_and_nothing_without_it(standin, bare):
    first = bare("a")
    second = bare("b", resource=first.resource)
    third = bare("c", resource=first.resource)

    first.end_streams()

    third.wait_streams(0)
    assert second.streams == 1
    assert standin.offered(first.resource) == (1, 0)
    # What the one that is left lists is believed; that nobody can be asked shows at a pod.
    second.list(make_devices("d"))
    standin.wait_offered(first.resource, capacity=1, allocatable=1)
    second.end_streams()
    standin.wait_streams(first.resource, 0)
    assert standin.offered(first.resource) == (1, 1)
