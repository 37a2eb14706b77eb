"""What the containers of a claim are told about its devices, in files (KEP-5304)."""

import json
import shutil
from pathlib import Path

import pytest
from builders import gpu
from claim_bench import GPU_DRIVER, GpuClaimBench, idle_node, result

from agent.model.errors import HardwareError
from agent.planning.dra_devices import Version
from agent.serving.claim_metadata import ClaimMetadata

FOLDER = "/var/run/kubernetes.io/dra-device-attributes"
ATTRIBUTES = {
    "type": "gpu",
    "gpuIndex": 1,
    "divided": False,
    "driverVersion": Version("580.65.6"),
}


class Bench(GpuClaimBench):
    """Claims on a node of three GPUs."""

    def __init__(self, folder):
        self.wanted = True
        super().__init__(folder, idle_node(*(gpu(i) for i in range(3))))

    def files(self, offers):
        self.metadata = ClaimMetadata(
            self.folder / "metadata",
            GPU_DRIVER,
            wanted=lambda: self.wanted,
            attributes=lambda _: ATTRIBUTES,
            in_thread=self.in_thread,
        )
        return (self.metadata, *super().files(offers))

    def mounts(self, uid):
        """Which files of the host a claim's devices mount, by their paths in the container."""
        return {
            name: {each["containerPath"]: Path(each["hostPath"]) for each in edits["mounts"]}
            for name, edits in self.edits(uid).items()
        }

    @property
    def written(self):
        return sorted(each for each in (self.folder / "metadata").rglob("*") if each.is_file())


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def documents(path):
    """The documents of a stream."""
    text, decoder, found = path.read_text(), json.JSONDecoder(), []
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        found.append(document)
        text = text.lstrip()[end:]
    return found


async def test_each_request_of_a_claim_has_a_file_that_its_devices_mount(bench):
    ref = bench.ref("u1", result("gpu-0", "a"), result("gpu-1", "a"), result("gpu-2", "b/large"))
    await bench.prepared(ref)

    of_a = f"{FOLDER}/resourceclaims/c-u1/a/gpu.nvidia.com-metadata.json"
    of_b = f"{FOLDER}/resourceclaims/c-u1/b/gpu.nvidia.com-metadata.json"
    mounts = bench.mounts("u1")
    assert {name: list(paths) for name, paths in mounts.items()} == {
        "u1-gpu-0": [of_a],
        "u1-gpu-1": [of_a],
        "u1-gpu-2": [of_b],
    }
    (edit,) = bench.edits("u1")["u1-gpu-0"]["mounts"]
    assert edit["options"] == ["ro", "nosuid", "nodev", "rbind"]

    newest, oldest = documents(mounts["u1-gpu-2"][of_b])
    assert newest == {
        "kind": "DeviceMetadata",
        "apiVersion": "metadata.resource.k8s.io/v1beta1",
        "metadata": {"name": "c-u1", "namespace": "default", "uid": "u1", "generation": 1},
        "requests": [
            {
                "name": "b/large",
                "devices": [
                    {
                        "driver": "gpu.nvidia.com",
                        "pool": "node-1",
                        "name": "gpu-2",
                        "attributes": {
                            "type": {"string": "gpu"},
                            "gpuIndex": {"int": 1},
                            "divided": {"bool": False},
                            "driverVersion": {"version": "580.65.6"},
                            "uuid": {"string": "GPU-2"},
                        },
                    }
                ],
            }
        ],
    }
    assert oldest == {**newest, "apiVersion": "metadata.resource.k8s.io/v1alpha1"}
    (both,) = documents(mounts["u1-gpu-0"][of_a])[0]["requests"]
    assert [each["name"] for each in both["devices"]] == ["gpu-0", "gpu-1"]


async def test_a_claim_of_a_template_is_found_by_what_the_pod_calls_it(bench):
    annotations = {"resource.kubernetes.io/pod-claim-name": "my-gpus"}
    await bench.prepared(bench.ref("u1", result("gpu-0"), annotations=annotations))

    (mounted,) = bench.mounts("u1").values()
    ((inside, host),) = mounted.items()
    assert inside == f"{FOLDER}/resourceclaimtemplates/my-gpus/r/gpu.nvidia.com-metadata.json"
    assert documents(host)[0]["podClaimName"] == "my-gpus"


async def test_the_files_are_there_as_long_as_the_claim_is_prepared(bench):
    ref = bench.ref("u1", result("gpu-0"))
    await bench.prepared(ref)
    (path,) = bench.written
    content = path.read_text()

    # Also where somebody takes them away, and for the next agent.
    shutil.rmtree(bench.folder / "metadata")
    bench.wanted = False
    bench.start()
    await bench.claims.load()
    await bench.prepared(ref)
    assert path.read_text() == content

    await bench.unprepare("u1")
    assert list((bench.folder / "metadata").iterdir()) == []
    await bench.unprepare("u1")


async def test_a_later_claim_of_the_same_name_keeps_its_files_when_the_earlier_is_given_back(bench):
    await bench.prepared(bench.ref("u1", result("gpu-0")))
    later = bench.ref("u2", result("gpu-1"))
    bench.objects["u2"]["metadata"]["name"] = "c-u1"
    await bench.prepared(later)

    await bench.unprepare("u1")

    (path,) = bench.written
    assert documents(path)[0]["metadata"] | {"generation": 0} == {
        "name": "c-u1",
        "namespace": "default",
        "uid": "u2",
        "generation": 0,
    }


async def test_files_of_claims_that_nobody_knows_are_swept(bench):
    await bench.prepared(bench.ref("u1", result("gpu-0")))
    await bench.prepared(bench.ref("u2", result("gpu-1")))
    bench.store.remove("u1")

    bench.start()
    await bench.claims.load()

    assert [each.name for each in (bench.folder / "metadata").iterdir()] == ["u2"]


async def test_without_the_setting_there_are_no_files(bench):
    bench.wanted = False
    await bench.prepared(bench.ref("u1", result("gpu-0")))

    assert bench.written == []
    assert "mounts" not in bench.edits("u1")["u1-gpu-0"]


async def test_what_is_in_the_way_of_files_is_no_obstacle_to_serving(bench):
    (bench.folder / "metadata").mkdir()
    (bench.folder / "metadata/stray").write_text("x")

    await bench.claims.load()

    assert list((bench.folder / "metadata").iterdir()) == []


async def test_files_of_a_claim_that_failed_afterwards_are_removed(bench, monkeypatch):
    def write(_claim):
        assert bench.written
        raise HardwareError("no space left on device")

    monkeypatch.setattr(bench.store, "write", write)

    assert "no space" in await bench.refused(bench.ref("u1", result("gpu-0")))

    assert bench.written == []
