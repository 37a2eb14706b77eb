"""The driver description: round trips, defaults, and errors that say what would do."""

import ctypes
import random

import pytest

EVERYTHING = {
    "system driver_version": "550.90.07",
    "system nvml_version": "12.550.90.07",
    "system cuda_version": "12040",
    "gpu 0 uuid": "GPU-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    "gpu 0 name": "NVIDIA GB200 # not a comment",
    "gpu 0 brand": "geforce-rtx",
    "gpu 0 architecture": "blackwell",
    "gpu 0 compute_capability": "10.3",
    "gpu 0 serial": "1",
    "gpu 0 board_part_number": "699-2G548-1201-801",
    "gpu 0 vbios_version": "97.00.52.00.02",
    "gpu 0 minor": "3",
    "gpu 0 pci_address": "10000:01:1f.0",
    "gpu 0 board_id": "513",
    "gpu 0 module_id": "1",
    "gpu 0 pci_device_id": "0x294110de",
    "gpu 0 pci_subsystem_id": "0x20da10de",
    "gpu 0 pci_class": "0x030200",
    "gpu 0 memory_total_bytes": "198642237440",
    "gpu 0 memory_reserved_bytes": "5",
    "gpu 0 memory_used_bytes": "6",
    "gpu 0 memory_bus_width_bits": "8192",
    "gpu 0 bar1_total_bytes": "8",
    "gpu 0 bar1_used_bytes": "7",
    "gpu 0 gpu_cores": "18944",
    "gpu 0 ecc_mode": "off",
    "gpu 0 ecc_pending": "on",
    "gpu 0 persistence_mode": "off",
    "gpu 0 compute_mode": "prohibited",
    "gpu 0 mig_mode": "on",
    "gpu 0 mig_pending": "off",
    "gpu 0 utilization_gpu_percent": "100",
    "gpu 0 utilization_memory_percent": "1",
    "gpu 0 power_usage_mw": "2",
    "gpu 0 power_limit_mw": "3",
    "gpu 0 power_default_limit_mw": "4",
    "gpu 0 power_min_limit_mw": "1",
    "gpu 0 power_max_limit_mw": "9",
    "gpu 0 temperature_gpu_c": "20",
    "gpu 0 temperature_shutdown_c": "21",
    "gpu 0 temperature_slowdown_c": "22",
    "gpu 0 temperature_max_operating_c": "23",
    "gpu 0 clock_graphics_mhz": "24",
    "gpu 0 clock_sm_mhz": "25",
    "gpu 0 clock_memory_mhz": "26",
    "gpu 0 clock_video_mhz": "27",
    "gpu 0 clock_max_graphics_mhz": "28",
    "gpu 0 clock_max_sm_mhz": "29",
    "gpu 0 clock_max_memory_mhz": "30",
    "gpu 0 clock_max_video_mhz": "31",
    "gpu 0 performance_state": "15",
    "gpu 0 pcie_max_generation": "6",
    "gpu 0 pcie_max_width": "8",
    "gpu 0 pcie_device_max_generation": "7",
    "gpu 0 pcie_current_generation": "1",
    "gpu 0 pcie_current_width": "4",
    "gpu 0 numa_node_id": "2",
    "gpu 0 cpu_affinity": "0-71,1023",
    "gpu 0 cpu_affinity_socket": "5",
    "gpu 0 memory_affinity": "0,255",
    "gpu 0 memory_affinity_socket": "",
    "gpu 0 fabric_state": "in-progress",
    "gpu 0 fabric_status": "10",
    "gpu 0 fabric_cluster_uuid": "00112233-4455-6677-8899-aabbccddeeff",
    "gpu 0 fabric_clique_id": "32766",
    "gpu 0 fabric_health_mask": "42",
    "gpu 0 platform_chassis_serial": "1821325191344567",
    "gpu 0 platform_slot_number": "255",
    "gpu 0 platform_tray_index": "2",
    "gpu 0 platform_host_id": "1",
    "gpu 0 platform_peer_type": "1",
    "gpu 0 platform_fabric_guid": "0x4d2f00a1b2c3d4e5",
    "gpu 0 c2c_links": "5",
    "gpu 0 c2c_max_bandwidth_mbps": "44712",
    "gpu 0 ecc_errors_corrected": "18446744073709551615",
    "gpu 0 ecc_errors_uncorrected": "2",
    "gpu 0 lost": "yes",
    "nvlink 0 35 state": "down",
    "nvlink 0 35 version": "5",
    "nvlink 0 35 remote_type": "npu",
    "nvlink 0 35 remote_pci_address": "0004:00:00.7",
    "nvlink 0 35 speed_mbps": "53125",
    "pair 0 1 ancestor": "internal",
    "pair 0 1 same_board": "yes",
    "pair 0 1 p2p": "disabled",
}


def test_every_field_survives_a_round_trip(machine, empty_machine):
    made = machine(changes=EVERYTHING)
    described = made.described()
    assert {key: described.get(key) for key in EVERYTHING} == EVERYTHING
    # The other GPU shows every field there is: none is missing from the list above.
    fields = {key.split()[-1] for key in described if key.startswith("gpu 1 ")}
    assert fields == {key.split()[-1] for key in EVERYTHING if key.startswith("gpu ")}

    copy = empty_machine("copy")
    assert copy.create(made.describe()) == ""
    assert copy.describe() == made.describe()


def test_what_is_left_out_has_its_documented_default(machine):
    described = machine(links=1).described()
    expected = {
        "system driver_version": "570.124.06",
        "system nvml_version": "12.570.124.06",
        "system cuda_version": "12080",
        "gpu 1 minor": "1",
        "gpu 1 board_id": str(256 * 0x2B),
        "gpu 1 brand": "nvidia",
        "gpu 1 ecc_pending": "on",
        "gpu 1 persistence_mode": "on",
        "gpu 1 pcie_max_generation": "4",
        "gpu 1 pcie_current_width": "16",
        "gpu 1 temperature_gpu_c": "30",
        "gpu 1 cpu_affinity": "",
        "gpu 1 fabric_cluster_uuid": "00000000-0000-0000-0000-000000000000",
        "gpu 1 lost": "no",
        "nvlink 1 0 state": "up",
        "nvlink 1 0 remote_pci_address": "none",
        "pair 0 1 same_board": "no",
        "pair 0 1 p2p": "ok",
    }
    assert {key: described[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"gpu 1 board_id": "6912"}, "same_board", "yes"),
        ({"pair 0 1 ancestor": "hostbridge"}, "p2p", "ok"),
        ({"pair 0 1 ancestor": "node"}, "p2p", "topology"),
        ({"pair 0 1 ancestor": "system"}, "p2p", "topology"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else next(iter(value.items()))[1],
)
def test_pairs_follow_from_their_gpus_and_distance(machine, changes, field, value):
    assert machine(changes=changes).described()[f"pair 0 1 {field}"] == value


def test_lines_may_stand_in_any_order_with_comments_and_blanks(empty_machine, description):
    lines = description().splitlines()
    random.Random(1).shuffle(shuffled := lines[1:])
    text = "\n# a comment\n\nmachine 1\r\n" + "\n  \n".join(f"  {x} \t\r" for x in shuffled)
    one, other = empty_machine("one"), empty_machine("other")
    assert one.create(text) == ""
    assert other.create(description()) == ""
    assert one.describe() == other.describe()


MISTAKES = {
    "": "line 1: the description is empty; it must begin with 'machine 1'",
    "machine 2\n": "line 1: the first line must be 'machine 1', not 'machine 2'",
    "machine 1\ngpuu 0 name x": "line 2: 'gpuu': there is no such subject; the nearest is gpu",
    "machine 1\n\ngpu 0 naem x": (
        "line 3: gpu 0 naem 'x': there is no such field; the nearest is name"
    ),
    "machine 1\ngpu 64 name x": "line 2: gpu '64': expected the number of a gpu, below 64",
    "machine 1\ngpu x name x": "line 2: gpu 'x': expected the number of a gpu, below 64",
    "machine 1\nnvlink 0 36 state up": (
        "line 2: nvlink '36': expected the number of a link, below 36"
    ),
    "machine 1\npair 1 1 ancestor node": "line 2: pair 1 1: a pair is of two different GPUs",
    "machine 1\ngpu 0 ecc_mode maybe": (
        "line 2: gpu 0 ecc_mode 'maybe': not a value of this field; expected one of off, on, none"
    ),
    "machine 1\ngpu 0 uuid GPU-1": (
        "line 2: gpu 0 uuid 'GPU-1': not a value of this field; "
        "expected GPU- and 8-4-4-4-12 hexadecimal digits"
    ),
    "machine 1\ngpu 0 utilization_gpu_percent 101": (
        "line 2: gpu 0 utilization_gpu_percent '101': not a value of this field; "
        "expected a number from 0 to 100"
    ),
    "machine 1\ngpu 0 cpu_affinity 3-1": (
        "line 2: gpu 0 cpu_affinity '3-1': not a value of this field; "
        "expected a list like 0-3,8 of numbers below 1024"
    ),
    "machine 1\ngpu 0 name": (
        "line 2: gpu 0 name '': not a value of this field; expected text of at most 95 bytes"
    ),
    "machine 1\ngpu 0 name a\ngpu 0 name b": "line 3: gpu 0 name 'b': it was given before",
    "machine 1\ngpu 0 name a": (
        "gpu 0 uuid: missing; expected GPU- and 8-4-4-4-12 hexadecimal digits"
    ),
    "machine 1\ngpu 1 name a": "gpu 0: missing, although there is a gpu 1",
    "machine 1\nnvlink 0 0 state up": "nvlink 0 0: there is no gpu 0",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_with_its_line_and_what_would_do(empty_machine, text):
    made = empty_machine()
    assert made.create(text) == MISTAKES[text]
    assert not made.state.exists()


CONTRADICTIONS = {
    "same uuid": (
        {"gpu 1 uuid": "GPU-00000000-1111-2222-3333-444444444444"},
        "gpu 1 uuid 'GPU-00000000-1111-2222-3333-444444444444': that is gpu 0's",
    ),
    "same address": (
        {"gpu 1 pci_address": "00000000:1B:00.0"},
        "gpu 1 pci_address '0000:1b:00.0': that is gpu 0's",
    ),
    "same minor": ({"gpu 1 minor": "0"}, "gpu 1 minor '0': that is gpu 0's"),
    "a function": (
        {"gpu 0 pci_address": "0000:1b:00.1"},
        "gpu 0 pci_address '0000:1b:00.1': a GPU is function 0 of its device",
    ),
    "too much memory": (
        {
            "gpu 0 memory_total_bytes": "9",
            "gpu 0 memory_used_bytes": "5",
            "gpu 0 memory_reserved_bytes": "18446744073709551615",
        },
        (
            "gpu 0 memory_used_bytes '5' and memory_reserved_bytes '18446744073709551615' are more "
            "than memory_total_bytes '9'"
        ),
    ),
    "ecc by halves": (
        {"gpu 0 ecc_pending": "none"},
        "gpu 0 ecc_mode 'on' and ecc_pending 'none': both are none or neither is",
    ),
    "power": (
        {"gpu 0 power_max_limit_mw": "5", "gpu 0 power_limit_mw": "6"},
        "gpu 0 power_limit_mw '6' is not between power_min_limit_mw '0' and power_max_limit_mw '5'",
    ),
    "no ancestor": (
        {"pair 0 1 ancestor": None},
        (
            "pair 0 1 ancestor: missing; expected one of internal, single, multiple, hostbridge, "
            "node, system"
        ),
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_facts_that_contradict_each_other_are_refused(empty_machine, description, case):
    changes, complaint = CONTRADICTIONS[case]
    assert empty_machine().create(description(changes=changes)) == complaint


def test_a_machine_is_not_replaced(machine, description):
    made = machine()
    before = made.describe()
    assert "there is a machine already" in made.create(description(gpus=1))
    assert made.describe() == before
    assert [path.name for path in made.folder.iterdir() if path.is_file()] == ["state"]


COMMAND_MISTAKES = {
    "sett gpu 0 lost yes": "'sett': there is no such command; the nearest is set",
    "set gpu 0 nname x": "gpu 0 nname 'x': there is no such field; the nearest is name",
    "set gpu 0 memory_total_bytes 1": (
        "gpu 0 memory_total_bytes '1': this field cannot be changed; "
        "the nearest that can is memory_used_bytes"
    ),
    "set pair 0 1 p2p ok": "pair 0 1 p2p 'ok': this field cannot be changed",
    "set system cuda_version 1": "system cuda_version '1': this field cannot be changed",
    "set gpu 2 lost yes": "gpu 2 lost 'yes': expected the number of a gpu, below 2",
    "set nvlink 0 5 state up": "nvlink 0 5 state 'up': the gpu has no such link",
    "xid 2 79": "'2': expected the number of a gpu, below 2",
    "xid 0 x": "code 'x': expected a number from 0 to 2^64 - 1",
    "xid 0 1 2": "ci '': expected a number from 0 to 4294967295",
    "xid 0 1 2 3 4": "'4': nothing is expected here",
    "event 0 ecc-singel": "'ecc-singel': there is no such event; the nearest is ecc-single",
    "lose 0 quietly": "'quietly': expected silently, or nothing",
}


@pytest.mark.parametrize("text", COMMAND_MISTAKES)
def test_a_wrong_command_changes_nothing_and_says_what_would_do(machine, text):
    made = machine()
    before = made.describe()
    error = made.try_command(f"set gpu 1 lost yes\n{text}")
    assert error == f"line 2: {COMMAND_MISTAKES[text]}"
    assert made.describe() == before


def test_the_lines_of_a_command_take_effect_together_or_not_at_all(machine):
    made = machine()
    before = made.describe()
    error = made.try_command("set gpu 0 memory_used_bytes 5\nset gpu 1 memory_used_bytes 1e9")
    assert "memory_used_bytes '1e9'" in error
    total = 80 << 30
    error = made.try_command(
        f"set gpu 0 memory_used_bytes {total}\nset gpu 0 memory_reserved_bytes 1"
    )
    assert "are more than" in error
    assert made.describe() == before
    made.command(f"set gpu 0 memory_reserved_bytes 1\nset gpu 0 memory_used_bytes {total - 1}")
    assert made.described()["gpu 0 memory_used_bytes"] == str(total - 1)
    too_many = "\n".join(["xid 0 1"] * 65)
    assert made.try_command(too_many) == "a command can cause at most 64 events"


def test_a_message_is_cut_to_its_buffer_at_a_character(empty_machine):
    library = empty_machine().load()
    text = "machine 1\ngpu 0 brand ééééééééééééééééééé".encode()
    whole = ctypes.create_string_buffer(500)
    assert library.plumbline_machine_create(text, whole, 500) == 1
    for size in range(len(whole.value) + 3):
        error = ctypes.create_string_buffer(b"~" * 600, 601)
        assert library.plumbline_machine_create(text, error, size) == 1
        if size == 0:
            assert error.value == b"~" * 600
            continue
        message = error.value.decode()
        assert len(error.value) < size
        assert error.raw[size:600] == b"~" * (600 - size)
        if size > len(whole.value):
            assert message == whole.value.decode()
        elif size > 3:
            assert message.endswith("...")
    assert library.plumbline_machine_create(text, None, 0) == 1
    assert library.plumbline_machine_create(None, whole, 500) == 1
    assert whole.value == b"description must not be null"


def test_describe_writes_nothing_into_a_buffer_that_is_too_small(machine):
    made = machine()
    library, error = made.load(), ctypes.create_string_buffer(200)
    needed = len(made.describe()) + 1
    buffer = ctypes.create_string_buffer(b"~" * 10, 11)
    size = ctypes.c_size_t(10)
    assert library.plumbline_machine_describe(buffer, ctypes.byref(size), error, 200) == 1
    assert (size.value, buffer.value) == (needed, b"~" * 10)
    assert error.value.decode() == f"the buffer is too small: {needed} bytes are needed"
    assert library.plumbline_machine_describe(buffer, None, error, 200) == 1


def test_sixty_four_gpus_with_every_link_fit(machine):
    made = machine(gpus=64, links=36)
    pynvml = made.pynvml()
    pynvml.nvmlInit()
    last = pynvml.nvmlDeviceGetHandleByIndex(63)
    assert pynvml.nvmlDeviceGetCount() == 64
    assert pynvml.nvmlDeviceGetNvLinkState(last, 35) == 1
    first = pynvml.nvmlDeviceGetHandleByIndex(0)
    assert pynvml.nvmlDeviceGetTopologyCommonAncestor(first, last) == 50
    made.command("set nvlink 63 35 state down\nset gpu 63 lost yes")
    described = made.described()
    assert described["nvlink 63 35 state"] == "down"
    assert described["pair 62 63 ancestor"] == "system"


def test_damaged_descriptions_never_crash(empty_machine, description):
    """Each is either refused with a message or accepted and then described."""
    chance = random.Random(20260101)
    original = description(links=1)
    library = empty_machine().load()
    error = ctypes.create_string_buffer(300)
    refused = 0
    for _ in range(300):
        text = bytearray(original.encode())
        for _ in range(chance.randrange(1, 4)):
            start = chance.randrange(10, len(text))
            end = start + chance.choice([0, 1, 2, 30])
            text[start:end] = chance.choice([b"", b"-", b"9" * 25, b"\n", b" ", b"\xff", b"none"])
        if library.plumbline_machine_create(bytes(text), error, 300) == 1:
            refused += bool(error.value)
    assert refused > 200
