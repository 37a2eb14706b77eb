"""Claims whose files cannot be read: what they have is nobody else's."""

import asyncio
import json
import shutil

import pytest
from builders import gpu
from claim_bench import POOL, GpuClaimBench, idle_node, result

from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.serving import claims
from agent.serving.claim_folder import claims_folder
from agent.serving.claim_store import ClaimStore, StoredClaim, StoredDevice, UnreadableFile
from agent.serving.left_claims import left_claims
from agent.serving.unreadable_claims import UnreadableClaim, held_unreadably
from deviceplugin.dra.values import Prepared, Refused

UUIDS = [f"GPU-0000000{i}-aaaa-bbbb-cccc-0123456789ab" for i in range(5)]
NAMES = [uuid.lower() for uuid in UUIDS]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "TAKEN_S", 0)
    gpus = (gpu(i, uuid=uuid) for i, uuid in enumerate(UUIDS))
    return GpuClaimBench(tmp_path, idle_node(*gpus))


def break_file(bench, uid, content=b"", *, copy=True):
    (bench.folder / f"claims/{uid}.json").write_bytes(content)
    if copy:
        shutil.rmtree(bench.folder / "claims-copies")


class MachineStage:
    """A Stage that remembers for which devices something was undone."""

    def __init__(self):
        self.released = []

    def acts(self, _claim, _document):
        return False

    async def prepare(self, claim, _document):
        return claim

    async def release(self, claim):
        self.released += [uuid for each in claim.devices for uuid in each.uuids]


def fails(_what):
    raise HardwareError("no space left on device")


async def restart(bench):
    bench.start()
    await bench.claims.load()


@pytest.mark.parametrize("content", [b"", b"{}", None])
async def test_a_claim_whose_file_is_broken_is_known_by_its_copy(bench, content):
    ref = bench.ref("u1", result(NAMES[1]))
    first = await bench.prepared(ref)
    path = bench.folder / "claims/u1.json"
    whole = path.read_bytes()
    broken = whole.replace(b"0000001", b"0000004") if content is None else content
    break_file(bench, "u1", broken, copy=False)

    await restart(bench)

    assert bench.claims.held == {UUIDS[1]: "default/c-u1"}
    assert await bench.prepared(ref) == first
    # And the file is whole again.
    assert path.read_bytes() == whole
    await bench.unprepare("u1")
    assert bench.specs == {}
    assert not list((bench.folder / "claims-copies").iterdir())


async def test_a_copy_of_an_earlier_state_is_brought_up_to_date(bench):
    ref = bench.ref("u1", result(NAMES[1]))
    await bench.prepared(ref)
    copy = bench.folder / "claims-copies/u1.json"
    completed = copy.read_bytes()
    # Killed between the two, of which the first is what counts.
    copy.write_bytes(b"earlier")

    await restart(bench)

    assert copy.read_bytes() == completed


@pytest.mark.parametrize("content", [b"", b"{}", None])
async def test_what_a_claim_has_that_nobody_can_read_is_kept_from_others(bench, content):
    first = bench.ref("u1", result(NAMES[1]), result(NAMES[3], shareID="s1"))
    await bench.answers(first, bench.ref("u2", result(NAMES[2])))
    path = bench.folder / "claims/u1.json"
    break_file(bench, "u1", path.read_bytes()[:-9] if content is None else content)

    await restart(bench)

    # The device plugin's door is told as well.
    held = bench.claims.held
    assert held[UUIDS[2]] == "default/c-u2"
    assert str(path) in held[UUIDS[1]]
    assert str(path) in held[UUIDS[3]]
    for name in (NAMES[1], NAMES[3]):
        said = await bench.refused(bench.ref("u3", result(name)))
        assert said.startswith(f"{name} is claimed already, and the claim's file cannot be read")
        assert str(path) in said
    await bench.prepared(bench.ref("u4", result(NAMES[4])))
    await bench.prepared(bench.ref("u5", result(NAMES[1], adminAccess=True)))

    # A try to prepare it anew that failed would take with it what its pod has.
    again = await bench.prepare(first)
    assert isinstance(again, Refused)
    assert "delete its pod" in again.reason
    assert "k8s.gpu.nvidia.com-claim_u1.json" in bench.specs
    await bench.unprepare("u1")
    assert "k8s.gpu.nvidia.com-claim_u1.json" not in bench.specs
    assert bench.claims.unreadable == ()
    await bench.prepared(bench.ref("u3", result(NAMES[1])))


async def test_what_waits_for_a_claim_that_nobody_can_read_gets_it_in_the_end(bench, monkeypatch):
    monkeypatch.setattr(claims, "TAKEN_S", 30)
    await bench.prepared(bench.ref("u1", result(NAMES[1])))
    break_file(bench, "u1")
    await restart(bench)
    waiting = asyncio.create_task(bench.prepare(bench.ref("u2", result(NAMES[1]))))
    while "u2" not in bench.fetched:  # noqa: ASYNC110 - a list tells nobody
        await asyncio.sleep(0)

    await bench.unprepare("u1")

    assert isinstance(await waiting, Prepared)
    assert list(bench.specs) == ["k8s.gpu.nvidia.com-claim_u2.json"]


async def test_after_a_reboot_no_container_has_anything_and_the_claim_is_prepared_anew(bench):
    ref = bench.ref("u1", result(NAMES[1]))
    await bench.prepared(ref)
    break_file(bench, "u1")
    shutil.rmtree(bench.folder / "cdi")
    bench.boot = "boot-2"
    await restart(bench)
    assert bench.claims.held == {}

    await bench.prepared(ref)

    assert bench.claims.unreadable == ()
    assert bench.claims.held == {UUIDS[1]: "default/c-u1"}


async def test_what_was_begun_for_a_claim_that_nobody_could_read_is_undone_with_it(
    bench, monkeypatch
):
    ref = bench.ref("u1", result(NAMES[1]))
    await bench.prepared(ref)
    break_file(bench, "u1")
    shutil.rmtree(bench.folder / "cdi")
    machine = MachineStage()
    bench.stages = lambda: (machine,)
    await restart(bench)
    # A try that fails, and cannot be undone.
    with monkeypatch.context() as patch:
        for name in ("write", "remove"):
            patch.setattr(bench.store, name, fails)
        assert isinstance(await bench.prepare(ref), Refused)
    assert [each.state for each in bench.claims.known] == ["started"]

    machine.released.clear()

    await bench.unprepare("u1")

    assert machine.released == [UUIDS[1]]
    assert bench.claims.known == ()
    assert bench.claims.held == {}


@pytest.mark.parametrize(
    ("name", "held"),
    [
        (NAMES[1], UUIDS[1]),
        (f"{NAMES[1]}-8b6e2f6c-5d0e-4c59-9f27-51d3f9a0c8a1", UUIDS[1]),
        # One that was made for the claim: who knows what else is on that GPU.
        (f"{NAMES[1]}-mig-3g-40gb-4", UUIDS[1]),
        (NAMES[1].replace("gpu-", "mig-"), UUIDS[1].replace("GPU-", "MIG-")),
        ("nic-0000-18-00-0", "0000:18:00.0"),
        ("pair-12", None),
    ],
)
def test_names_of_devices_say_what_is_held(name, held):
    file = UnreadableFile(uid="u1", path="/u1.json", reason="empty", copied=False)

    found = held_unreadably([UnreadableClaim(file=file, devices=frozenset({name}))])

    assert set(found) == ({held} if held else set())


async def test_files_that_cannot_be_tidied_keep_nobody_from_serving(bench):
    await bench.prepared(bench.ref("u1", result(NAMES[1])))
    shutil.rmtree(bench.folder / "claims-copies")
    (bench.folder / "claims-copies").write_text("in the way")
    (bench.folder / "claims/.hidden.json").write_bytes(b"")

    await restart(bench)

    assert bench.claims.held == {UUIDS[1]: "default/c-u1"}


@pytest.mark.parametrize("uid", ["", ".", "..", "/etc", "a/b"])
async def test_what_is_no_uid_names_no_file(bench, uid):
    await bench.prepared(bench.ref("u1", result(NAMES[1])))
    before = sorted(bench.folder.rglob("*"))

    for call in (bench.claims.prepare, bench.claims.unprepare):
        (answer,) = (await call([bench.named(uid)])).values()
        assert answer == Refused(reason=f"{uid!r} is no UID of a claim")

    assert sorted(bench.folder.rglob("*")) == before


def test_an_agent_without_claims_keeps_what_earlier_ones_have(tmp_path):
    machine, folder = Machine.simulated(tmp_path), claims_folder(Machine.simulated(tmp_path))
    store = ClaimStore(folder)
    for number in range(1, 4):
        device = StoredDevice(
            request="r",
            pool=POOL,
            device=NAMES[number],
            gpus=(UUIDS[number],),
            uuids=(UUIDS[number],),
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
    for number in (1, 3):
        (folder / f"u{number}.json").write_bytes(b"")
    (folder.with_name("claims-copies") / "u1.json").unlink()
    spec = {"devices": [{"name": f"u1-{NAMES[1]}"}]}
    (tmp_path / "k8s.gpu.nvidia.com-claim_u1.json").write_text(json.dumps(spec))

    held = left_claims(machine, tmp_path)

    assert held[UUIDS[2]] == "default/c2"
    assert held[UUIDS[3]] == "default/c3"
    assert str(folder / "u1.json") in held[UUIDS[1]]
