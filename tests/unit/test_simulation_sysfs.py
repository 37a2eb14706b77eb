"""The rendered files have the kernel's shape; read here without the product's reader."""

import posixpath
import struct

import msgspec
import pytest

from agent.simulation import build, entries, expand, profile

NAMES = profile.shipped()
DEEP = "sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:01.0/0000:19:00.0/0000:1a:00.0"
GPU0 = f"{DEEP}/0000:1b:00.0"
NIC0 = "sys/devices/pci0000:15/0000:15:01.0/0000:16:00.0/0000:17:00.0/0000:18:00.0"


class Tree:
    """Rendered entries by path, links followed as the kernel's paths are."""

    def __init__(self, name, **changes):
        loaded = msgspec.structs.replace(profile.load(name), **changes)
        rendered = list(build.render(expand.expand(loaded)))
        self.files = {e.path: e.content for e in rendered if isinstance(e, entries.File)}
        self.links = {e.path: e.target for e in rendered if isinstance(e, entries.Link)}
        self.nodes = {
            e.path: (e.major, e.minor) for e in rendered if isinstance(e, entries.DeviceNode)
        }
        self.folders = {
            path[:end]
            for path in (*self.files, *self.links, *self.nodes)
            for end in (place for place, letter in enumerate(path) if letter == "/")
        }

    def text(self, path):
        return self.files[path].decode().removesuffix("\n")

    def config(self, address):
        return self.files[f"{self.links[f'sys/bus/pci/devices/{address}']}/config"]


@pytest.fixture(scope="module")
def trees():
    return {name: Tree(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(trees, name):
    tree = trees[name]
    drivers = {path.rpartition("/")[0] for path in tree.links if "/drivers/" in path}
    classes = {path.rpartition("/")[0] for path in tree.links if path.startswith("sys/class/")}
    there = tree.folders | set(tree.files) | drivers | classes

    assert {path: to for path, to in tree.links.items() if to not in there} == {}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_rendered_twice(name):
    paths = [entry.path for entry in build.render(expand.expand(profile.load(name)))]

    assert len(paths) == len(set(paths))


@pytest.mark.parametrize("name", NAMES)
def test_every_device_is_listed_under_its_own_address(trees, name):
    listed = {
        posixpath.basename(path): target
        for path, target in trees[name].links.items()
        if path.startswith("sys/bus/pci/devices/")
    }

    assert listed
    assert all(posixpath.basename(target) == address for address, target in listed.items())


@pytest.mark.parametrize("name", NAMES)
def test_bus_numbers_lead_from_each_bridge_to_what_is_behind_it(trees, name):
    tree = trees[name]
    for path, target in tree.links.items():
        if not path.startswith("sys/bus/pci/devices/"):
            continue
        above = posixpath.basename(posixpath.dirname(target))
        bus = int(posixpath.basename(target).split(":")[1], 16)
        if above.startswith("pci"):
            assert bus == int(above.split(":")[1], 16)
            continue
        secondary, subordinate = struct.unpack_from("BB", tree.config(above), 0x19)
        folder = posixpath.dirname(target)
        assert bus == secondary <= subordinate
        assert tree.text(f"{folder}/secondary_bus_number") == str(secondary)
        assert tree.text(f"{folder}/subordinate_bus_number") == str(subordinate)


def capabilities(config):
    """Walk the list of capabilities as the kernel does."""
    found, pointer = {}, config[0x34]
    while pointer:
        assert config[pointer] not in found
        found[config[pointer]] = pointer
        pointer = config[pointer + 1]
    return found


def extended_capabilities(config):
    found, offset = {}, 0x100
    while offset:
        (header,) = struct.unpack_from("<I", config, offset)
        found[header & 0xFFFF] = offset
        offset = header >> 20
    return found


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("0000:15:01.0", 4),
        ("0000:16:00.0", 5),
        ("0000:17:00.0", 6),
        ("0000:19:00.0", 5),
        ("0000:1b:00.0", 0),
    ],
)
def test_configuration_space_tells_the_type_of_port(trees, address, port):
    config = trees["dgx-h100"].config(address)
    (flags,) = struct.unpack_from("<H", config, capabilities(config)[0x10] + 2)

    assert len(config) == 4096
    assert flags >> 4 & 0xF == port


def test_configuration_space_tells_identity_and_link_as_the_files_do(trees):
    tree = trees["dgx-h100"]
    config = tree.config("0000:1b:00.0")
    link = capabilities(config)[0x10]
    (capability,) = struct.unpack_from("<I", config, link + 0x0C)

    assert struct.unpack_from("<HH", config) == (0x10DE, 0x2330)
    assert struct.unpack_from("<HH", config, 0x2C) == (0x10DE, 0x16C1)
    assert config[0x09:0x0C] == bytes((0x00, 0x02, 0x03))
    assert (capability & 0xF, capability >> 4 & 0x3F) == (5, 16)
    assert tree.text(f"{GPU0}/max_link_speed") == "32.0 GT/s PCIe"
    assert tree.text(f"{GPU0}/max_link_width") == "16"


def test_a_bridges_subsystem_stands_in_a_capability(trees):
    config = trees["dgx-h100"].config("0000:19:00.0")

    place = capabilities(config)[0x0D]
    assert struct.unpack_from("<HH", config, place + 4) == (0x1000, 0x100B)


@pytest.mark.parametrize(("acs", "control"), [("off", 0), ("redirect", 0x1D)])
def test_access_control_of_ports_is_as_the_profile_says(acs, control):
    config = Tree("dgx-h100", acs=acs).config("0000:17:00.0")

    place = extended_capabilities(config)[0x000D]
    assert struct.unpack_from("<H", config, place + 6) == (control,)


def test_only_ports_have_access_control(trees):
    for address in ("0000:16:00.0", "0000:1b:00.0"):
        assert 0x000D not in extended_capabilities(trees["dgx-h100"].config(address))


def test_the_files_of_a_gpu(trees):
    tree = trees["dgx-h100"]

    expected = {
        "vendor": "0x10de",
        "device": "0x2330",
        "subsystem_vendor": "0x10de",
        "subsystem_device": "0x16c1",
        "class": "0x030200",
        "numa_node": "0",
        "local_cpulist": "0-55,112-167",
        "local_cpus": "00000000,000000ff,ffffffff,ffff0000,00000000,00ffffff,ffffffff",
        "modalias": "pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00",
    }
    assert {name: tree.text(f"{GPU0}/{name}") for name in expected} == expected
    assert tree.links[f"{GPU0}/driver"] == "sys/bus/pci/drivers/nvidia"
    assert tree.text(f"{GPU0}/uevent").splitlines()[:4] == [
        "DRIVER=nvidia",
        "PCI_CLASS=30200",
        "PCI_ID=10DE:2330",
        "PCI_SUBSYS_ID=10DE:16C1",
    ]


def test_a_device_without_a_node_is_beside_every_cpu(trees):
    nic = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0"

    assert trees["l40s-8x"].text(f"{nic}/numa_node") == "-1"
    assert trees["l40s-8x"].text(f"{nic}/local_cpulist") == "0-179"


def test_class_folders_lead_to_the_device_and_back(trees):
    tree = trees["dgx-h100"]

    assert tree.links["sys/class/infiniband/mlx5_0"] == f"{NIC0}/infiniband/mlx5_0"
    assert tree.links[f"{NIC0}/infiniband/mlx5_0/device"] == NIC0
    assert tree.links["sys/class/net/ibp24s0"] == f"{NIC0}/net/ibp24s0"
    assert tree.links[f"{NIC0}/net/ibp24s0/device"] == NIC0
    assert entries.relative(f"{NIC0}/infiniband/mlx5_0/device", NIC0) == "../../../0000:18:00.0"
    assert entries.relative("sys/class/net/ibp24s0", f"{NIC0}/net/ibp24s0").startswith(
        "../../devices/pci0000:15/"
    )


def test_the_functions_of_one_card_share_its_guid(trees):
    tree = trees["dgx-h100"]
    card = "sys/devices/pci0000:26/0000:26:01.0/0000:29:00"
    guids = [
        tree.text(f"{card}.{n}/infiniband/mlx5_{n + 1}/{name}")
        for n in (0, 1)
        for name in ("node_guid", "sys_image_guid")
    ]

    assert guids[0] == guids[1] == guids[3]
    assert guids[2] != guids[0]


def test_a_port_shows_state_rate_and_layer(trees):
    port = "sys/class/infiniband"
    tree = trees["dgx-h100"]
    folder = f"{tree.links[f'{port}/mlx5_0']}/ports/1"

    assert tree.text(f"{folder}/state") == "4: ACTIVE"
    assert tree.text(f"{folder}/rate") == "400 Gb/sec (4X NDR)"
    assert tree.text(f"{folder}/link_layer") == "InfiniBand"


def test_numa_nodes_and_cpus(trees):
    tree = trees["dgx-a100"]
    node, cpu = "sys/devices/system/node", "sys/devices/system/cpu"

    assert tree.text(f"{node}/online") == "0-7"
    assert tree.text(f"{node}/node3/cpulist") == "48-63,176-191"
    assert tree.text(f"{node}/node3/distance") == "12 12 12 10 32 32 32 32"
    assert tree.text(f"{node}/node3/meminfo").startswith("Node 3 MemTotal:      134217728 kB")
    assert tree.text(f"{cpu}/online") == "0-255"
    assert tree.text(f"{cpu}/cpu176/topology/physical_package_id") == "0"
    assert tree.text(f"{cpu}/cpu176/topology/thread_siblings_list") == "48,176"
    assert tree.text(f"{cpu}/cpu64/topology/physical_package_id") == "1"
    assert f"{cpu}/cpu0/online" not in tree.files


def test_nodes_without_cpus(trees):
    tree, node = trees["gb200-tray"], "sys/devices/system/node"

    assert tree.text(f"{node}/has_cpu") == "0-1"
    assert tree.text(f"{node}/has_memory") == "0-2,10,18,26"
    assert tree.text(f"{node}/node3/cpulist") == ""
    assert tree.text(f"{node}/node3/meminfo").startswith("Node 3 MemTotal:              0 kB")


def test_virtual_functions_know_their_physical_one():
    loaded = profile.load("t4-4x")
    entry = profile.Entry(nic="mlx5_0", card="cx6-hdr", at="81:00.0", vfs=2)
    root = profile.Root(root="0000:80", node=0, ports=(entry,))

    tree = Tree("t4-4x", pci=(*loaded.pci, root))

    folder = "sys/devices/pci0000:80/0000:80:01.0"
    assert tree.text(f"{folder}/0000:81:00.0/sriov_numvfs") == "2"
    assert tree.links[f"{folder}/0000:81:00.0/virtfn1"] == f"{folder}/0000:81:00.3"
    assert tree.links[f"{folder}/0000:81:00.3/physfn"] == f"{folder}/0000:81:00.0"
    assert tree.text(f"{folder}/0000:81:00.3/device") == "0x101e"
    assert tree.links["sys/class/infiniband/mlx5_0v1"].endswith("0000:81:00.3/infiniband/mlx5_0v1")


def iommu_groups(tree):
    groups = {}
    for path, target in tree.links.items():
        if path.startswith("sys/bus/pci/devices/"):
            group = tree.links[f"{target}/iommu_group"]
            groups.setdefault(group, set()).add(posixpath.basename(target))
    return set(map(frozenset, groups.values()))


def test_without_access_control_a_root_port_is_one_iommu_group():
    behind = "15:01.0 16:00.0 17:00.0 17:01.0 18:00.0 19:00.0 1a:00.0 1b:00.0"

    groups = iommu_groups(Tree("dgx-h100", iommu=True))

    assert frozenset(f"0000:{address}" for address in behind.split()) in groups


def test_with_access_control_each_card_is_one_iommu_group():
    groups = iommu_groups(Tree("dgx-h100", iommu=True, acs="redirect"))

    assert frozenset({"0000:1b:00.0"}) in groups
    assert frozenset({"0000:29:00.0", "0000:29:00.1"}) in groups


def test_without_an_iommu_there_are_no_groups(trees):
    assert not [path for path in trees["dgx-h100"].links if path.endswith("/iommu_group")]


def test_what_the_driver_shows_in_proc(trees):
    tree = trees["gb200-tray"]
    gpu = "proc/driver/nvidia/gpus/0008:06:00.0"

    assert "Kernel Module  570.124.06" in tree.text("proc/driver/nvidia/version")
    assert "Device Minor: \t 0\n" in tree.text(f"{gpu}/information")
    assert tree.text(f"{gpu}/numa_status") == "Node: 2\nStatus: online"
    assert "507 nvidia-uvm\n" in tree.text("proc/devices")


def test_the_table_of_mig_minors(trees):
    lines = trees["dgx-h100"].text("proc/driver/nvidia-caps/mig-minors").splitlines()

    # 15 GPU instances of 8 compute instances each: 135 minors a GPU.
    assert lines[:4] == ["config 1", "monitor 2", "gpu0/gi0/access 3", "gpu0/gi0/ci0/access 4"]
    assert "gpu0/gi1/access 12" in lines
    assert "gpu1/gi0/access 138" in lines
    assert "gpu7/gi14/ci7/access 1082" in lines


def test_device_nodes(trees):
    nodes = trees["dgx-h100"].nodes

    assert nodes["dev/nvidia7"] == (195, 7)
    assert nodes["dev/nvidiactl"] == (195, 255)
    assert nodes["dev/nvidia-uvm"] == (507, 0)
    assert nodes["dev/nvidia-caps/nvidia-cap1"] == (234, 1)
    assert nodes["dev/infiniband/uverbs11"] == (231, 203)
    assert nodes["dev/dri/renderD129"] == (226, 129)
    assert not [path for path in nodes if "imex" in path]


def test_a_tray_of_a_rack_has_an_imex_channel(trees):
    tree = trees["gb200-tray"]

    assert tree.nodes["dev/nvidia-caps-imex-channels/channel0"] == (233, 0)
    assert "233 nvidia-caps-imex-channels\n" in tree.text("proc/devices")


def test_drm_nodes_belong_to_the_gpu_that_sysfs_shows_them_below(trees):
    tree = trees["dgx-h100"]
    cards = {
        posixpath.basename(path): target
        for path, target in tree.links.items()
        if path.startswith("sys/class/drm/")
    }

    assert f"dev/dri/{posixpath.basename(cards['renderD129'])}" in tree.nodes
    assert cards["renderD129"] == f"{GPU0}/drm/renderD129"
    assert {f"dev/dri/{name}" for name in cards} == {
        path for path in tree.nodes if path.startswith("dev/dri/")
    }
