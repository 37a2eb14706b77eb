"""Trees that no kernel makes: nothing raises, nothing hangs, nothing outside is read."""

import errno
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import _native
from tests.native.sysfs_tree import GPU, MEMORY, NIC, PEX_GEN5, ROOT_PORT, SysfsTree, config_space

ADDRESS = "0000:18:00.0"
ROOT = "pci0000:15/0000:15:01.0"
PATH = f"{ROOT}/{ADDRESS}"


@pytest.fixture
def tree(tmp_path):
    return SysfsTree(tmp_path / "root")


@pytest.mark.parametrize(
    ("file", "attribute"),
    [
        ("vendor", "vendor_id"),
        ("device", "device_id"),
        ("class", "class_code"),
        ("numa_node", "numa_node"),
        ("max_link_speed", "max_link_generation"),
        ("max_link_width", "max_link_width"),
        ("current_link_speed", "current_link_generation"),
        ("current_link_width", "current_link_width"),
    ],
)
@pytest.mark.parametrize(
    "contents",
    [b"banana\n", b"", b"\n", b"\xff\xfe\x00\x01", b"0x10de0x10de", b"-2", b"9" * 30, b"1 " * 3000],
)
def test_an_absurd_file_leaves_the_fact_absent_and_one_warning(tree, file, attribute, contents):
    tree.below(PATH, **{file: contents})

    read = tree.read()

    assert getattr(read.device(ADDRESS), attribute) is None
    (warning,) = read.warnings
    assert warning.startswith(f"sys/devices/{PATH}/{file} ")
    assert warning.isascii()
    assert warning.isprintable()


def test_warnings_quote_what_was_found(tree):
    tree.below(PATH, numa_node="banana", vendor=b"\x00\\x\n", max_link_width="")

    assert tree.read().warnings == [
        f'sys/devices/{PATH}/vendor says "\\x00\\x5cx", which is not a PCI id.',
        f'sys/devices/{PATH}/numa_node says "banana", which is not a NUMA node.',
        f"sys/devices/{PATH}/max_link_width is empty, which is not a PCIe link width.",
    ]


def test_a_folder_a_link_a_fifo_and_an_unreadable_file_are_warned_of(tree):
    tree.below(PATH)
    folder = tree.sys / "devices" / PATH
    (folder / "vendor").mkdir()
    (folder / "device").symlink_to("/etc/passwd")
    os.mkfifo(folder / "class")
    tree.write(f"devices/{PATH}/numa_node", "0").chmod(0)

    warnings = tree.read().warnings

    assert f"sys/devices/{PATH}/vendor cannot be read: Is a directory." in warnings
    assert (
        f"sys/devices/{PATH}/device cannot be opened: Too many levels of symbolic links."
        in warnings
    )
    assert f"sys/devices/{PATH}/class is empty, which is not a PCI class." in warnings
    if os.geteuid() != 0:
        assert f"sys/devices/{PATH}/numa_node cannot be opened: Permission denied." in warnings


def test_links_never_lead_out_of_the_root(tree, tmp_path):
    outside = SysfsTree(tmp_path / "outside")
    outside.below(PATH, vendor="0xdead")
    target = outside.sys / "devices" / PATH
    listing = tree.sys / "bus/pci/devices"
    listing.mkdir(parents=True)
    (listing / ADDRESS).symlink_to(target)
    (listing / "0000:19:00.0").symlink_to(
        "../" * 40 + str(target).lstrip("/").replace(ADDRESS, "0000:19:00.0")
    )
    # A folder on the way, too, may be a link.
    (tree.sys / "devices").symlink_to(outside.sys / "devices")
    (listing / "0000:15:01.0").symlink_to(f"../../../devices/{ROOT}")
    (tree.sys / "class").symlink_to("../../outside/sys/class")

    read = tree.read()

    assert read.devices == []
    assert len(read.warnings) == 3
    assert all("No such file or directory" in warning for warning in read.warnings)


def test_absolute_links_start_at_the_root(tree):
    tree.function(PATH, vendor="0x10de")
    link = tree.sys / "bus/pci/devices" / ADDRESS
    link.unlink()
    link.symlink_to(f"/sys/devices/{PATH}")

    read = tree.read()

    assert read.device(ADDRESS).vendor_id == 0x10DE
    assert read.device(ADDRESS).root == "pci0000:15"


def test_folders_on_the_way_may_be_links_inside_the_root(tree):
    tree.function(PATH, vendor="0x10de")
    (tree.sys / "devices").rename(tree.root / "elsewhere")
    (tree.sys / "devices").symlink_to("../elsewhere")

    assert tree.read().device(ADDRESS).vendor_id == 0x10DE


def test_dangling_and_circular_links_are_left_out_with_a_warning(tree):
    tree.below(PATH, **GPU)
    listing = tree.sys / "bus/pci/devices"
    (listing / "0000:19:00.0").symlink_to("../../../devices/pci0000:15/0000:19:00.0")
    (listing / "0000:1a:00.0").symlink_to("0000:1b:00.0")
    (listing / "0000:1b:00.0").symlink_to("0000:1a:00.0")
    (listing / "0000:1c:00.0").symlink_to(".")
    tree.write("devices/pci0000:15/0000:1d:00.0", "a file")
    (listing / "0000:1d:00.0").symlink_to("../../../devices/pci0000:15/0000:1d:00.0")
    (listing / "0000:1e:00.0").symlink_to(f"../../../devices/{PATH}")
    (listing / "0000:1f:00.0").symlink_to("/")

    read = tree.read()

    assert [d.address for d in read.devices] == ["0000:15:01.0", ADDRESS]
    assert sorted(read.warnings) == sorted(
        [
            f"sys/devices/pci0000:15/0000:19:00.0 cannot be entered: {os.strerror(errno.ENOENT)}.",
            f"sys/bus/pci/devices/0000:1b:00.0 cannot be entered: {os.strerror(errno.ELOOP)}.",
            f"sys/bus/pci/devices/0000:1a:00.0 cannot be entered: {os.strerror(errno.ELOOP)}.",
            "sys/bus/pci/devices is listed as 0000:1c:00.0.",
            f"sys/devices/pci0000:15/0000:1d:00.0 cannot be entered: {os.strerror(errno.ENOTDIR)}.",
            f"sys/devices/{PATH} is listed as 0000:1e:00.0.",
            "The root is listed as 0000:1f:00.0.",
        ]
    )


def test_entries_that_are_no_addresses_are_left_out_with_a_warning(tree):
    tree.below(PATH, **GPU)
    for name in ("banana", "0000:18:00.8", "0000:18:00", "0000:18:00.0.1", "0000:1G:00.0"):
        tree.write(f"bus/pci/devices/{name}/vendor", "0x10de")

    read = tree.read()

    assert [d.address for d in read.devices] == ["0000:15:01.0", ADDRESS]
    assert sorted(read.warnings) == [
        "sys/bus/pci/devices/0000:18:00 is not a PCI address.",
        "sys/bus/pci/devices/0000:18:00.0.1 is not a PCI address.",
        "sys/bus/pci/devices/0000:18:00.8 is not a PCI address.",
        "sys/bus/pci/devices/0000:1G:00.0 is not a PCI address.",
        "sys/bus/pci/devices/banana is not a PCI address.",
    ]


@pytest.mark.parametrize(
    "path",
    [
        f"pci0000:15/{ADDRESS}/{ADDRESS}",  # its own ancestor
        f"pci0000:15/0000:15:01.0/0000:16:00.0/0000:15:01.0/{ADDRESS}",
        f"pci0000:15/banana/{ADDRESS}",
        f"platform/{ADDRESS}",
    ],
)
def test_a_device_in_an_impossible_place_keeps_its_facts_but_has_no_place(tree, path):
    tree.function(path, **GPU, numa_node="0")

    read = tree.read()
    device = read.device(ADDRESS)

    assert (device.root, device.path, device.switch_address) == (None, [ADDRESS], None)
    assert (device.vendor_id, device.numa_node) == (0x10DE, 0)
    assert read.warnings == [f"sys/devices/{path} is no place for a PCI function."]


def test_odd_link_targets_of_a_function_are_absent_with_a_warning(tree):
    tree.below(PATH, **GPU)
    folder = tree.sys / "devices" / PATH
    (folder / "driver").symlink_to("../../bus/pci/drivers/no driver")
    (folder / "iommu_group").symlink_to("../../../kernel/iommu_groups/many")
    (folder / "physfn").symlink_to(f"../{ADDRESS}")

    read = tree.read()
    device = read.device(ADDRESS)

    assert (device.driver, device.iommu_group, device.physical_function) == (None, None, None)
    assert [warning.split()[0].rsplit("/")[-1] for warning in read.warnings] == [
        "iommu_group",
        "driver",
        "physfn",
    ]


def test_two_functions_that_each_claim_to_be_the_others_are_read(tree):
    other = f"{ROOT}/0000:19:00.0"
    for path, physical in ((PATH, other), (other, PATH)):
        tree.below(path, **NIC)
        tree.link(f"devices/{path}/physfn", f"devices/{physical}")

    read = tree.read()

    assert read.device(ADDRESS).physical_function == "0000:19:00.0"
    assert read.distance(ADDRESS, "0000:19:00.0") is _native.Distance.PIX


def test_names_that_are_no_text_are_left_out_with_a_warning(tree):
    tree.below(PATH, **NIC)
    tree.interface("eth0", PATH)
    (tree.sys / "class/net" / os.fsdecode(b"eth\xff\n")).symlink_to("../eth0")

    read = tree.read()

    assert [n.name for n in read.nics] == ["eth0"]
    assert read.warnings == ["sys/class/net/eth\\xff\\x0a has a name that is no plain text."]


def test_a_root_whose_name_is_no_text_can_be_read(tmp_path):
    root = tmp_path / os.fsdecode(b"m\xff")
    SysfsTree(root).below(PATH, **GPU)

    assert [d.address for d in _native.read_system(root).devices] == ["0000:15:01.0", ADDRESS]


def test_a_root_with_a_zero_byte_is_no_path():
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _native.read_system("/\0tmp")


def test_warnings_stop_at_a_count(tree):
    for bus in range(250):
        tree.function(f"pci0000:15/0000:{bus:02x}:00.0", vendor="banana")

    read = tree.read()

    assert len(read.devices) == 250
    assert len(read.warnings) == 201
    assert read.warnings[-1] == "50 more files could not be used."


def test_a_path_deeper_than_pci_can_be_is_given_up(tree):
    # The relative path of one call is bounded, so the folders are made step by step.
    here = os.open(tree.sys, os.O_RDONLY)
    for name in ["devices", "pci0000:15", *[f"0000:{n // 8:02x}:00.{n % 8}" for n in range(400)]]:
        os.mkdir(name, dir_fd=here)
        deeper = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    names = "/".join(f"0000:{n // 8:02x}:00.{n % 8}" for n in range(310))
    (tree.sys / "bus/pci/devices").mkdir(parents=True)
    # A link's text ends at 4,095 bytes; two steps reach deeper.
    (tree.sys / "short").symlink_to(f"devices/pci0000:15/{names[:2600].rsplit('/', 1)[0]}")
    rest = names[len(names[:2600].rsplit("/", 1)[0]) + 1 :]
    (tree.sys / "bus/pci/devices" / names.rsplit("/", 1)[1]).symlink_to(f"../../../short/{rest}")

    read = tree.read()

    assert read.devices == []
    (warning,) = read.warnings
    assert warning.endswith(f"cannot be entered: {os.strerror(errno.ENAMETOOLONG)}.")


def test_five_thousand_functions_are_read_in_bounded_time():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        tree = SysfsTree(Path(folder) / "root")
        for n in range(5000):
            bus, slot = divmod(n, 256)
            tree.function(f"pci{bus:04x}:00/{bus:04x}:{slot:02x}:01.0", vendor="0x8086")
        start = time.perf_counter()
        read = tree.read()
        elapsed = time.perf_counter() - start

    assert len(read.devices) == 5000
    assert read.warnings == []
    assert elapsed < 5  # about a tenth of a second on an idle machine


def small_machine(root):
    """A GPU and a NIC below a switch, with every file the reader knows."""
    tree = SysfsTree(root)
    switch = f"{ROOT}/0000:16:00.0"
    link = {"max_link_speed": "16.0 GT/s PCIe", "max_link_width": "16", "numa_node": "0"}
    tree.bridges(ROOT, config=config_space(ROOT_PORT, acs=0x1D), **link)
    tree.bridges(switch, **PEX_GEN5, subsystem_vendor="0x1000", subsystem_device="0x0004")
    gpu, nic = f"{switch}/0000:17:00.0/{ADDRESS}", f"{switch}/0000:17:01.0/0000:19:00.0"
    tree.below(gpu, **GPU, **link)
    tree.below(nic, **NIC, **link, vpd=b"SMDL=SW_MNG")
    tree.link(f"devices/{gpu}/driver", "bus/pci/drivers/nvidia")
    tree.link(f"devices/{gpu}/iommu_group", "kernel/iommu_groups/3")
    tree.link(f"devices/{gpu}/physfn", f"devices/{nic}")
    tree.rdma("mlx5_0", nic, p1={"state": "4: ACTIVE", "rate": "400 Gb/sec", "link_layer": "IB"})
    tree.interface("ib0", nic, operstate="up", speed="400000", type="32", dev_port="0")
    tree.numa_node(0, "0-1", "10 20")
    tree.numa_node(1, "", "20 10")
    tree.socket(0, 0)
    return tree


def all_paths(tree):
    """Everything below sys, by path; links are not followed."""
    found = (Path(folder) / n for folder, dirs, files in os.walk(tree.sys) for n in dirs + files)
    return sorted(str(path.relative_to(tree.sys)) for path in found)


with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
    PATHS = st.sampled_from(all_paths(small_machine(Path(folder))))

WORDS = ["-1", "0", "1", "16", "0x060400", "0x1000", "0xc030", "0-3", "4:ACTIVE", "\xff", "9" * 20]
CONTENTS = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(WORDS).map(lambda word: f"{word}\n".encode()),
    # Configuration space whose capability lists lead anywhere.
    st.binary(min_size=16, max_size=16).map(lambda block: block * 256),
)
TARGETS = st.one_of(
    st.sampled_from([".", "..", "/", "/sys", "../../..", "itself", "/etc", "../" * 30 + "etc"]),
    PATHS.map(lambda path: f"/sys/{path}"),
    st.tuples(st.integers(0, 8), PATHS).map(lambda t: "../" * t[0] + t[1]),
)
DAMAGE = st.one_of(
    st.tuples(PATHS, st.just("file"), CONTENTS),
    st.tuples(PATHS, st.just("link"), TARGETS),
    st.tuples(PATHS, st.just("folder"), st.none()),
    st.tuples(PATHS, st.just("nothing"), st.none()),
)


def damage(tree, path, kind, how):
    """Replace what is at a path; a path that earlier damage took away is passed over."""
    file = tree.sys / path
    if not file.parent.is_dir() or not file.parent.resolve().is_relative_to(tree.root.resolve()):
        return
    if file.is_symlink() or file.is_file():
        file.unlink()
    elif file.is_dir():
        shutil.rmtree(file)
    if kind == "file":
        file.write_bytes(how)
    elif kind == "link":
        file.symlink_to(how)
    elif kind == "folder":
        file.mkdir()


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(blows=st.lists(DAMAGE, min_size=1, max_size=12))
def test_a_damaged_machine_never_raises_never_hangs_and_stays_consistent(blows):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        tree = small_machine(Path(folder) / "root")
        for blow in blows:
            damage(tree, *blow)
        start = time.perf_counter()
        read = tree.read()
        elapsed = time.perf_counter() - start

    assert elapsed < 2
    assert all(warning.isascii() and warning.isprintable() for warning in read.warnings)
    for device in read.devices:
        assert device.path[-1] == device.address
        assert read.device(device.address).address == device.address
        assert read.distance(device.address, device.address) is _native.Distance.PIX
    for nic in read.nics:
        assert nic.name.isprintable()
        assert nic.address is None or nic.address.count(":") == 2
    for node in read.numa_nodes:
        assert node.cpus == sorted(set(node.cpus))


def test_a_healthy_machine_has_nothing_to_warn_of(tmp_path):
    read = small_machine(tmp_path).read()

    assert read.warnings == []
    assert [d.address for d in read.devices if d.class_code != 0x060400] == [
        ADDRESS,
        "0000:19:00.0",
    ]
    assert [(n.name, n.nvlink_management) for n in read.nics] == [("mlx5_0", True)]
