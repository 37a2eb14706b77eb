"""CDI documents: what is in them, and that every one obeys the published rules."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.errors import HardwareError
from agent.model.inventory import FeatureNodes
from agent.planning.cdi import (
    CdiClass,
    CdiGpu,
    Hook,
    HookName,
    Mount,
    Root,
    Surroundings,
    cdi_gpu,
    device_name,
    encode,
    feature_nodes,
    file_name,
    gpu_spec,
    is_stale,
    node_spec,
    qualified_name,
)
from tests.support.builders import gpu
from tests.unit.cdi_rules import needed_version, violations

PLAIN = Surroundings(control_nodes=("/dev/nvidiactl", "/dev/nvidia-uvm"))


def part(number, *nodes):
    return CdiGpu(uuid=f"GPU-{number}", index=str(number), nodes=nodes or (f"/dev/nvidia{number}",))


def nodes_of(document, name):
    [device] = [d for d in document["devices"] if d["name"] == name]
    return [node["path"] for node in device["containerEdits"]["deviceNodes"]]


def test_the_document_of_two_gpus():
    document = gpu_spec([part(0), part(1, "/dev/nvidia1", "/dev/dri/card1")], PLAIN)

    assert document == {
        "cdiVersion": "0.5.0",
        "kind": "k8s.device-plugin.nvidia.com/gpu",
        "devices": [
            {
                "name": "GPU-0",
                "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "permissions": "rw"}]},
            },
            {
                "name": "GPU-1",
                "containerEdits": {
                    "deviceNodes": [
                        {"path": "/dev/nvidia1", "permissions": "rw"},
                        {"path": "/dev/dri/card1", "permissions": "rw"},
                    ]
                },
            },
            {
                "name": "0",
                "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "permissions": "rw"}]},
            },
            {
                "name": "1",
                "containerEdits": {
                    "deviceNodes": [
                        {"path": "/dev/nvidia1", "permissions": "rw"},
                        {"path": "/dev/dri/card1", "permissions": "rw"},
                    ]
                },
            },
            {
                "name": "all",
                "containerEdits": {
                    "deviceNodes": [
                        {"path": "/dev/nvidia0", "permissions": "rw"},
                        {"path": "/dev/nvidia1", "permissions": "rw"},
                        {"path": "/dev/dri/card1", "permissions": "rw"},
                    ]
                },
            },
        ],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void"],
            "deviceNodes": [
                {"path": "/dev/nvidia-uvm", "permissions": "rw"},
                {"path": "/dev/nvidiactl", "permissions": "rw"},
            ],
        },
    }


def names_of(document):
    return [device["name"] for device in document["devices"]]


def test_every_gpu_has_both_its_names():
    assert names_of(gpu_spec([part(0), part(1)], PLAIN)) == ["GPU-0", "GPU-1", "0", "1", "all"]


def test_gpus_stand_in_the_order_of_their_numbers():
    names = names_of(gpu_spec([part(10), part(9), part(2)], PLAIN))

    assert names == ["GPU-2", "GPU-9", "GPU-10", "2", "9", "10", "all"]


def test_a_departed_gpu_keeps_its_names_and_is_not_among_all():
    document = gpu_spec([part(0)], PLAIN, departed=[part(1)])

    assert names_of(document) == ["GPU-0", "GPU-1", "0", "1", "all"]
    assert nodes_of(document, "GPU-1") == nodes_of(document, "1") == ["/dev/nvidia1"]
    assert nodes_of(document, "all") == ["/dev/nvidia0"]
    assert violations(document) == []


def test_gpus_that_have_all_departed_keep_their_names():
    document = gpu_spec([], PLAIN, departed=[part(1), part(0)])

    assert sorted(names_of(document)) == ["0", "1", "GPU-0", "GPU-1", "all"]
    assert nodes_of(document, "all") == ["/dev/nvidia1", "/dev/nvidia0"]


def test_an_index_is_of_the_gpu_that_answers_then_of_the_one_that_departed_last():
    def numbered(name, index):
        return CdiGpu(uuid=f"GPU-{name}", index=str(index), nodes=(f"/dev/nvidia-{name}",))

    document = gpu_spec(
        [numbered("a", 0), numbered("c", 1)],
        PLAIN,
        departed=[numbered("d", 2), numbered("b", 1), numbered("x", 2)],
    )

    assert sorted(names_of(document)) == sorted(
        ["GPU-a", "GPU-b", "GPU-c", "GPU-d", "GPU-x", "0", "1", "2", "all"]
    )
    assert nodes_of(document, "1") == ["/dev/nvidia-c"]
    assert nodes_of(document, "2") == ["/dev/nvidia-d"]
    assert nodes_of(document, "GPU-b") == ["/dev/nvidia-b"]


def test_the_name_of_a_departed_gpu_never_opens_the_gpu_that_has_its_node_now():
    before = CdiGpu(uuid="GPU-old", index="1", nodes=("/dev/nvidia0", "/dev/dri/card7"))

    document = gpu_spec([part(0)], PLAIN, departed=[before])

    assert names_of(document) == ["GPU-0", "0", "all"]


def test_a_specification_is_stale_when_it_names_other_gpus_only():
    here = [gpu(0), gpu(1)]

    assert is_stale(["GPU-8", "GPU-9", "0", "1", "all"], here)
    assert not is_stale(["GPU-8", "GPU-1", "all"], here)
    assert not is_stale(["0", "1", "all"], here)
    assert is_stale(["7"], here)


def test_classes_beside_gpu_are_those_the_node_has_nodes_of():
    found = FeatureNodes(mofed=("/dev/infiniband/uverbs0",), gdrcopy=("/dev/gdrdrv",))

    assert feature_nodes(found) == {
        CdiClass.MOFED: ("/dev/infiniband/uverbs0",),
        CdiClass.GDRCOPY: ("/dev/gdrdrv",),
    }


def test_paths_of_the_host_are_named_where_they_differ():
    surroundings = Surroundings(
        control_nodes=("/driver-root/dev/nvidiactl",),
        dev_root=Root(agent="/driver-root", host="/run/nvidia/driver"),
        driver_root=Root(agent="/driver-root", host="/run/nvidia/driver"),
        mounts=(Mount(path="/driver-root/usr/lib64/libcuda.so.1"),),
    )

    document = gpu_spec([part(0, "/driver-root/dev/nvidia0")], surroundings)

    assert document["cdiVersion"] == "0.5.0"
    assert document["devices"][0]["containerEdits"]["deviceNodes"] == [
        {
            "path": "/dev/nvidia0",
            "hostPath": "/run/nvidia/driver/dev/nvidia0",
            "permissions": "rw",
        }
    ]
    assert document["containerEdits"]["mounts"][0]["hostPath"] == (
        "/run/nvidia/driver/usr/lib64/libcuda.so.1"
    )
    assert document["containerEdits"]["mounts"][0]["containerPath"] == "/usr/lib64/libcuda.so.1"


@pytest.mark.parametrize(
    ("root", "path", "inside", "host"),
    [
        (Root(), "/dev/nvidia0", "/dev/nvidia0", "/dev/nvidia0"),
        (Root(agent="/d", host="/h"), "/d/dev/x", "/dev/x", "/h/dev/x"),
        (Root(agent="/d/", host="/h/"), "/d/dev/x", "/dev/x", "/h/dev/x"),
        (Root(agent="/d", host="/"), "/d/dev/x", "/dev/x", "/dev/x"),
        (Root(agent="/d", host="/h"), "/dev/x", "/dev/x", "/h/dev/x"),
        (Root(agent="/de", host="/h"), "/dev/x", "/dev/x", "/h/dev/x"),
    ],
)
def test_a_root_is_exchanged_whole(root, path, inside, host):
    assert (root.inside(path), root.on_host(path)) == (inside, host)


def test_hooks_and_mounts_come_as_they_were_given():
    surroundings = Surroundings(
        mounts=(Mount(path="/lib/b"), Mount(path="/lib/a", options=("ro",)), Mount(path="/lib/b")),
        hooks=(
            Hook(
                name=HookName.CREATE_CONTAINER,
                path="/usr/bin/nvidia-ctk",
                args=("nvidia-ctk", "hook", "update-ldcache"),
                env=("A=b",),
            ),
            Hook(name=HookName.POSTSTOP, path="/bin/true"),
        ),
    )

    edits = gpu_spec([part(0)], surroundings)["containerEdits"]

    assert [mount["hostPath"] for mount in edits["mounts"]] == ["/lib/a", "/lib/b"]
    assert edits["hooks"] == [
        {
            "hookName": "createContainer",
            "path": "/usr/bin/nvidia-ctk",
            "args": ["nvidia-ctk", "hook", "update-ldcache"],
            "env": ["A=b"],
        },
        {"hookName": "poststop", "path": "/bin/true"},
    ]


def test_without_gpus_there_is_no_document():
    assert gpu_spec([], PLAIN) is None


def test_two_gpus_of_one_name_are_refused():
    twin = CdiGpu(uuid="GPU-0", index="1", nodes=("/dev/nvidia1",))

    with pytest.raises(HardwareError, match="two GPUs are named GPU-0"):
        gpu_spec([part(0), twin], PLAIN)


def test_a_shared_node_is_listed_once_under_all():
    document = gpu_spec(
        [part(0, "/dev/nvidia0", "/dev/caps1"), part(1, "/dev/nvidia0", "/dev/caps2")],
        PLAIN,
    )

    assert nodes_of(document, "all") == ["/dev/nvidia0", "/dev/caps1", "/dev/caps2"]


def test_a_gpu_without_a_device_node_is_not_offered():
    assert cdi_gpu(gpu(3, minor=None)) is None
    assert cdi_gpu(gpu(3, minor=7, drm_nodes=("/dev/dri/card0",))) == CdiGpu(
        uuid="GPU-3", index="3", nodes=("/dev/nvidia7", "/dev/dri/card0")
    )


def test_other_classes_are_one_device_of_some_nodes():
    document = node_spec(CdiClass.GDRCOPY, ["/dev/gdrdrv"], Surroundings())

    assert violations(document) == []
    assert document["kind"] == "k8s.device-plugin.nvidia.com/gdrcopy"
    assert nodes_of(document, "all") == ["/dev/gdrdrv"]
    assert node_spec(CdiClass.GDS, [], Surroundings()) is None
    with_mount = node_spec(CdiClass.GDS, [], Surroundings(mounts=(Mount(path="/etc/cufile.json"),)))
    assert violations(with_mount) == []


def test_names_of_files_and_devices():
    assert file_name(CdiClass.GPU) == "k8s.device-plugin.nvidia.com-gpu.json"
    assert qualified_name(CdiClass.GPU, "GPU-0") == "k8s.device-plugin.nvidia.com/gpu=GPU-0"
    assert device_name("MIG-GPU-1/3/0") == "MIG-GPU-1_3_0"
    assert device_name("-a b-") == "a_b"
    with pytest.raises(HardwareError, match="'//'"):
        device_name("//")


def test_the_judge_finds_fault():
    good = gpu_spec([part(0)], PLAIN)

    assert violations(good) == []
    assert violations({**good, "cdiVersion": "0.3.0"})
    assert violations({**good, "devices": []})
    assert violations({**good, "kind": "gpu"})
    assert violations({**good, "extra": 1})
    assert violations({**good, "devices": [*good["devices"], good["devices"][0]]})


printable = st.text(string.printable, min_size=1, max_size=12)
device_paths = st.text(string.ascii_letters + "-/0123456789", min_size=1).map("/dev/".__add__)
roots = st.builds(
    Root,
    agent=st.sampled_from(["/", "/driver-root", "/driver-root/"]),
    host=st.sampled_from(["/", "/run/nvidia/driver"]),
)
gpus = st.lists(
    st.builds(
        CdiGpu,
        uuid=st.uuids().map(lambda u: f"GPU-{u}"),
        index=st.integers(0, 99).map(str)
        | st.tuples(st.integers(0, 9), st.integers(0, 6)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
        nodes=st.lists(device_paths, min_size=1, max_size=3).map(tuple),
    ),
    max_size=5,
    unique_by=(lambda g: g.uuid, lambda g: g.index),
)
surroundings = st.builds(
    Surroundings,
    control_nodes=st.lists(
        st.sampled_from(["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-modeset"]), unique=True
    ).map(tuple),
    dev_root=roots,
    driver_root=roots,
    mounts=st.lists(st.builds(Mount, path=device_paths), max_size=3).map(tuple),
    hooks=st.lists(
        st.builds(
            Hook,
            name=st.sampled_from(HookName),
            path=st.just("/usr/bin/nvidia-ctk"),
            args=st.lists(printable, max_size=2).map(tuple),
        ),
        max_size=2,
    ).map(tuple),
)


@given(gpus, gpus, surroundings, st.randoms())
def test_every_document_obeys_the_rules_whatever_order_the_gpus_come_in(some, gone, around, random):
    document = gpu_spec(some, around, departed=gone)
    shuffled = list(some)
    random.shuffle(shuffled)

    if some:
        assert document is not None
    if document is not None:
        assert violations(document) == []
        assert document["cdiVersion"] == ".".join(map(str, needed_version(document)))
        assert encode(gpu_spec(shuffled, around, departed=gone)) == encode(document)
        assert json.loads(encode(document)) == document
        assert {gpu.uuid for gpu in some} | {gpu.index for gpu in some} <= set(names_of(document))


@given(printable)
def test_any_name_is_made_one_that_cdi_allows(text):
    try:
        name = device_name(text)
    except HardwareError:
        assert not any(c in string.ascii_letters + string.digits for c in text)
    else:
        document = gpu_spec([part(0)], PLAIN)
        document["devices"] = [{**document["devices"][0], "name": name}]
        assert violations(document) == []
        assert device_name(name) == name
