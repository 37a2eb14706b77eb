"""What the reader says about each PCI function."""

import os
from pathlib import Path

import pytest

from tests.native.sysfs_tree import BRIDGE, GPU, NIC, SysfsTree


@pytest.fixture
def tree(tmp_path):
    return SysfsTree(tmp_path)


def test_a_gpu_behind_a_switch_is_read_with_all_its_facts(tree):
    path = "pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:02.0/0000:18:00.0"
    tree.below(
        path,
        **GPU,
        numa_node="1",
        max_link_speed="32.0 GT/s PCIe",
        max_link_width="16",
        current_link_speed="2.5 GT/s PCIe",
        current_link_width="8",
    )
    tree.link(f"devices/{path}/driver", "bus/pci/drivers/nvidia")
    tree.link(f"devices/{path}/iommu_group", "kernel/iommu_groups/42")

    gpu = tree.read().device("0000:18:00.0")

    assert gpu.address == "0000:18:00.0"
    assert gpu.root == "pci0000:15"
    assert gpu.path == ["0000:15:01.0", "0000:16:00.0", "0000:17:02.0", "0000:18:00.0"]
    assert gpu.switch_address == "0000:16:00.0"
    assert (gpu.vendor_id, gpu.device_id, gpu.class_code) == (0x10DE, 0x2330, 0x030200)
    assert gpu.numa_node == 1
    assert (gpu.max_link_generation, gpu.max_link_width) == (5, 16)
    assert (gpu.current_link_generation, gpu.current_link_width) == (1, 8)
    assert gpu.driver == "nvidia"
    assert gpu.iommu_group == 42
    assert gpu.physical_function is None


def test_a_function_without_files_has_no_facts_and_no_warnings(tree):
    tree.function("pci0000:00/0000:00:03.0")

    read = tree.read()
    device = read.device("0000:00:03.0")

    assert device.root == "pci0000:00"
    assert device.path == ["0000:00:03.0"]
    facts = {
        name: getattr(device, name)
        for name in dir(device)
        if not name.startswith("_") and name not in {"address", "root", "path", "acs_redirect"}
    }
    assert set(facts.values()) == {None}
    assert len(facts) == 14
    assert read.warnings == []


def test_numa_node_minus_one_means_unknown(tree):
    tree.function("pci0000:00/0000:00:03.0", numa_node="-1")

    read = tree.read()

    assert read.device("0000:00:03.0").numa_node is None
    assert read.warnings == []


@pytest.mark.parametrize(
    "folder",
    [
        "pci0008:00",  # x86 and most Arm servers
        "platform/NVDA1104:00/pci0008:00",  # below a platform device
        "LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/47505500-0001/pci0008:00",  # Hyper-V
    ],
)
def test_the_host_bridge_is_found_wherever_it_hangs(tree, folder):
    tree.function(f"{folder}/0008:00:00.0", **BRIDGE)
    tree.function(f"{folder}/0008:00:00.0/0008:06:00.0", **GPU)

    gpu = tree.read().device("0008:06:00.0")

    assert gpu.root == "pci0008:00"
    assert gpu.path == ["0008:00:00.0", "0008:06:00.0"]


def test_a_host_bridge_inside_a_function_starts_a_new_path(tree):
    # Intel VMD: drives hang below a PCI function that has a domain of its own.
    vmd = "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0"
    tree.function(vmd, **{"class": "0x010802"})

    drive = tree.read().device("10000:e1:00.0")

    assert drive.root == "pci10000:e0"
    assert drive.path == ["10000:e0:06.0", "10000:e1:00.0"]


def test_devices_are_in_bus_order_with_long_domains_last(tree):
    for path in ("pci10000:e0/10000:e0:06.0", "pciffff:00/ffff:00:00.0", "pci0000:00/0000:00:1f.7"):
        tree.function(path)

    assert [d.address for d in tree.read().devices] == [
        "0000:00:1f.7",
        "ffff:00:00.0",
        "10000:e0:06.0",
    ]


def test_a_virtual_function_names_its_physical_function(tree):
    port = "pci0000:20/0000:20:01.0"
    tree.below(f"{port}/0000:21:00.0", **NIC, numa_node="1")
    tree.below(f"{port}/0000:21:00.4", **NIC)
    tree.link(f"devices/{port}/0000:21:00.4/physfn", f"devices/{port}/0000:21:00.0")

    read = tree.read()

    assert read.device("0000:21:00.4").physical_function == "0000:21:00.0"
    assert read.device("0000:21:00.4").numa_node == 1
    assert read.device("0000:21:00.0").physical_function is None


def test_nvswitches_and_nvme_drives_are_listed_by_address(tree):
    tree.function("pci0000:00/0000:05:00.0", vendor="0x10de", **{"class": "0x068000"})
    tree.function("pci0000:00/0000:06:00.0", vendor="0x1022", **{"class": "0x068000"})
    tree.function("pci0000:00/0000:07:00.0", vendor="0x144d", **{"class": "0x010802"})
    tree.function("pci0000:00/0000:08:00.0", vendor="0x144d", **{"class": "0x010601"})

    read = tree.read()

    assert read.nvswitches == ["0000:05:00.0"]
    assert read.nvmes == ["0000:07:00.0"]


def test_a_listing_of_folders_instead_of_links_gives_facts_without_a_place(tree):
    tree.write("bus/pci/devices/0000:18:00.0/vendor", "0x10de")

    read = tree.read()
    device = read.device("0000:18:00.0")

    assert device.vendor_id == 0x10DE
    assert (device.root, device.path) == (None, ["0000:18:00.0"])
    assert device.acs_redirect is None
    assert read.warnings == []


def test_an_unknown_address_is_none(tree):
    tree.function("pci0000:00/0000:00:03.0")

    read = tree.read()

    assert read.device("0000:00:04.0") is None
    assert read.distance("0000:00:03.0", "0000:00:04.0") is None
    assert read.acs_redirect("0000:00:04.0", "0000:00:03.0") is None


def test_a_root_without_sys_reads_as_an_empty_machine(tmp_path):
    from agent import _native

    read = _native.read_system(tmp_path)

    assert (read.devices, read.nics, read.numa_nodes) == ([], [], [])
    assert read.warnings == ["sys cannot be entered: No such file or directory."]


def test_a_root_that_is_not_there_is_named_in_the_warning(tmp_path):
    from agent import _native

    read = _native.read_system(tmp_path / "nowhere")

    assert read.devices == []
    assert read.warnings == [f"The root {tmp_path}/nowhere cannot be opened: {os.strerror(2)}."]


def test_the_live_machine_reads_without_a_failure():
    from agent import _native

    read = _native.read_system("/")

    assert all(d.path[-1] == d.address for d in read.devices)
    listed = Path("/sys/bus/pci/devices").glob("*")
    assert sorted(d.address for d in read.devices) == sorted(link.name for link in listed)


def test_values_outlive_the_tree_and_cannot_be_changed(tree):
    tree.function("pci0000:00/0000:00:03.0", vendor="0x10de")

    (device,) = tree.read().devices

    assert device.vendor_id == 0x10DE
    with pytest.raises(AttributeError):
        device.vendor_id = 1
    with pytest.raises(TypeError):
        type(device)()
