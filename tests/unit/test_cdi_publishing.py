"""Which CDI files there are after a look: names that running pods hold keep resolving."""

import json
import logging

import pytest
from msgspec.structs import replace

from agent.config.flags import resolve
from agent.discovery.device_nodes import DeviceNodes
from agent.model.errors import ConfigError
from agent.model.inventory import FeatureNodes, UnavailableGpu
from agent.model.machine import Machine
from agent.planning.health import Health
from agent.planning.snapshot import build_snapshot
from agent.serving.cdi import publish_specs
from tests.support.builders import gpu, inventory

KIND = "k8s.device-plugin.nvidia.com"
CDI = ("--device-list-strategy=cdi-cri",)
FEATURES = FeatureNodes(
    gds=("/dev/nvidia-fs0", "/dev/nvidia-fs1"),
    mofed=("/dev/infiniband/uverbs0", "/dev/infiniband/rdma_cm"),
    gdrcopy=("/dev/gdrdrv",),
)


class Node:
    """A machine whose looks are published one after the other, by one agent or its successor."""

    def __init__(self, root):
        self.machine = Machine.simulated(root)
        self.folder = root / "var/run/cdi"
        self.snapshot = None

    def look(self, *gpus, argv=CDI, **facts):
        config = resolve(argv, {}).config
        health = self.snapshot.health if self.snapshot else Health()
        self.snapshot = build_snapshot(
            config, inventory(*gpus, **facts), health, previous=self.snapshot
        )
        publish_specs(self.machine, self.snapshot)

    def restart(self):
        self.snapshot = None

    def put(self, cdi_class, document):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{KIND}-{cdi_class}.json").write_text(json.dumps(document))

    def nodes(self, cdi_class="gpu"):
        """What each name opens; None when there is no file."""
        file = self.folder / f"{KIND}-{cdi_class}.json"
        if not file.exists():
            return None
        return {
            device["name"]: [n["path"] for n in device["containerEdits"]["deviceNodes"]]
            for device in json.loads(file.read_text())["devices"]
        }


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


@pytest.fixture
def logged(caplog, monkeypatch):
    """Return the records so far, whatever an earlier test configured."""
    logger = logging.getLogger("plumbline")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.INFO)
    return lambda: caplog.records


@pytest.mark.parametrize("naming", ["uuid", "index"])
def test_both_names_are_written_under_either_strategy(node, naming):
    node.look(gpu(0), gpu(1), argv=(*CDI, f"--device-id-strategy={naming}"))

    assert set(node.nodes()) == {"GPU-0", "GPU-1", "0", "1", "all"}


def test_without_cdi_nothing_is_written(node):
    node.look(gpu(0), argv=("--mofed-enabled",), feature_nodes=FEATURES)

    assert not node.folder.exists()


def test_a_departed_gpu_keeps_its_names(node):
    node.look(gpu(0), gpu(1))
    node.look(gpu(0))

    assert node.nodes()["GPU-1"] == node.nodes()["1"] == ["/dev/nvidia1"]
    assert node.nodes()["all"] == ["/dev/nvidia0"]


def test_after_a_new_enumeration_an_index_is_of_the_gpu_that_answers(node):
    node.look(gpu(0), gpu(1), gpu(2))
    node.look(gpu(0), gpu(1, uuid="GPU-2", minor=2))

    names = node.nodes()
    assert names["1"] == names["GPU-2"] == ["/dev/nvidia2"]
    assert names["GPU-1"] == ["/dev/nvidia1"]


@pytest.mark.parametrize("argv", [CDI, ()])
def test_names_stay_when_no_gpu_answers_after_a_restart(node, argv):
    node.look(gpu(0), gpu(1))
    before = node.nodes()

    node.restart()
    node.look(argv=argv)

    assert node.nodes() == before


@pytest.mark.parametrize("restarted", [False, True])
def test_a_strategy_without_cdi_keeps_names_and_maintains_the_file(node, restarted):
    node.look(gpu(0), gpu(1))
    if restarted:
        node.restart()
    node.look(gpu(0, minor=4), gpu(1), gpu(2), argv=())

    names = node.nodes()
    assert names["GPU-0"] == ["/dev/nvidia4"]
    assert names["GPU-2"] == ["/dev/nvidia2"]


def test_without_cdi_a_file_that_brings_driver_libraries_is_left_alone(node):
    mount = {"hostPath": "/lib/libcuda.so", "containerPath": "/lib/libcuda.so"}
    theirs = {
        "cdiVersion": "0.5.0",
        "kind": f"{KIND}/gpu",
        "devices": [
            {"name": "GPU-0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia9"}]}}
        ],
        "containerEdits": {"mounts": [mount]},
    }
    node.put("gpu", theirs)
    node.look(gpu(0), argv=())
    node.look(gpu(1, minor=1), argv=())

    assert node.nodes() == {"GPU-0": ["/dev/nvidia9"]}


def test_a_file_with_indices_only_gets_uuids_too(node):
    node.put("gpu", {"kind": f"{KIND}/gpu", "devices": [{"name": "0"}, {"name": "all"}]})

    node.look(gpu(0), argv=())

    assert set(node.nodes()) == {"GPU-0", "0", "all"}


def test_a_file_of_other_gpus_only_goes_where_nothing_needs_it(node):
    node.look(gpu(8), gpu(9))
    node.restart()
    silent = UnavailableGpu(index=1, uuid=None, address=None, reason="GPU is lost")

    node.look(gpu(0), unavailable=(silent,), argv=())
    assert node.nodes() is not None

    node.look(gpu(8), argv=())
    assert "GPU-8" in node.nodes()

    node.put("gpu", {"kind": f"{KIND}/gpu", "devices": [{"name": "GPU-9"}, {"name": "0"}]})
    node.restart()
    node.look(gpu(0), argv=())
    assert node.nodes() is None


def test_a_departed_gpu_is_no_stranger(node):
    node.look(gpu(1))
    node.look(gpu(0), argv=())

    assert node.nodes()["GPU-1"] == ["/dev/nvidia1"]


def test_without_cdi_a_file_that_cannot_be_written_harms_nothing(node, logged):
    (node.folder / f"{KIND}-gpu.json").mkdir(parents=True)

    node.look(gpu(0), argv=())

    assert "cdi_not_maintained" in [r.message for r in logged()]
    with pytest.raises(ConfigError, match="cannot write CDI specifications"):
        node.look(gpu(0))


def test_a_gpu_that_cannot_be_given_is_told_with_the_reason(node, logged):
    node.look(gpu(0, minor=None), gpu(1), argv=("--pass-device-specs",))

    [record] = [r for r in logged() if r.message == "gpu_cannot_be_given"]
    assert record.facts["gpu"] == "GPU-0"
    assert "no minor number" in record.facts["reason"]


def test_another_folder_is_written_and_the_first_one_stays(node):
    node.look(gpu(0))
    node.look(gpu(0), argv=(*CDI, "--cdi-spec-dir=/etc/cdi"))

    assert set(node.nodes()) == {"GPU-0", "0", "all"}
    node.folder = node.machine.path("/etc/cdi")
    assert set(node.nodes()) == {"GPU-0", "0", "all"}


def test_each_feature_has_a_file_while_it_is_enabled(node):
    argv = (*CDI, "--mofed-enabled", "--gds-enabled", "--dev-root=/host")
    node.look(gpu(0), argv=argv, feature_nodes=FEATURES)

    assert node.nodes("mofed") == {"all": list(FEATURES.mofed)}
    assert node.nodes("gds") == {"all": list(FEATURES.gds)}
    assert node.nodes("gdrcopy") is None
    mofed = json.loads((node.folder / f"{KIND}-mofed.json").read_text())
    [edits] = [device["containerEdits"] for device in mofed["devices"]]
    assert edits["deviceNodes"][0]["hostPath"] == "/host/dev/infiniband/uverbs0"


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        (CDI, FEATURES),
        ((), FEATURES),
        ((*CDI, "--mofed-enabled"), FeatureNodes()),
    ],
)
def test_a_feature_that_is_no_longer_there_keeps_its_file(node, argv, found):
    node.look(gpu(0), argv=(*CDI, "--mofed-enabled"), feature_nodes=FEATURES)
    node.look(gpu(0), argv=argv, feature_nodes=found)

    assert node.nodes("mofed") == {"all": list(FEATURES.mofed)}


def test_a_features_file_follows_the_node_without_cdi(node):
    node.look(gpu(0), argv=(*CDI, "--gds-enabled"), feature_nodes=FEATURES)
    fewer = replace(FEATURES, gds=("/dev/nvidia-fs1",))
    node.look(gpu(0), argv=("--gds-enabled",), feature_nodes=fewer)

    assert node.nodes("gds") == {"all": ["/dev/nvidia-fs1"]}


def test_the_nodes_of_features_are_found_in_their_order_below_the_device_root(tmp_path):
    for path in (
        *(f"dev/nvidia-fs{i}" for i in (0, 10, 2)),
        "dev/gdrdrv",
        *(f"dev/infiniband/{name}" for name in ("uverbs11", "uverbs2", "umad0", "rdma_cm")),
    ):
        file = tmp_path / "driver" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "driver/dev/nvidia-fs-stats").mkdir()
    machine = Machine.simulated(tmp_path)

    assert DeviceNodes(machine, "/driver").feature_nodes() == FeatureNodes(
        gds=("/dev/nvidia-fs0", "/dev/nvidia-fs2", "/dev/nvidia-fs10"),
        mofed=(
            "/dev/infiniband/uverbs2",
            "/dev/infiniband/uverbs11",
            "/dev/infiniband/rdma_cm",
        ),
        gdrcopy=("/dev/gdrdrv",),
    )
    assert DeviceNodes(machine, "/").feature_nodes() == FeatureNodes()
