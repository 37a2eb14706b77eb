"""PCIe links, their bottleneck, and what access control does to the traffic."""

import pytest

from tests.native.sysfs_tree import (
    BRIDGE,
    DOWNSTREAM,
    GPU,
    NIC,
    PCI_BRIDGE,
    ROOT_PORT,
    UPSTREAM,
    SysfsTree,
    config_space,
)

REQUEST_REDIRECT, COMPLETION_REDIRECT = 0x4, 0x8

ROOT = "pci0000:15/0000:15:01.0"
UP = f"{ROOT}/0000:16:00.0"


@pytest.fixture
def tree(tmp_path):
    return SysfsTree(tmp_path)


def link(speed, width):
    return {"max_link_speed": speed, "max_link_width": width}


@pytest.mark.parametrize(
    ("text", "generation"),
    [
        ("2.5 GT/s PCIe", 1),
        ("5.0 GT/s PCIe", 2),
        ("8.0 GT/s PCIe", 3),
        ("16.0 GT/s PCIe", 4),
        ("32.0 GT/s PCIe", 5),
        ("64.0 GT/s PCIe", 6),
        ("8.0 GT/s", 3),
        ("8 GT/s", 3),
        ("Unknown", None),
        ("Unknown speed", None),
    ],
)
def test_link_speeds_in_every_wording_of_the_kernel(tree, text, generation):
    tree.function("pci0000:00/0000:00:03.0", current_link_speed=text)

    read = tree.read()

    assert read.device("0000:00:03.0").current_link_generation == generation
    assert read.warnings == []


@pytest.mark.parametrize(("text", "width"), [("16", 16), ("1", 1), ("0", None), ("255", None)])
def test_link_widths_with_both_numbers_for_unknown(tree, text, width):
    tree.function("pci0000:00/0000:00:03.0", max_link_width=text)

    read = tree.read()

    assert read.device("0000:00:03.0").max_link_width == width
    assert read.warnings == []


def bottleneck(tree, address):
    device = tree.read().device(address)
    return device.path_max_generation, device.path_max_width


def test_the_narrowest_hop_counts_as_one_link_not_as_two_minima(tree):
    # 8.0 GT/s x16 (126 Gb/s) is narrower than 32.0 GT/s x8 (252 Gb/s).
    tree.bridges(ROOT, **link("8.0 GT/s PCIe", "16"))
    tree.bridges(UP, **link("32.0 GT/s PCIe", "16"))
    tree.bridges(f"{UP}/0000:17:00.0", **link("32.0 GT/s PCIe", "16"))
    tree.function(f"{UP}/0000:17:00.0/0000:18:00.0", **GPU, **link("32.0 GT/s PCIe", "8"))

    assert bottleneck(tree, "0000:18:00.0") == (3, 16)


def test_a_hop_is_as_narrow_as_its_narrower_end(tree):
    tree.bridges(ROOT, **link("16.0 GT/s PCIe", "8"))
    tree.function(f"{ROOT}/0000:16:00.0", **GPU, **link("32.0 GT/s PCIe", "16"))

    assert bottleneck(tree, "0000:16:00.0") == (4, 8)


def test_the_way_through_a_switch_is_no_hop(tree):
    tree.bridges(ROOT, **link("32.0 GT/s PCIe", "16"))
    tree.bridges(UP, **link("32.0 GT/s PCIe", "16"))
    tree.bridges(f"{UP}/0000:17:00.0", **link("16.0 GT/s PCIe", "16"))
    tree.function(f"{UP}/0000:17:00.0/0000:18:00.0", **GPU)

    # Only the downstream port tells of the lower link, the upper one is full width.
    assert bottleneck(tree, "0000:18:00.0") == (4, 16)


def test_a_path_that_tells_only_halves_gives_the_halves(tree):
    tree.bridges(ROOT, max_link_speed="16.0 GT/s PCIe")
    tree.function(f"{ROOT}/0000:16:00.0", **GPU, max_link_speed="32.0 GT/s PCIe")

    assert bottleneck(tree, "0000:16:00.0") == (4, None)


def test_a_virtual_function_has_the_bottleneck_and_switch_of_its_physical_one(tree):
    port = f"{UP}/0000:17:00.0"
    tree.bridges(port, **link("16.0 GT/s PCIe", "16"))
    tree.function(f"{port}/0000:18:00.0", **NIC, **link("16.0 GT/s PCIe", "8"))
    tree.function(f"{port}/0000:18:00.1", **NIC, **link("Unknown", "0"))
    tree.link(f"devices/{port}/0000:18:00.1/physfn", f"devices/{port}/0000:18:00.0")

    assert bottleneck(tree, "0000:18:00.1") == (4, 8)
    assert tree.read().device("0000:18:00.1").switch_address == "0000:16:00.0"


def switched_pair(tree, *, root=None, first=None, second=None):
    """Two GPUs below one switch; each port's ACS control word, None for no capability."""
    tree.bridges(ROOT, config=config_space(ROOT_PORT, acs=root))
    tree.bridges(UP, config=config_space(UPSTREAM))
    tree.bridges(f"{UP}/0000:17:00.0", config=config_space(DOWNSTREAM, acs=first))
    tree.bridges(f"{UP}/0000:17:01.0", config=config_space(DOWNSTREAM, acs=second))
    tree.function(f"{UP}/0000:17:00.0/0000:18:00.0", **GPU)
    tree.function(f"{UP}/0000:17:01.0/0000:19:00.0", **GPU)
    read = tree.read()
    assert read.warnings == []
    return read


@pytest.mark.parametrize(
    ("control", "redirects"),
    [
        (None, False),
        (0x0, False),
        (0x13, False),  # source validation, translation blocking and upstream forwarding
        (REQUEST_REDIRECT, True),
        (COMPLETION_REDIRECT, True),
        (0x1D, True),  # what Linux enables with an IOMMU
    ],
)
def test_a_downstream_port_redirects_by_its_request_and_completion_bits(tree, control, redirects):
    read = switched_pair(tree, first=control)

    assert read.device("0000:18:00.0").acs_redirect is redirects
    assert read.device("0000:19:00.0").acs_redirect is False
    assert read.acs_redirect("0000:18:00.0", "0000:19:00.0") is redirects


def test_a_root_port_redirects_its_devices_but_not_what_stays_below_its_switch(tree):
    read = switched_pair(tree, root=0x1D)

    assert read.device("0000:18:00.0").acs_redirect is True
    assert read.acs_redirect("0000:18:00.0", "0000:19:00.0") is False


def test_devices_without_a_common_bridge_are_not_redirected(tree):
    switched_pair(tree, first=0x1D)
    tree.below("pci0000:15/0000:15:02.0/0000:20:00.0", **GPU)

    assert tree.read().acs_redirect("0000:18:00.0", "0000:20:00.0") is False


@pytest.mark.parametrize("size", [64, 256])
def test_configuration_the_kernel_does_not_show_is_unknown_without_a_warning(tree, size):
    # Without CAP_SYS_ADMIN reads end after 64 bytes; some hypervisors hide all above 256.
    tree.bridges(ROOT, config=config_space(ROOT_PORT, acs=0x1D, size=size))
    tree.function(f"{ROOT}/0000:16:00.0", **GPU)

    read = tree.read()

    assert read.device("0000:16:00.0").acs_redirect is None
    assert read.warnings == []


def test_a_bridge_without_configuration_file_is_unknown(tree):
    tree.below(f"{ROOT}/0000:16:00.0", **GPU)

    read = tree.read()

    assert read.device("0000:16:00.0").acs_redirect is None
    assert read.acs_redirect("0000:16:00.0", "0000:15:01.0") is False
    assert read.warnings == []


def test_a_redirecting_port_decides_even_beside_an_unreadable_one(tree):
    tree.bridges(ROOT, config=config_space(ROOT_PORT, size=64))
    tree.bridges(UP, config=config_space(UPSTREAM))
    tree.bridges(f"{UP}/0000:17:00.0", config=config_space(DOWNSTREAM, acs=0x1D))
    tree.function(f"{UP}/0000:17:00.0/0000:18:00.0", **GPU)

    assert tree.read().device("0000:18:00.0").acs_redirect is True


def test_an_integrated_device_has_no_port_above_that_could_redirect(tree):
    tree.function("pci0000:00/0000:00:03.0", **NIC)

    assert tree.read().device("0000:00:03.0").acs_redirect is False


def test_a_conventional_bridge_has_no_access_control(tree):
    tree.bridges(ROOT, config=config_space(ROOT_PORT))
    tree.bridges(UP, config=config_space(PCI_BRIDGE))
    tree.function(f"{UP}/0000:17:00.0", **NIC)

    assert tree.read().device("0000:17:00.0").acs_redirect is False


def test_a_truncated_configuration_header_leaves_a_warning(tree):
    tree.bridges(ROOT, config=config_space(ROOT_PORT, size=20))

    assert tree.read().warnings == [
        f"sys/devices/{ROOT}/config is shorter than a configuration header of 64 bytes."
    ]


@pytest.mark.parametrize("extended", [False, True])
def test_a_capability_list_that_bites_its_tail_ends_with_a_warning(tree, extended):
    config = bytearray(config_space(ROOT_PORT))
    if extended:
        config[0x100:0x104] = (0x0001 | 0x100 << 20).to_bytes(4, "little")
    else:
        config[0x40:0x42] = bytes((0x01, 0x40))
    tree.function(ROOT, **BRIDGE, config=bytes(config))

    assert tree.read().warnings == [
        f"sys/devices/{ROOT}/config has a list of capabilities that does not end."
    ]
