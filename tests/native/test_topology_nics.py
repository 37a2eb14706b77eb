"""NICs: RDMA devices and interfaces, joined where one function is both."""

import pytest

from tests.native.sysfs_tree import NIC, SysfsTree

PORT = "pci0000:15/0000:15:01.0"
CARD = f"{PORT}/0000:16:00.0"
ACTIVE = {"state": "4: ACTIVE", "rate": "400 Gb/sec (4X NDR)", "link_layer": "InfiniBand"}
MANAGEMENT_DATA = b"\x82\x10\0ConnectX-7 BRIDGE\x90\x20\0V2\x0bSMDL=SW_MNG\x78"


@pytest.fixture
def tree(tmp_path):
    return SysfsTree(tmp_path)


def ports(nic):
    return [(p.number, p.state, p.rate_gbps, p.link_layer) for p in nic.ports]


def test_an_rdma_device_and_the_interface_of_its_function_are_one_nic(tree):
    tree.below(CARD, **NIC, numa_node="1")
    tree.rdma("mlx5_0", CARD, p1=ACTIVE)
    tree.interface("ibp22s0", CARD, operstate="down", type="32")

    read = tree.read()
    (nic,) = read.nics

    assert nic.name == "mlx5_0"
    assert nic.address == "0000:16:00.0"
    assert nic.rdma is True
    assert nic.interfaces == ["ibp22s0"]
    assert ports(nic) == [(1, "ACTIVE", 400.0, "InfiniBand")]
    assert nic.numa_node == 1
    assert nic.physical_function is None
    assert nic.nvlink_management is False
    assert read.warnings == []


def test_ports_keep_their_numbers_and_what_they_tell(tree):
    tree.below(CARD, **NIC)
    tree.rdma(
        "mlx4_0",
        CARD,
        p2={"state": "1: DOWN", "rate": "2.5 Gb/sec (1X SDR)", "link_layer": "Ethernet"},
        p1={"state": "2: INIT", "rate": "112.5 Gb/sec (4X HDR)"},
    )

    (nic,) = tree.read().nics

    assert ports(nic) == [(1, "INIT", 112.5, None), (2, "DOWN", 2.5, "Ethernet")]


def test_a_plain_ethernet_card_is_named_after_its_interface(tree):
    tree.below(CARD, **NIC, numa_node="0")
    tree.interface("ens3f0", CARD, operstate="up", speed="100000", type="1", dev_port="0")

    (nic,) = tree.read().nics

    assert (nic.name, nic.rdma, nic.interfaces) == ("ens3f0", False, ["ens3f0"])
    assert (nic.address, nic.numa_node) == ("0000:16:00.0", 0)
    assert ports(nic) == [(1, "ACTIVE", 100.0, "Ethernet")]


@pytest.mark.parametrize(
    ("operstate", "state"),
    [("up", "ACTIVE"), ("down", "DOWN"), ("lowerlayerdown", "DOWN"), ("unknown", None)],
)
@pytest.mark.parametrize(("speed", "rate"), [("25000", 25.0), ("2500", 2.5), ("-1", None)])
def test_interfaces_tell_state_and_speed_in_the_words_of_a_port(
    tree, operstate, state, speed, rate
):
    tree.below(CARD, **NIC)
    tree.interface("eth0", CARD, operstate=operstate, speed=speed, type="1")

    read = tree.read()

    assert ports(read.nics[0]) == [(1, state, rate, "Ethernet")]
    assert read.warnings == []


def test_two_ports_on_one_function_are_one_nic_with_two_interfaces(tree):
    tree.below(CARD, **NIC)
    tree.interface("enp22s0d1", CARD, operstate="down", type="1", dev_port="1")
    tree.interface("enp22s0", CARD, operstate="up", type="1", dev_port="0", speed="40000")

    (nic,) = tree.read().nics

    assert nic.name == "enp22s0"
    assert nic.interfaces == ["enp22s0", "enp22s0d1"]
    assert ports(nic) == [(1, "ACTIVE", 40.0, "Ethernet"), (2, "DOWN", None, "Ethernet")]


def test_two_functions_of_one_card_are_two_nics(tree):
    for function in "01":
        path = f"{PORT}/0000:16:00.{function}"
        tree.below(path, **NIC)
        tree.rdma(f"mlx5_{function}", path)
        tree.interface(f"ens1f{function}np{function}", path)

    nics = tree.read().nics

    assert [(n.name, n.address, n.interfaces) for n in nics] == [
        ("mlx5_0", "0000:16:00.0", ["ens1f0np0"]),
        ("mlx5_1", "0000:16:00.1", ["ens1f1np1"]),
    ]


def test_nics_are_in_natural_order(tree):
    names = ["mlx5_10", "mlx5_2", "mlx5_bond_0", "mlx5_1", "eth2", "eth10", "ibp1s0", "mlx5_02"]
    for number, name in enumerate(names):
        path = f"{PORT}/0000:16:00.{number}"
        tree.below(path, **NIC)
        tree.rdma(name, path) if "mlx5" in name else tree.interface(name, path)

    assert [n.name for n in tree.read().nics] == [
        "eth2",
        "eth10",
        "ibp1s0",
        "mlx5_1",
        "mlx5_02",
        "mlx5_2",
        "mlx5_10",
        "mlx5_bond_0",
    ]


def test_interfaces_without_hardware_are_no_nics(tree):
    for name in ("lo", "veth12ab", "bond0", "cni0"):
        tree.write(f"devices/virtual/net/{name}/operstate", "up")
        tree.link(f"class/net/{name}", f"devices/virtual/net/{name}")
    tree.write("class/net/bonding_masters", "bond0")
    tree.interface("usb0", "pci-less/usb1/1-1")

    read = tree.read()

    assert read.nics == []
    assert read.warnings == []


def test_switch_representors_are_no_interfaces_of_the_physical_function(tree):
    tree.below(CARD, **NIC)
    tree.rdma("mlx5_0", CARD)
    tree.interface("ens1np0", CARD, phys_port_name="p0")
    tree.interface("ens1pf0vf3", CARD, phys_port_name="pf0vf3")
    tree.interface("en3f0pf0sf88", CARD, phys_port_name="pf0sf88")

    (nic,) = tree.read().nics

    assert nic.interfaces == ["ens1np0"]


def test_a_virtio_interface_belongs_to_the_function_above_it(tree):
    tree.function("pci0000:00/0000:00:03.0", vendor="0x1af4", numa_node="0")
    tree.interface("eth0", "pci0000:00/0000:00:03.0/virtio2", operstate="up")

    (nic,) = tree.read().nics

    assert (nic.name, nic.address, nic.numa_node) == ("eth0", "0000:00:03.0", 0)


def test_a_subfunction_is_a_nic_of_its_own_at_the_address_of_its_function(tree):
    tree.below(CARD, **NIC)
    tree.rdma("mlx5_0", CARD)
    tree.interface("ens1np0", CARD)
    tree.rdma("mlx5_1", f"{CARD}/mlx5_core.sf.4")
    tree.interface("ens1s88", f"{CARD}/mlx5_core.sf.4")

    nics = tree.read().nics

    assert [(n.name, n.address, n.interfaces) for n in nics] == [
        ("mlx5_0", "0000:16:00.0", ["ens1np0"]),
        ("mlx5_1", "0000:16:00.0", ["ens1s88"]),
    ]


def test_an_rdma_device_on_the_auxiliary_bus_joins_the_interface_of_its_function(tree):
    tree.below(CARD, **NIC)
    tree.rdma("bnxt_re0", f"{CARD}/bnxt_en.rdma.0")
    tree.interface("ens1np0", CARD)

    (nic,) = tree.read().nics

    assert (nic.name, nic.address, nic.interfaces) == ("bnxt_re0", "0000:16:00.0", ["ens1np0"])


def test_software_rdma_has_no_address(tree):
    tree.write("devices/virtual/infiniband/rxe0/ports/1/state", "4: ACTIVE")
    tree.link("class/infiniband/rxe0", "devices/virtual/infiniband/rxe0")

    (nic,) = tree.read().nics

    assert (nic.name, nic.address, nic.rdma) == ("rxe0", None, True)
    assert ports(nic) == [(1, "ACTIVE", None, None)]


def test_a_virtual_function_names_its_physical_function_and_is_near_its_node(tree):
    tree.below(CARD, **NIC, numa_node="1")
    virtual = f"{PORT}/0000:16:00.2"
    tree.below(virtual, **NIC)
    tree.link(f"devices/{virtual}/physfn", f"devices/{CARD}")
    tree.rdma("mlx5_0", CARD)
    tree.rdma("mlx5_1", virtual)

    nics = tree.read().nics

    assert [(n.name, n.physical_function, n.numa_node) for n in nics] == [
        ("mlx5_0", None, 1),
        ("mlx5_1", "0000:16:00.0", 1),
    ]


def managing(tree, data, **files):
    tree.below(CARD, **(NIC | files), vpd=data)
    tree.rdma("mlx5_0", CARD, p1=ACTIVE)
    return tree.read().nics[0].nvlink_management


def test_the_functions_that_manage_nvlink_switches_say_so_in_their_vital_data(tree):
    assert managing(tree, MANAGEMENT_DATA) is True


@pytest.mark.parametrize(
    ("data", "files"),
    [
        (MANAGEMENT_DATA.replace(b"SW_MNG", b"CX7"), {}),
        (b"", {}),
        (MANAGEMENT_DATA, {"vendor": "0x14e4"}),
        (b"\0" * 65537 + MANAGEMENT_DATA, {}),
    ],
)
def test_other_functions_do_not_manage_nvlink_switches(tree, data, files):
    assert managing(tree, data, **files) is False


def test_a_board_with_nvswitches_on_pci_needs_no_managing_nics(tree):
    tree.function("pci0000:00/0000:05:00.0", vendor="0x10de", **{"class": "0x068000"})

    assert managing(tree, MANAGEMENT_DATA) is False


@pytest.mark.parametrize(
    ("file", "contents", "expected"),
    [
        ("state", "banana", (1, None, 400.0, "InfiniBand")),
        ("state", "4: ", (1, None, 400.0, "InfiniBand")),
        ("rate", "fast", (1, "ACTIVE", None, "InfiniBand")),
        ("rate", "nan Gb/sec", (1, "ACTIVE", None, "InfiniBand")),
        ("rate", "400 MB/sec", (1, "ACTIVE", None, "InfiniBand")),
        ("link_layer", "\x00\xff", (1, "ACTIVE", 400.0, None)),
    ],
)
def test_an_absurd_port_file_leaves_the_fact_absent_and_one_warning(tree, file, contents, expected):
    tree.below(CARD, **NIC)
    tree.rdma("mlx5_0", CARD, p1=ACTIVE | {file: contents})

    read = tree.read()

    assert ports(read.nics[0]) == [expected]
    (warning,) = read.warnings
    assert warning.startswith(f"sys/devices/{CARD}/infiniband/mlx5_0/ports/1/{file} ")
