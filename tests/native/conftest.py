"""Simulated machines for tests: a folder with a copy of the built driver library."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import agent._native

BUILT_LIBRARY = Path(agent._native.__file__).parent / "_mocknvml" / "libnvidia-ml.so.1"


def facts(gpus=2, links=0, changes=None):
    """Return the facts of a small H100-like machine, by `subject indices field`.

    ``links`` NVLinks per GPU lead to a switch. ``changes`` replaces or adds facts; None
    takes one away.
    """
    found = {}
    for i in range(gpus):
        found |= {
            f"gpu {i} uuid": f"GPU-{i:08x}-1111-2222-3333-444444444444",
            f"gpu {i} name": "NVIDIA H100 80GB HBM3",
            f"gpu {i} architecture": "hopper",
            f"gpu {i} compute_capability": "9.0",
            f"gpu {i} pci_address": f"{i // 8:04x}:{0x1B + 0x10 * (i % 8):02x}:00.0",
            f"gpu {i} pci_device_id": "0x233010de",
            f"gpu {i} memory_total_bytes": str(80 << 30),
            f"gpu {i} ecc_mode": "on",
            f"gpu {i} mig_mode": "off",
        }
        for link in range(links):
            found[f"nvlink {i} {link} remote_type"] = "switch"
            found[f"nvlink {i} {link} version"] = "4"
            found[f"nvlink {i} {link} speed_mbps"] = "26562"
    for b in range(gpus):
        for a in range(b):
            found[f"pair {a} {b} ancestor"] = "system"
    found |= changes or {}
    return {key: value for key, value in found.items() if value is not None}


def text_of(found):
    return "machine 1\n" + "".join(f"{key} {value}\n" for key, value in found.items())


class Bindings:
    """Instances of the module pynvml: loading one takes longer than most tests."""

    def __init__(self):
        self.modules = []
        self.taken = 0

    def take(self, library):
        if self.taken == len(self.modules):
            self.modules.append(self._load(f"pynvml {self.taken}"))
        module = self.modules[self.taken]
        self.taken += 1
        module.nvmlLib = library
        module._nvmlLib_refcount = 0
        module._nvmlGetFunctionPointer_cache.clear()
        return module

    @staticmethod
    def _load(name):
        path = importlib.util.find_spec("pynvml").origin
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where its exceptions are defined while it loads
        spec.loader.exec_module(module)
        return module


BINDINGS = Bindings()


@pytest.fixture(autouse=True)
def _bindings_are_given_back():
    yield
    BINDINGS.taken = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedMachine:
    folder: Path

    @property
    def library(self):
        return self.folder / "lib" / "libnvidia-ml.so.1"

    @property
    def state(self):
        return self.folder / "state"

    def load(self):
        """Return the library itself, as this process's own copy."""
        return ctypes.CDLL(str(self.library))

    def _through_door(self, function, text):
        error = ctypes.create_string_buffer(2048)
        result = getattr(self.load(), function)(text.encode(), error, ctypes.sizeof(error))
        assert result in (0, 1)
        assert (result == 0) == (error.value == b""), error.value
        return error.value.decode()

    def create(self, text):
        """Make the state; return the error, empty when there is none."""
        return self._through_door("plumbline_machine_create", text)

    def try_command(self, text):
        return self._through_door("plumbline_machine_command", text)

    def command(self, text):
        error = self.try_command(text)
        assert not error, error

    def describe(self):
        library, size = self.load(), ctypes.c_size_t(0)
        error = ctypes.create_string_buffer(512)
        describe = library.plumbline_machine_describe
        assert describe(None, ctypes.byref(size), error, 512) == 1
        buffer = ctypes.create_string_buffer(size.value)
        assert describe(buffer, ctypes.byref(size), error, 512) == 0, error.value
        assert size.value == len(buffer.value) + 1
        return buffer.value.decode()

    def described(self):
        """Return the facts that describe prints, as facts() names them."""
        found = {}
        for line in self.describe().splitlines()[1:]:
            words = line.split()
            numbers = {"system": 0, "gpu": 1, "nvlink": 2, "mig_profile": 2, "pair": 2}.get(
                words[0]
            )
            if numbers is not None:
                found[" ".join(words[: numbers + 2])] = " ".join(words[numbers + 2 :])
        return found

    def pynvml(self):
        """Return a pynvml of its own that has loaded this machine's library."""
        return BINDINGS.take(self.load())

    def environment(self):
        return os.environ | {"LD_LIBRARY_PATH": str(self.folder / "lib")}

    def start(self, script, *arguments, **options):
        """Run a Python script as a process whose NVML is this machine's."""
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment(), text=True, **options)

    def run(self, script, *arguments):
        """Run a Python script to its end; return what it printed."""
        process = self.start(script, *arguments, stdout=subprocess.PIPE)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0
        return output


@pytest.fixture
def empty_machine(tmp_path):
    """Make machine folders that have the library but no state yet."""

    def make(name="machine", parent=tmp_path):
        folder = parent / name
        (folder / "lib").mkdir(parents=True)
        machine = SimulatedMachine(folder=folder)
        shutil.copy(BUILT_LIBRARY, machine.library)
        return machine

    return make


@pytest.fixture
def machine(empty_machine):
    """Make machines: machine(gpus=8, links=18, changes={"gpu 0 serial": "1"})."""

    def make(gpus=2, links=0, changes=None, **where):
        made = empty_machine(**where)
        error = made.create(text_of(facts(gpus, links, changes)))
        assert not error, error
        return made

    return make


@pytest.fixture
def description():
    """Write descriptions: description(gpus=2, changes={...})."""
    return lambda gpus=2, links=0, changes=None: text_of(facts(gpus, links, changes))
