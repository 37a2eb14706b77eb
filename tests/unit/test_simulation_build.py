"""A machine appears whole or not at all; acting on it is acting on its driver."""

import ctypes
import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.model.errors import ConfigError, HardwareError
from agent.model.machine import NVML_SONAME
from agent.simulation import build, machines, profile
from agent.simulation.driver import Driver


@pytest.fixture
def tmp_path(tmp_path):
    """Thousands of small files each: in memory where that is to be had."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def machine(tmp_path):
    machines.create("t4-4x", tmp_path / "t4")
    return tmp_path / "t4"


def uuids(folder):
    return [gpu.uuid for gpu in machines.look(folder).gpus]


def test_a_new_machine_is_complete(machine):
    assert {path.name for path in machine.iterdir()} == {
        "dev",
        "lib",
        "proc",
        "profile.yaml",
        "state",
        "sys",
        "usr",
    }
    assert os.access(machine / "lib" / NVML_SONAME, os.X_OK)
    assert [path.name for path in machine.parent.iterdir()] == ["t4"]


def test_links_in_a_machine_stay_inside_it(machine):
    links = [path for path in (machine / "sys").rglob("*") if path.is_symlink()]

    assert links
    assert not any(link.readlink().is_absolute() for link in links)
    assert all(link.resolve(strict=True).is_relative_to(machine) for link in links)


def test_device_nodes_are_devices_where_that_is_permitted(machine):
    node = (machine / "dev" / "nvidia2").stat()

    if stat.S_ISCHR(node.st_mode):
        assert (os.major(node.st_rdev), os.minor(node.st_rdev)) == (195, 2)
        assert stat.S_IMODE(node.st_mode) == 0o666
    else:
        assert stat.S_ISREG(node.st_mode)


def test_without_permission_files_stand_in_for_device_nodes(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "mknod", refuse)

    machines.create("t4-4x", tmp_path / "t4")

    assert stat.S_ISREG((tmp_path / "t4" / "dev" / "nvidia0").stat().st_mode)


def test_what_a_machine_was_made_from_makes_its_twin(machine, tmp_path):
    machines.create(str(machine / "profile.yaml"), tmp_path / "twin")

    assert uuids(tmp_path / "twin") == uuids(machine)


def test_a_seed_makes_another_machine_of_the_same_model(machine, tmp_path):
    machines.create("t4-4x", tmp_path / "other", seed="1")
    machines.create("t4-4x", tmp_path / "same", seed="1")

    assert uuids(tmp_path / "same") == uuids(tmp_path / "other")
    assert not set(uuids(machine)) & set(uuids(tmp_path / "other"))


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()

    machines.create("t4-4x", tmp_path / "empty")

    assert (tmp_path / "empty" / "state").is_file()


def test_missing_parents_are_made(tmp_path):
    machines.create("t4-4x", tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b" / "state").is_file()


def test_a_machine_is_not_replaced_unasked(machine):
    before = uuids(machine)

    with pytest.raises(ConfigError) as refused:
        machines.create("t4-4x", machine, seed="other")

    assert str(refused.value) == (
        f"{machine} is a simulated machine already: --force replaces it, with its state"
    )
    assert uuids(machine) == before


def test_force_replaces_a_machine_with_its_state(machine):
    machines.lose(machine, "0")
    before = uuids(machine)

    machines.create("t4-4x", machine, seed="other", force=True)

    assert not set(before) & set(uuids(machine))
    assert not any(gpu.lost for gpu in machines.look(machine).gpus)
    assert [path.name for path in machine.parent.iterdir()] == ["t4"]


@pytest.mark.parametrize("force", [False, True])
def test_another_folder_is_never_replaced(tmp_path, force):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")

    with pytest.raises(ConfigError) as refused:
        machines.create("t4-4x", tmp_path / "home", force=force)

    assert str(refused.value) == (
        f"{tmp_path / 'home'} exists and is no simulated machine: name a folder that does not "
        "exist or is empty"
    )
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_never_replaced(tmp_path, kind):
    target = tmp_path / "target"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ConfigError) as refused:
        machines.create("t4-4x", target, force=True)

    assert str(refused.value) == (f"{target} exists and is no folder: name one that does not exist")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_of_two_creations_at_once_one_is_refused(tmp_path, monkeypatch):
    describe = build.description.render

    def describe_late(spec):
        monkeypatch.setattr(build.description, "render", describe)
        machines.create("t4-4x", tmp_path / "t4", seed="first")
        return describe(spec)

    monkeypatch.setattr(build.description, "render", describe_late)

    with pytest.raises(HardwareError, match="Directory not empty"):
        machines.create("t4-4x", tmp_path / "t4", seed="second")

    machines.create("t4-4x", tmp_path / "twin", seed="first")
    assert uuids(tmp_path / "t4") == uuids(tmp_path / "twin")
    assert {path.name for path in tmp_path.iterdir()} == {"t4", "twin"}


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS])
def test_force_works_where_folders_cannot_trade_places(machine, monkeypatch, code):
    class OldLibc:
        def renameat2(self, *_):
            ctypes.set_errno(code)
            return -1

    before = uuids(machine)
    folder = machine.parent / "other"
    machines.create("t4-4x", folder, seed="other")
    monkeypatch.setattr(build.ctypes, "CDLL", lambda *_, **__: OldLibc())

    build._move(folder, machine, force=True)

    monkeypatch.undo()
    assert not set(before) & set(uuids(machine))
    assert [path.name for path in machine.parent.iterdir()] == ["t4"]


def test_a_failed_creation_leaves_nothing(tmp_path, monkeypatch):
    library = tmp_path / "no-library"
    library.write_text("this is text")
    monkeypatch.setattr(build, "driver_library", lambda: library)

    with pytest.raises(HardwareError, match="make the machine anew"):
        machines.create("t4-4x", tmp_path / "here" / "t4")

    assert list((tmp_path / "here").iterdir()) == []


def test_a_failed_replacement_leaves_the_old_machine(machine, tmp_path, monkeypatch):
    before = uuids(machine)
    library = tmp_path / "no-library"
    library.write_text("this is text")
    monkeypatch.setattr(build, "driver_library", lambda: library)

    with pytest.raises(HardwareError):
        machines.create("t4-4x", machine, seed="other", force=True)

    assert uuids(machine) == before
    assert {path.name for path in tmp_path.iterdir()} == {"t4", "no-library"}


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(HardwareError) as refused:
        machines.create("t4-4x", tmp_path / "file" / "t4")

    assert str(refused.value) == (
        f"cannot make a machine in {tmp_path}/file/t4: {tmp_path}/file: File exists"
    )


def test_a_killed_creation_leaves_no_machine(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from agent.simulation import build, machines;"
        "build._move = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL);"
        "machines.create('t4-4x', Path(sys.argv[1]))"
    )

    done = subprocess.run([sys.executable, "-c", program, tmp_path / "t4"], check=False)

    assert done.returncode == -9
    assert not (tmp_path / "t4").exists()
    machines.create("t4-4x", tmp_path / "t4")


def loaded_drivers():
    maps = Path("/proc/self/maps").read_text()
    return {line.split()[-1] for line in maps.splitlines() if NVML_SONAME in line}


def test_no_driver_stays_loaded(tmp_path):
    """One that stayed would answer whoever asks the loader for the driver by name."""
    before = loaded_drivers()

    machines.create("t4-4x", tmp_path / "t4")
    machines.lose(tmp_path / "t4", "0")
    machines.look(tmp_path / "t4")

    assert loaded_drivers() == before


def test_a_gpu_is_lost_and_restored(machine):
    machines.lose(machine, "1")
    assert [gpu.lost for gpu in machines.look(machine).gpus] == [False, True, False, False]

    machines.restore(machine, uuids(machine)[1])
    assert not any(gpu.lost for gpu in machines.look(machine).gpus)


def test_fields_are_changed(machine):
    machines.change(machine, "2", {"temperature_gpu_c": "88", "power_usage_mw": "65000"})

    with Driver(machine) as driver:
        facts = machines.read_facts(driver.describe())
    assert facts["gpu 2"]["temperature_gpu_c"] == "88"
    assert facts["gpu 2"]["power_usage_mw"] == "65000"


def test_a_link_goes_down(tmp_path):
    machines.create("a100-pcie-bridges", tmp_path / "a100")

    machines.change(tmp_path / "a100", "0", {"nvlink.3.state": "down"})

    assert [gpu.links_up for gpu in machines.look(tmp_path / "a100").gpus][:2] == [11, 12]


@pytest.mark.parametrize("name", ["4", "-1", "GPU-0", "zero", ""])
def test_a_gpu_that_is_not_there(machine, name):
    with pytest.raises(ConfigError) as refused:
        machines.inject_xid(machine, name, 48)

    assert str(refused.value) == (
        f"no GPU '{name}' in {machine}: it has 4, by index from 0 or by UUID; "
        "'plumbline machine show' lists them"
    )


def test_a_field_the_driver_refuses(machine):
    with pytest.raises(ConfigError, match="the nearest is temperature_gpu_c"):
        machines.change(machine, "0", {"temperature_gpu": "88"})


def test_a_field_that_is_none(machine):
    with pytest.raises(ConfigError) as refused:
        machines.change(machine, "0", {"nvlink.state": "down"})

    assert str(refused.value) == (
        "'nvlink.state' is no field: write name=value or nvlink.3.state=down"
    )


def test_a_value_cannot_smuggle_a_second_command(machine):
    with pytest.raises(ConfigError, match="is one line"):
        machines.change(machine, "0", {"temperature_gpu_c": "1\nlose 0"})

    assert not machines.look(machine).gpus[0].lost


@pytest.mark.parametrize("text", ["temperature_gpu_c", "=1", "temperature_gpu_c="])
def test_what_is_no_field_and_value(text):
    with pytest.raises(ConfigError) as refused:
        machines.parse_fields([text])

    assert str(refused.value) == (f"'{text}' is no FIELD=VALUE, for example temperature_gpu_c=88")


def test_a_folder_that_is_no_machine(tmp_path):
    with pytest.raises(ConfigError) as refused:
        machines.look(tmp_path)

    assert str(refused.value) == (
        f"{tmp_path} is no simulated machine: it has no lib/{NVML_SONAME}; "
        "'plumbline machine create PROFILE DIR' makes one"
    )


def test_a_library_that_is_no_simulated_driver(tmp_path):
    (tmp_path / "lib").mkdir()
    libc = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "/libm" in line or "/libc" in line
    )
    (tmp_path / "lib" / NVML_SONAME).symlink_to(libc)

    with pytest.raises(ConfigError) as refused:
        machines.look(tmp_path)

    assert str(refused.value) == (
        f"{tmp_path}/lib/{NVML_SONAME} is no simulated driver: a simulated machine is made by "
        "'plumbline machine create'"
    )


def test_a_machine_whose_state_is_broken(machine):
    (machine / "state").write_bytes(b"not a state")

    with pytest.raises(HardwareError, match="make the machine anew"):
        machines.look(machine)


def test_the_profiles_that_ship_are_listed():
    assert [each.name for each in machines.profiles()] == list(profile.shipped())
