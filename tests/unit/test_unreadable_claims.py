"""Claims whose files cannot be read: what they have is nobody else's."""

import asyncio
import json

import pytest
from builders import gpu
from claim_bench import POOL, GpuClaimBench, idle_node, result

from agent.model.machine import Machine
from agent.serving import claims
from agent.serving.claim_folder import claims_folder
from agent.serving.claim_store import ClaimStore, StoredClaim, StoredDevice
from agent.serving.left_claims import left_claims
from deviceplugin.dra.values import Prepared


@pytest.mark.parametrize("content", [b"", b"{}", None])
async def test_what_a_claim_has_whose_file_cannot_be_read_is_kept_from_others(
    tmp_path, monkeypatch, content
):
    monkeypatch.setattr(claims, "TAKEN_S", 0)
    bench = GpuClaimBench(tmp_path, idle_node(*(gpu(i) for i in range(5))))
    first = bench.ref("u1", result("gpu-1"), result("gpu-3", shareID="s1"))
    await bench.answers(first, bench.ref("u2", result("gpu-2")))
    broken = tmp_path / "claims/u1.json"
    altered = broken.read_bytes().replace(b"GPU-1", b"GPU-7")
    broken.write_bytes(altered if content is None else content)

    bench.start()
    await bench.claims.load()

    # The device plugin's door is told as well.
    assert bench.claims.held["GPU-2"] == "default/c-u2"
    assert str(broken) in bench.claims.held["GPU-1"]
    for device in ("gpu-1", "gpu-3"):
        said = await bench.refused(bench.ref("u3", result(device)))
        assert said.startswith(f"{device} is claimed already, and the claim's file cannot be read")
        assert str(broken) in said
    await bench.prepared(bench.ref("u4", result("gpu-4")))
    await bench.prepared(bench.ref("u5", result("gpu-1", adminAccess=True)))

    # The claim itself has it, and gives it back.
    again = await bench.prepared(first)
    assert [each.device for each in again.devices] == ["gpu-1", "gpu-3"]
    await bench.unprepare("u1")
    await bench.prepared(bench.ref("u3", result("gpu-1")))


async def test_a_claim_whose_file_cannot_be_read_can_be_given_back(tmp_path):
    bench = GpuClaimBench(tmp_path, idle_node(*(gpu(i) for i in range(5))))
    await bench.prepared(bench.ref("u1", result("gpu-1")))
    (tmp_path / "claims/u1.json").write_bytes(b"")
    bench.start()
    await bench.claims.load()
    waiting = asyncio.create_task(bench.prepare(bench.ref("u2", result("gpu-1"))))
    while "u2" not in bench.fetched:  # noqa: ASYNC110 - a list tells nobody
        await asyncio.sleep(0)

    await bench.unprepare("u1")

    assert isinstance(await waiting, Prepared)
    assert list(bench.specs) == ["k8s.gpu.nvidia.com-claim_u2.json"]
    assert bench.claims.unreadable == ()


def test_an_agent_without_claims_keeps_what_earlier_ones_have(tmp_path):
    machine, folder = Machine.simulated(tmp_path), claims_folder(Machine.simulated(tmp_path))
    store = ClaimStore(folder)
    for number in (1, 2):
        device = StoredDevice(
            request="r",
            pool=POOL,
            device=f"gpu-{number}",
            gpus=(f"GPU-{number}",),
            uuids=(f"GPU-{number}",),
        )
        store.write(
            StoredClaim(
                namespace="default",
                name=f"c{number}",
                uid=f"u{number}",
                state="completed",
                boot="b",
                devices=(device,),
            )
        )
    (folder / "u1.json").write_bytes(b"")
    spec = {"devices": [{"name": "u1-gpu-1"}]}
    (tmp_path / "k8s.gpu.nvidia.com-claim_u1.json").write_text(json.dumps(spec))

    held = left_claims(machine, tmp_path)

    assert held["GPU-2"] == "default/c2"
    assert str(folder / "u1.json") in held["GPU-1"]
