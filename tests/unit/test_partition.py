"""What stands in the way of dividing GPUs: work in use, other programs, unfinished changes."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from mig_machine import divide

from agent.config.mig import Mig
from agent.daemon import dividing
from agent.discovery import mig_gpus
from agent.discovery.mig_gpus import MigReading
from agent.model.errors import BusyError, ConfigError, HardwareError
from agent.model.inventory import PciAddress
from agent.model.machine import Machine
from agent.model.mig import ComputeInstance, GpuInstance, MigPlacement, WantedInstance
from agent.partition import nodes
from agent.partition.goal import mig_gpu
from agent.partition.journal import Journal, Turn
from agent.partition.journal import journals as found
from agent.partition.locks import locked
from agent.partition.nodes import make_nodes
from agent.partition.recovery import unfinished
from agent.serving.claim_folder import claims_folder
from agent.serving.claim_store import ClaimStore, StoredClaim, StoredDevice
from agent.simulation import machines

PLUMBLINE = Path(sys.executable).with_name("plumbline")
WHOLE_3G = WantedInstance(profile=9, compute=(2,), start=0)


def mig(*words):
    done = subprocess.run(
        [PLUMBLINE, "mig", *map(str, words)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def status(folder, gpu=0):
    _, out, _ = mig("status", "--machine", folder, "--gpu", gpu, "-o", "json")
    return [
        (each["profile"], each["start"], each["uuid"]) for each in json.loads(out)[0]["instances"]
    ]


def shapes(folder, gpu=0):
    return [each[:2] for each in status(folder, gpu)]


@pytest.fixture
def dgx(tmp_path):
    folder = tmp_path / "dgx"
    machines.create("dgx-h100", folder)
    return folder


def uuid_of(folder, gpu=0):
    return machines.look(folder).gpus[gpu].uuid


def journals(folder):
    return folder / "var/lib/plumbline/mig"


def begun(folder, before, after, *, gpus=(0,)):
    """Leave the journal of a change whose process died."""
    journals(folder).mkdir(parents=True, exist_ok=True)
    turns = [Turn(gpu=uuid_of(folder, gpu), before=before, after=after) for gpu in gpus]
    return Journal.begin(journals(folder), tuple(turns)).path


def test_what_a_process_works_on_is_not_touched_and_all_gpus_stay(dgx):
    divide(dgx, 0, "9:2", "9:2")
    machines.occupy(dgx, "0", 4711, instance=(2, 0))
    before = status(dgx)

    code, out, error = mig("apply", "-c", "all-1g.10gb", "--machine", dgx)

    assert code == 4
    assert out == ""
    assert "3g.40gb at 4 is held by process 4711" in error
    assert "Possible now: 1g.10gb at 0 + 1g.10gb at 1" in error
    assert status(dgx) == before
    assert shapes(dgx, 1) == []


def test_work_the_driver_alone_knows_of_stops_the_change_and_is_put_back(dgx):
    divide(dgx, 0, "9:2")
    # No process is told of to those who may not see it: the driver only refuses.
    machines.occupy(dgx, "0", 4711, instance=(2, 0))
    hidden = (
        "import agent.discovery.mig_gpus as m, agent.cli.main as c, sys;"
        "m.read_processes = lambda gpu: ();"
        f"sys.argv = ['plumbline', 'mig', 'apply', '-c', 'all-7g.80gb', '--machine', {str(dgx)!r}];"
        "c.main()"
    )
    before = status(dgx)

    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=False
    )

    assert done.returncode == 4
    assert "the driver says it is in use; everything was put back" in done.stderr
    assert status(dgx) == before
    assert mig("assert", "-c", "all-disabled", "--gpu", "1", "--machine", dgx)[0] == 0


def test_who_was_given_a_gpu_as_a_whole_has_its_instances_too():
    whole = mig_gpu(reading(instance=1), {"GPU-1": ("pod default/whole",)})

    assert whole.holders == {(1, 0): ("pod default/whole",)}
    assert whole.whole_holders == ("pod default/whole",)
    assert mig_gpu(reading(instance=1), {"GPU-2": ("pod default/other",)}).holders == {}


def claimed(folder, uuid, *, admin=False):
    """Write down a claim that has a GPU, as the agent does in mode dra."""
    device = StoredDevice(
        request="gpu", pool="n", device="gpu-0", gpus=(uuid,), uuids=(uuid,), admin=admin
    )
    claim = StoredClaim(
        namespace="default", name="train", uid="1", state="completed", boot="b", devices=(device,)
    )
    ClaimStore(claims_folder(Machine.simulated(folder))).write(claim)


def test_what_a_claim_has_is_not_touched(dgx):
    claimed(dgx, uuid_of(dgx))

    code, _, error = mig("apply", "-c", "all-1g.10gb", "--gpu", "0", "--machine", dgx)

    assert code == 4
    assert "the whole GPU is held by claim default/train" in error
    assert shapes(dgx) == []


def test_claims_that_only_look_are_not_in_the_way_and_unreadable_ones_are(dgx):
    claimed(dgx, uuid_of(dgx), admin=True)
    assert mig("plan", "-c", "all-1g.10gb", "--gpu", "0", "--machine", dgx)[0] == 0

    (claims_folder(Machine.simulated(dgx)) / "2.json").write_text("{")
    code, _, error = mig("apply", "-c", "all-1g.10gb", "--gpu", "0", "--machine", dgx)
    assert code == 1
    assert "2.json" in error
    assert "nobody knows which GPUs that claim has" in error
    assert shapes(dgx) == []


def test_two_processes_do_not_divide_one_gpu_at_once(dgx):
    uuid = uuid_of(dgx)
    with locked(journals(dgx), [uuid]):
        code, _, error = mig("apply", "-c", "all-balanced", "--machine", dgx)
        others = mig("apply", "-c", "all-balanced", "--gpu", "1,2", "--machine", dgx)

    assert code == 4
    assert f"{uuid} is being divided by process {os.getpid()} since " in error
    assert others[0] == 0
    assert shapes(dgx) == []
    assert mig("apply", "-c", "all-balanced", "--machine", dgx)[0] == 0


def test_of_two_that_apply_at_once_each_ends_with_a_whole_layout(dgx):
    names = ("all-1g.10gb", "all-3g.40gb")
    running = [
        subprocess.Popen(
            [PLUMBLINE, "mig", "apply", "-c", name, "--machine", dgx],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    said = [each.communicate()[1] for each in running]

    codes = [each.returncode for each in running]
    assert set(codes) <= {0, 4}
    assert 0 in codes
    told = [text for text, code in zip(said, codes, strict=True) if code == 4]
    assert all("is being divided by process" in text for text in told)
    won = [name for name, code in zip(names, codes, strict=True) if code == 0]
    assert any(mig("assert", "-c", name, "--machine", dgx)[0] == 0 for name in won)


def test_gpus_that_are_being_divided_count_as_unfinished(tmp_path):
    assert unfinished(tmp_path) == ()
    with locked(tmp_path, ["GPU-1", "GPU-2"]):
        assert unfinished(tmp_path) == ("GPU-1", "GPU-2")
    assert unfinished(tmp_path) == ()


def test_a_lock_is_free_again_when_its_process_is_dead(dgx):
    uuid = uuid_of(dgx)
    with locked(journals(dgx), [uuid]):
        descriptor = os.open(journals(dgx) / f"{uuid}.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(BusyError), locked(journals(dgx), [uuid]):
        pass
    os.close(descriptor)
    with locked(journals(dgx), [uuid]):
        pass


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_done(dgx):
    (dgx / "var/lib").mkdir(parents=True)
    (dgx / "var/lib/plumbline").write_text("")

    code, _, error = mig("apply", "-c", "all-balanced", "--machine", dgx)

    assert code == 2
    assert "dividing GPUs needs root and a writable" in error
    assert shapes(dgx) == []


def test_an_unfinished_change_is_finished_before_the_next(dgx):
    divide(dgx, 0, "9:2")
    path = begun(dgx, (), (WHOLE_3G, WantedInstance(profile=9, compute=(2,), start=4)))

    # It concerns GPU 1 alone: GPU 0 is finished on the way.
    assert mig("apply", "-c", "all-7g.80gb", "--gpu", "1", "--machine", dgx)[0] == 0

    assert not path.exists()
    assert shapes(dgx) == [("3g.40gb", 0), ("3g.40gb", 4)]
    assert shapes(dgx, 1) == [("7g.80gb", 0)]


def test_a_change_that_cannot_go_forward_goes_back(dgx):
    divide(dgx, 0, "9:2")
    machines.occupy(dgx, "0", 4711, instance=(2, 0))
    begun(dgx, (WantedInstance(profile=14, compute=(1,), start=4),), None)
    # What was before cannot be either, so it stays written down; what works goes on.
    code, _, _ = mig("apply", "-c", "all-7g.80gb", "--gpu", "1", "--machine", dgx)
    assert code == 0
    assert len(list(journals(dgx).glob("*.journal"))) == 1

    for path in journals(dgx).glob("*.journal"):
        path.unlink()
    begun(dgx, (WHOLE_3G, WantedInstance(profile=9, compute=(2,), start=4)), None)
    assert mig("apply", "-c", "all-7g.80gb", "--gpu", "1", "--machine", dgx)[0] == 0

    assert list(journals(dgx).glob("*.journal")) == []
    assert shapes(dgx) == [("3g.40gb", 0), ("3g.40gb", 4)]


def test_what_somebody_else_made_meanwhile_is_not_destroyed(dgx):
    divide(dgx, 0, "14:1")
    made = status(dgx)
    path = begun(dgx, (), (WHOLE_3G, WantedInstance(profile=9, compute=(2,), start=4)))

    code, _, error = mig("apply", "-c", "all-7g.80gb", "--gpu", "1", "--machine", dgx)

    assert (code, error) == (0, error)
    assert set(made) <= set(status(dgx))
    assert path.exists()
    # The operator's word for GPU 0 makes up for it.
    assert mig("apply", "-c", "all-7g.80gb", "--gpu", "0", "--machine", dgx)[0] == 0
    assert not path.exists()
    assert shapes(dgx) == [("7g.80gb", 0)]


def test_a_gpu_that_is_gone_keeps_no_other_from_being_put_back_or_divided(dgx):
    divide(dgx, 0, "9:2")
    halves = (WHOLE_3G, WantedInstance(profile=9, compute=(2,), start=4))
    path = begun(dgx, (), halves, gpus=(1, 0))
    machines.lose(dgx, "1")

    assert mig("apply", "-c", "all-7g.80gb", "--gpu", "2", "--machine", dgx)[0] == 0
    assert shapes(dgx) == []
    assert path.exists()

    code, _, error = mig("apply", "-c", "all-3g.40gb", "--gpu", "0", "--machine", dgx)
    assert (code, shapes(dgx)) == (0, [("3g.40gb", 0), ("3g.40gb", 4)]), error
    assert not path.exists()


FAILING = """
import pynvml
real, calls = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement, []
def create(*arguments):
    calls.append(arguments)
    if len(calls) == 2:
        raise {error}
    return real(*arguments)
pynvml.nvmlDeviceCreateGpuInstanceWithPlacement = create
"""
UNKNOWN = FAILING.format(error="pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)")


def halved(folder, before):
    """Divide GPU 0 into halves, in a process that runs this Python first."""
    words = ["mig", "apply", "-c", "all-3g.40gb", "--gpu", "0", "--machine", str(folder)]
    program = (
        f"{before}\nimport sys\nfrom agent.cli.main import main\nsys.argv[1:] = {words}\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_what_was_given_away_since_it_was_made_is_not_undone(dgx):
    given = """
import agent.cli.mig_change as command
from agent.discovery.mig_gpus import read_mig_gpus
asked = []
def held_on(*_, **__):
    asked.append(1)
    if len(asked) == 1:
        return {}
    made = [c.uuid for gpu in read_mig_gpus() for i in gpu.instances for c in i.compute]
    return dict.fromkeys(made, ("pod default/new",))
command.held_on = held_on
"""
    code, error = halved(dgx, UNKNOWN + given)

    assert code == 6
    assert "3g.40gb at 0 is held by pod default/new" in error
    assert shapes(dgx) == [("3g.40gb", 0)]


def test_a_change_that_is_interrupted_is_put_back(dgx):
    code, error = halved(dgx, FAILING.format(error="KeyboardInterrupt"))

    assert code == 5
    assert "interrupted; everything was put back" in error
    assert shapes(dgx) == []
    assert list(journals(dgx).glob("*.journal")) == []


FULL = """
import errno, agent.partition.journal as journal
write = journal._write
def full(descriptor, text, *, durable):
    if b'"turns"' not in text:
        raise OSError(errno.ENOSPC, "No space left on device")
    write(descriptor, text, durable=durable)
journal._write = full
"""


def test_a_disk_that_is_full_from_the_first_step_on_leaves_nothing_half_done(dgx):
    code, error = halved(dgx, FULL + UNKNOWN)
    assert code == 5, error
    assert shapes(dgx) == []

    assert halved(dgx, FULL)[0] == 0
    assert shapes(dgx) == [("3g.40gb", 0), ("3g.40gb", 4)]


def test_journals_are_read_in_the_order_they_began(tmp_path):
    began = [Journal.begin(tmp_path, ()).path for _ in range(8)]
    assert list(found(tmp_path)) == began


@pytest.mark.parametrize("lacks", [True, False])
def test_nodes_are_made_also_where_the_process_died_that_divided(monkeypatch, tmp_path, lacks):
    asked = []
    monkeypatch.setattr(dividing, "Session", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(mig_gpus, "read_mig_gpus", lambda: (reading(instance=1),))
    monkeypatch.setattr(nodes, "_lacks", lambda *_: lacks)
    monkeypatch.setattr(nodes, "run_program", lambda *_, **__: asked.append("asked"))
    work = dividing.Dividing(Machine.simulated(tmp_path), lambda: None)

    work.recover(Mig(), {})
    assert len(asked) == lacks
    kept = {"kept": [{"gpus": "all", "keep": True}]}
    work.assess(msgspec.convert({"layouts": kept}, Mig), "", "kept", {})
    assert len(asked) == 2 * lacks


def test_a_journal_that_cannot_be_read_is_named(dgx):
    path = begun(dgx, (), ())
    path.write_bytes(b"not a journal\n")

    code, _, error = mig("apply", "-c", "all-balanced", "--machine", dgx)

    assert code == 1
    assert str(path) in error


def test_a_torn_last_line_is_no_reason_to_forget_the_rest(dgx):
    path = begun(dgx, (), (WHOLE_3G,))
    journal = Journal.read(path)
    journal.go_back("because")
    with path.open("ab") as file:
        file.write(b'{"doi')

    again = Journal.read(path)

    assert again.back
    assert again.turns == journal.turns
    # Nor is it in the way of the next line.
    torn = begun(dgx, (), (WHOLE_3G,))
    with torn.open("ab") as file:
        file.write(b'{"doi')
    Journal.read(torn).go_back("because")
    assert Journal.read(torn).back
    assert Journal.read(path.with_name("gone.journal")) is None


def test_another_version_of_a_journal_is_left_alone(dgx):
    path = begun(dgx, (), ())
    path.write_text(path.read_text().replace('"version":1', '"version":2'))

    with pytest.raises(HardwareError, match="version 2 is another program's"):
        Journal.read(path)


def test_a_gpu_older_than_hopper_is_reset_only_with_leave(tmp_path):
    folder = tmp_path / "dgx"
    machines.create("dgx-a100", folder)

    code, _, error = mig("apply", "-c", "all-7g.40gb", "--gpu", "0", "--machine", folder)
    assert code == 2
    assert "GPU 0 (NVIDIA A100-SXM4-40GB): MIG mode changes only with a reset" in error
    assert mig("assert", "-c", "all-disabled", "--machine", folder)[0] == 0

    words = ("-c", "all-7g.40gb", "--gpu", "0", "--machine", folder)
    assert "(after a reset)" in mig("plan", *words)[1]
    assert mig("apply", *words, "--allow-reset")[0] == 0
    assert shapes(folder) == [("7g.40gb", 0)]

    # A process on another GPU is none of its business; one on this GPU is.
    machines.occupy(folder, "1", 1)
    machines.occupy(folder, "0", 2, instance=(0, 0))
    off = ("-c", "all-disabled", "--gpu", "0", "--machine", folder, "--allow-reset")
    assert mig("apply", *off)[0] == 4
    machines.release(folder, "0", 2)
    assert mig("apply", *off)[0] == 0
    assert mig("assert", "-c", "all-disabled", "--machine", folder)[0] == 0


def test_a_reset_that_fails_is_told_with_what_nvidia_smi_said_and_put_back(tmp_path):
    folder = tmp_path / "dgx"
    machines.create("dgx-a100", folder)
    smi = folder / "usr/bin/nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU is in use by another client' >&2\nexit 3\n")
    words = ("-c", "all-7g.40gb", "--gpu", "0", "--machine", folder, "--allow-reset")

    code, _, error = mig("apply", *words)

    assert code == 5
    assert "ended with 3: GPU is in use by another client" in error
    gpu = json.loads(mig("status", "--machine", folder, "--gpu", "0", "-o", "json")[1])[0]
    assert (gpu["mode"], gpu["pending"]) == ("off", "off")

    smi.unlink()
    code, _, error = mig("apply", *words)
    assert code == 5
    assert "no nvidia-smi below" in error


def test_locks_of_a_folder_that_is_no_folder_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match="needs root and a writable"),
        locked(tmp_path / "file", ["GPU-1"]),
    ):
        pass


def reading(*, instance):
    """Make what is read of a GPU with an instance of these numbers; of a real driver, which makes
    no device nodes by itself as the simulated one does."""
    compute = ComputeInstance(id=0, profile=2, uuid="MIG-1")
    placement = MigPlacement(start=0, size=4)
    around = GpuInstance(id=instance, profile=9, placement=placement, compute=(compute,))
    return MigReading(
        index=0,
        uuid="GPU-1",
        address=PciAddress("0000:1b:00.0"),
        minor=0,
        module_id=1,
        model="NVIDIA H100 80GB HBM3",
        device_id=0x233010DE,
        subsystem_id=0,
        capable=True,
        enabled=True,
        pending=True,
        needs_reset=False,
        profiles=(),
        instances=(around,),
        processes=(),
    )


def test_nodes_that_are_missing_are_made_by_nvidia_smi(dgx):
    smi, asked = dgx / "usr/bin/nvidia-smi", dgx / "asked"
    smi.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    machine = Machine.simulated(dgx)

    make_nodes(machine, [reading(instance=1)])
    assert asked.read_text() == "-L\n"

    divide(dgx, 0, "9:2")
    asked.unlink()
    # There are nodes of instance 2 now, which is where the driver puts the first half.
    make_nodes(machine, [reading(instance=2)])
    assert not asked.exists()

    smi.unlink()
    make_nodes(machine, [reading(instance=1)])
