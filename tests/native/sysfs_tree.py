"""Builds sysfs roots with the kernel's layout: real folders below devices, relative links."""

import os
import struct
from pathlib import Path

from agent import _native

# Where large trees are made: a disk that others write to takes seconds for thousands of files.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# PCI Express Base Specification, 7.5.3.2: device/port type in the PCIe capability.
ROOT_PORT, UPSTREAM, DOWNSTREAM, PCI_BRIDGE = 4, 5, 6, 7

GPU = {"vendor": "0x10de", "device": "0x2330", "class": "0x030200"}
NIC = {"vendor": "0x15b3", "device": "0x1021", "class": "0x020700"}
BRIDGE = {"vendor": "0x8086", "device": "0x352a", "class": "0x060400"}
PEX_GEN4 = {"vendor": "0x1000", "device": "0xc010", "class": "0x060400"}
PEX_GEN5 = {"vendor": "0x1000", "device": "0xc030", "class": "0x060400"}


class SysfsTree:
    """A root folder that is filled step by step and then read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys = root / "sys"
        self.sys.mkdir(parents=True)

    def read(self) -> _native.SystemTree:
        return _native.read_system(self.root)

    def write(self, path: str, contents: str | bytes) -> Path:
        """Write a file below sys as the kernel shows it: text ends with a newline."""
        file = self.sys / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents if isinstance(contents, bytes) else f"{contents}\n".encode())
        return file

    def link(self, path: str, target: str) -> Path:
        """Make a relative link at ``path`` to ``target``, both below sys."""
        link = self.sys / path
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(self.sys / target, link.parent))
        return link

    def function(self, path: str, **files: str | bytes) -> str:
        """Add a PCI function at ``devices/<path>`` with these files; return its address."""
        address = path.rsplit("/", 1)[-1]
        folder = self.sys / "devices" / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, contents in files.items():
            self.write(f"devices/{path}/{name}", contents)
        self.link(f"bus/pci/devices/{address}", f"devices/{path}")
        return address

    def bridges(self, path: str, **files: str | bytes) -> None:
        """Add every bridge on a path that is not there yet."""
        names = path.split("/")
        for end in range(2, len(names) + 1):
            if not (self.sys / "bus/pci/devices" / names[end - 1]).is_symlink():
                self.function("/".join(names[:end]), **(BRIDGE | files))

    def below(self, path: str, **files: str | bytes) -> str:
        """Add a PCI function and the bridges above it; return its address."""
        self.bridges(path.rsplit("/", 1)[0])
        return self.function(path, **files)

    def numa_node(self, number: int, cpus: str, distances: str, kibibytes: int = 1024) -> None:
        folder = f"devices/system/node/node{number}"
        self.write(f"{folder}/cpulist", cpus)
        self.write(f"{folder}/distance", distances)
        self.write(f"{folder}/meminfo", f"Node {number} MemTotal:  {kibibytes} kB\nNode {number} ")

    def socket(self, cpu: int, package: int | str) -> None:
        self.write(f"devices/system/cpu/cpu{cpu}/topology/physical_package_id", str(package))

    def rdma(self, name: str, path: str, **ports: dict[str, str]) -> None:
        """Add an RDMA device to the function at ``devices/<path>``; ports are p1, p2."""
        folder = f"devices/{path}/infiniband/{name}"
        (self.sys / folder).mkdir(parents=True)
        self.link(f"{folder}/device", f"devices/{path}")
        for port, files in ports.items():
            for file, contents in files.items():
                self.write(f"{folder}/ports/{port[1:]}/{file}", contents)
        self.link(f"class/infiniband/{name}", folder)

    def interface(self, name: str, path: str, **files: str) -> None:
        """Add a network interface to the hardware at ``devices/<path>``."""
        folder = f"devices/{path}/net/{name}"
        (self.sys / folder).mkdir(parents=True)
        self.link(f"{folder}/device", f"devices/{path}")
        for file, contents in files.items():
            self.write(f"{folder}/{file}", contents)
        self.link(f"class/net/{name}", folder)


def config_space(port_type: int | None, *, acs: int | None = None, size: int = 4096) -> bytes:
    """Return a bridge's configuration space with a PCIe and maybe an ACS capability."""
    config = bytearray(4096)
    config[0x0E] = 1  # header type: bridge
    # A power-management capability stands before the PCIe one, as on real ports.
    config[0x34] = 0x40
    config[0x40:0x42] = bytes((0x01, 0x80 if port_type is not None else 0))
    if port_type is not None:
        config[0x80:0x84] = struct.pack("<BBH", 0x10, 0, 2 | port_type << 4)
        # AER first, then ACS.
        has_acs = acs is not None
        struct.pack_into("<I", config, 0x100, 0x0001 | 2 << 16 | (0x148 if has_acs else 0) << 20)
        if has_acs:
            struct.pack_into("<IHH", config, 0x148, 0x000D | 1 << 16, 0x00FF, acs)
    return bytes(config[:size])
