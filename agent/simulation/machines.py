"""Simulated machines for commands and tests: make one, look at it, act on its driver."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from agent.model.errors import ConfigError
from agent.simulation import build, capture, expand, profile, synthesise, tree
from agent.simulation.driver import Driver
from agent.simulation.spec import MachineSpec, NicSpec


class GpuState(Struct, frozen=True, kw_only=True):
    """One GPU as its driver has it now."""

    index: int
    uuid: str
    name: str
    address: str
    lost: bool
    links_up: int
    links: int


class MachineState(Struct, frozen=True, kw_only=True):
    """A machine as it is now."""

    folder: str
    profile: str
    summary: str
    driver_version: str
    gpus: tuple[GpuState, ...]
    nics: tuple[str, ...]


class ProfileSummary(Struct, frozen=True, kw_only=True):
    """A profile that ships with Plumbline."""

    name: str
    summary: str


def profiles() -> tuple[ProfileSummary, ...]:
    """Return the profiles that ship with Plumbline, by name."""
    loaded = (profile.load(name) for name in profile.shipped())
    return tuple(ProfileSummary(name=each.name, summary=each.summary) for each in loaded)


def create(name: str, target: Path, *, seed: str | None = None, force: bool = False) -> MachineSpec:
    """Make the machine of a profile (its name, or the path of a file) in ``target``.

    Machines of one profile are twins, down to the UUIDs, unless their ``seed`` differs. Raises
    ConfigError and HardwareError as ``build.build`` does.
    """
    loaded = profile.load(name)
    identity = loaded.identity or loaded.name
    if seed is not None:
        identity = f"{identity}/{seed}"
    return build.build(replace(loaded, identity=identity), target, force=force)


def import_capture(
    source: str, target: Path, *, model: str | None = None, force: bool = False
) -> tuple[str, ...]:
    """Make a machine from a captured `nvidia-smi topo -m`; return notes on what was guessed.

    ``source`` is the path of a file, or ``-`` for standard input. ``model`` names the GPUs as
    parts/gpus.yaml does; None has them guessed. Raises ConfigError with line and reason for a
    capture that cannot be read or be any machine's, and as ``build.build`` does.
    """
    name = "capture" if source == "-" else Path(source).stem
    where = "standard input" if source == "-" else source
    text = _read_text(source, where)
    found = synthesise.synthesise(
        capture.parse(text, where=where), name=name, source=text, model=model
    )
    build.build(found.profile, target, force=force, notes=found.notes)
    return found.notes


def look(folder: Path) -> MachineState:
    """Return what a machine is now; raise ConfigError where the folder is none."""
    with Driver(folder) as driver:
        facts = read_facts(driver.describe())
    made_from = _read_profile(folder)
    links: dict[str, list[bool]] = defaultdict(list)
    for subject, fields in facts.items():
        if subject.startswith("nvlink "):
            links[subject.split()[1]].append(fields.get("state", "up") == "up")
    spec = expand.expand(made_from)
    return MachineState(
        folder=str(folder),
        profile=made_from.name,
        summary=made_from.summary,
        driver_version=facts["system"]["driver_version"],
        gpus=tuple(
            GpuState(
                index=int(subject.split()[1]),
                uuid=fields["uuid"],
                name=fields["name"],
                address=fields["pci_address"],
                lost=fields.get("lost") == "yes",
                links_up=sum(links[subject.split()[1]]),
                links=len(links[subject.split()[1]]),
            )
            for subject, fields in facts.items()
            if subject.startswith("gpu ") and "uuid" in fields
        ),
        nics=tuple(
            function.role.name
            for function in tree.functions_of(spec.roots)
            if isinstance(function.role, NicSpec)
        ),
    )


def inject_xid(
    folder: Path, gpu: str, code: int, *, instance: tuple[int, int] | None = None
) -> None:
    """Make the driver report an Xid error on a GPU, named by index or UUID.

    ``instance`` is the GPU instance and the compute instance that it is on; None: the whole GPU.
    """
    with Driver(folder) as driver:
        where = " ".join(map(str, instance or ()))
        driver.command(f"xid {gpu_index(driver, gpu)} {code} {where}")


def lose(folder: Path, gpu: str, *, silently: bool = False) -> None:
    """Let a GPU fall off the bus, with Xid 79 unless ``silently``."""
    with Driver(folder) as driver:
        driver.command(f"lose {gpu_index(driver, gpu)}" + (" silently" if silently else ""))


def restore(folder: Path, gpu: str) -> None:
    """Bring a lost GPU back."""
    with Driver(folder) as driver:
        driver.command(f"restore {gpu_index(driver, gpu)}")


def occupy(
    folder: Path,
    gpu: str,
    pid: int,
    *,
    memory_mib: int = 0,
    instance: tuple[int, int] | None = None,
) -> None:
    """Let a process work on a GPU, or on one of its instances (GPU instance, compute instance).

    Raises ConfigError where there is no such instance.
    """
    with Driver(folder) as driver:
        where = " ".join(map(str, instance or ()))
        driver.command(f"occupy {gpu_index(driver, gpu)} {pid} {memory_mib} {where}")


def release(folder: Path, gpu: str, pid: int) -> None:
    """End a process on a GPU."""
    with Driver(folder) as driver:
        driver.command(f"release {gpu_index(driver, gpu)} {pid}")


def reset(folder: Path, gpu: str) -> None:
    """Reset a GPU: pending modes become current, instances are gone.

    Raises ConfigError while a process is at work on it.
    """
    with Driver(folder) as driver:
        driver.command(f"reset {gpu_index(driver, gpu)}")


def change(folder: Path, gpu: str, fields: Mapping[str, str]) -> None:
    """Set fields of a GPU, those marked * in docs/simulated-machine.md, in the order given.

    ``nvlink.<link>.state`` sets a link. Raises ConfigError with the driver's reason; the fields
    before the refused one are set.
    """
    with Driver(folder) as driver:
        index = gpu_index(driver, gpu)
        for field, value in fields.items():
            match field.split("."):
                case ["nvlink", link, name]:
                    driver.command(f"set nvlink {index} {link} {name} {value}")
                case [name]:
                    driver.command(f"set gpu {index} {name} {value}")
                case _:
                    raise ConfigError(
                        f"'{field}' is no field: write name=value or nvlink.3.state=down"
                    )


def parse_fields(texts: Sequence[str]) -> dict[str, str]:
    """Return ``name=value`` texts as a mapping; raise ConfigError for one that is not."""
    fields: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise ConfigError(f"'{text}' is no FIELD=VALUE, for example temperature_gpu_c=88")
        fields[name] = value
    return fields


def gpu_index(driver: Driver, name: str) -> int:
    """Return the index of the GPU with this index or UUID; raise ConfigError for none."""
    uuids = [
        fields["uuid"]
        for subject, fields in read_facts(driver.describe()).items()
        if subject.startswith("gpu ") and "uuid" in fields
    ]
    if name.isdecimal() and int(name) < len(uuids):
        return int(name)
    if name in uuids:
        return uuids.index(name)
    raise ConfigError(
        f"no GPU '{name}' in {driver.folder}: it has {len(uuids)}, by index from 0 or by UUID; "
        "'plumbline machine show' lists them"
    )


def read_facts(text: str) -> dict[str, dict[str, str]]:
    """Return a description by subject (``gpu 0``, ``nvlink 0 3``), then by field."""
    facts: dict[str, dict[str, str]] = defaultdict(dict)
    sizes = {"system": 1, "gpu": 2, "nvlink": 3, "pair": 3}
    for line in text.splitlines():
        words = line.split(" ")
        size = sizes.get(words[0])
        if size is not None and len(words) > size:
            facts[" ".join(words[:size])][words[size]] = " ".join(words[size + 1 :])
    return dict(facts)


def _read_text(source: str, where: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise ConfigError(f"{where}: cannot read the capture: {error.strerror}") from error
    return raw.decode(errors="replace")


def _read_profile(folder: Path) -> profile.Profile:
    path = folder / "profile.yaml"
    return profile.load(str(path.absolute()))
