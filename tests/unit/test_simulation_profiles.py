"""Profiles are read strictly; what cannot be a machine is refused in full sentences."""

from pathlib import Path

import msgspec
import pytest
import yaml

from agent.model.errors import ConfigError
from agent.simulation import expand, profile

SMALL = """
version: v1
name: small
summary: a machine for tests
gpu: a100-sxm4-40gb
root_port: amd-rome-port
sockets:
- - {node: 0, cpus: 0-3}
pci:
- root: 0000:10
  node: 0
  ports:
  - switch: broadcom-gen4
    below:
    - {gpu: 0, at: 20:00.0}
    - {nic: mlx5_0, at: 21:00.0}
  - {gpu: 1, at: 30:00.0}
"""

ON_THE_ROOT_PORT = (
    "- {root: 0000:40, node: 0, ports: [{nic: a, at: 40:01.0}, {nic: b, at: 41:00.0}]}"
)
ONE_OF = "0000:30:00.0: an entry is exactly one of gpu, nic or net, nvswitch, nvme, display, switch"


def refusal(text):
    with pytest.raises(ConfigError) as refused:
        expand.expand(profile.parse(text, where="small.yaml"))
    return str(refused.value)


def changed(old, new):
    assert old in SMALL
    return refusal(SMALL.replace(old, new))


def test_an_address_needs_no_quotes():
    """YAML 1.1 would read 20:00.0 as the number 1200."""
    spec = expand.expand(profile.parse(SMALL, where="small.yaml"))

    assert [gpu.address for gpu in spec.gpus] == ["0000:20:00.0", "0000:30:00.0"]


def test_an_unknown_key_is_named_with_its_path_and_the_nearest():
    assert changed("summary", "sumary") == (
        "small.yaml: unknown key 'sumary' at $; the nearest known key is 'summary'"
    )


def test_an_unknown_key_deep_in_the_tree():
    assert changed("{nic: mlx5_0,", "{nik: mlx5_0,") == (
        "small.yaml: unknown key 'nik' at $.pci[0].ports[0].below[1]; "
        "the nearest known key is 'nic'"
    )


def test_an_unknown_key_in_a_list_of_lists():
    assert changed("{node: 0,", "{nodes: 0,") == (
        "small.yaml: unknown key 'nodes' at $.sockets[0][0]; the nearest known key is 'node'"
    )


def test_a_key_twice():
    assert "the key 'name' stands twice" in refusal(SMALL + "name: again\n")


def test_a_missing_key():
    assert changed("gpu: a100-sxm4-40gb\n", "") == (
        "small.yaml: Object missing required field `gpu`"
    )


def test_a_value_of_the_wrong_type():
    assert changed("node: 0\n", "node: here\n") == (
        "small.yaml: Expected `int`, got `str` - at `$.pci[0].node`"
    )


def test_what_is_no_yaml():
    assert refusal("a: [").startswith("small.yaml: not YAML: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("? [a]\n: b\n", "not YAML: a key must be text"),
        ("? {a: b}\n: b\n", "not YAML: "),
        ("&a [*a]\n", ""),
        ("[" * 200_000 + "]" * 200_000, "is nested more than 100 levels deep"),
        ("!!python/object:os.system {}\n", "not YAML: could not determine a constructor"),
        ("\x00", "not YAML: "),
        ("- a\n", "Expected `object`, got `array`"),
    ],
    ids=["list-as-key", "mapping-as-key", "cycle", "deep", "python-tag", "nul", "list"],
)
def test_hostile_text_is_refused_in_a_sentence(text, reason):
    assert refusal(text).startswith(f"small.yaml: {reason}")


def test_off_is_a_word():
    loaded = profile.parse(SMALL + "acs: off\niommu: true\n", where="small.yaml")

    assert (loaded.acs, loaded.iommu) == ("off", True)


def test_an_unknown_profile():
    with pytest.raises(ConfigError) as refused:
        profile.load("dgx-h200")

    assert str(refused.value) == (
        "no profile 'dgx-h200': the nearest is 'dgx-h100'; 'plumbline machine list' shows all, "
        "and a path names a file of your own"
    )


def test_a_profile_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError) as refused:
        profile.load(f"{tmp_path}/mine.yaml")

    assert str(refused.value) == (
        f"{tmp_path}/mine.yaml: cannot read the profile: No such file or directory"
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "gpu: a100-sxm4-40gb",
            "gpu: a100-sxm-40gb",
            "unknown GPU model 'a100-sxm-40gb': the nearest is 'a100-sxm4-40gb'",
        ),
        (
            "switch: broadcom-gen4",
            "switch: brodcom-gen4",
            "unknown bridge 'brodcom-gen4': the nearest is 'broadcom-gen4'",
        ),
        (
            "nic: mlx5_0,",
            "nic: mlx5_0, card: i210-1g,",
            "0000:21:00.0: the card of 'mlx5_0' has no RDMA; say net instead",
        ),
        (
            "nic: mlx5_0,",
            "nic: mlx5_0, vfs: 300,",
            "0000:21:00.0: there is no room for 300 virtual functions",
        ),
        (
            "gpu: 1,",
            "gpu: 2,",
            "GPU indexes [0, 2]: they must be 0, 1, 2 ... without a gap",
        ),
        (
            "pci:\n",
            f"pci:\n{ON_THE_ROOT_PORT}\n",
            "two devices at 0000:40:01.0",
        ),
        (
            "pci:\n",
            "pci:\n- {root: 0000:2f, node: 0}\n",
            "root 0000:2f lies inside the buses of root 0000:10, which needs them up to 30",
        ),
        (
            "pci:\n",
            "pci:\n- {root: 0000:10, node: 0}\n",
            "root 0000:10 stands twice",
        ),
        (
            "at: 30:00.0",
            "at: 20:00.1",
            "root 0000:10: 0000:20:00.1 needs bus 20, but buses below 22 are taken",
        ),
        (
            "node: 0\n",
            "node: 1\n",
            "root 0000:10: there is no NUMA node 1",
        ),
        (
            "{gpu: 1, at",
            "{gpu: 1, node: 7, at",
            "0000:30:00.0: there is no NUMA node 7",
        ),
        (
            "{gpu: 1, at",
            "{gpu: 1, nvme: nvme0, at",
            f"{ONE_OF}; here: gpu, nvme",
        ),
        (
            "{gpu: 1, at",
            "{at",
            f"{ONE_OF}; here: none",
        ),
        (
            "at: 30:00.0",
            "at: 30:00.9",
            "root 0000:10: '30:00.9' is no PCI address like 1b:00.0 or 0008:06:00.0",
        ),
        (
            "at: 30:00.0",
            "at: 0001:30:00.0",
            "root 0000:10: 0001:30:00.0 is in another domain than its root",
        ),
        (
            "at: 20:00.0",
            "at: 12:00.0",
            "root 0000:10: the switch above 0000:12:00.0 needs bus 10, but buses below 11",
        ),
        (
            "root: 0000:10",
            "root: pci10",
            "root pci10: 'pci10' is no root complex like 0000:15",
        ),
        ("cpus: 0-3", "cpus: 0-2", "node 0: 3 CPUs are no whole number of cores"),
        ("version: v1", "version: v1\ncuda: twelve", "cuda: 'twelve' is no version like 12.8"),
        (
            "version: v1",
            "version: v1\nnvlink: {direct: {0-1: 13}}",
            "nvlink: GPU 0 would need 13 links, NVIDIA A100-SXM4-40GB has 12",
        ),
        (
            "version: v1",
            "version: v1\nnvlink: {direct: {0-2: 1}}",
            "nvlink.direct '0-2': there is no GPU 2; the machine has 2",
        ),
        (
            "version: v1",
            "version: v1\nnvlink: {direct: {0-1: 1, 1-0: 1}}",
            "nvlink.direct '1-0': name two GPUs, each pair once, and a count from 0",
        ),
        (
            "version: v1",
            "version: v1\nnvlink: {direct: {zero-one: 1}}",
            "nvlink.direct 'zero-one': a pair of GPUs is written like 0-3",
        ),
        (
            "version: v1",
            "version: v1\nnvlink: {switched: all, down: {1: 13}}",
            "nvlink.down: GPU 1 has 12 links, not 13",
        ),
        (
            "version: v1",
            "version: v1\ndistances: [{devices: [GPU0, mlx5_9], distance: SYS}]",
            "distances: there is no device 'mlx5_9'",
        ),
        (
            "version: v1",
            "version: v1\nmemory_nodes: [{nodes: 0-1, beside: 0}]",
            "a NUMA node stands twice among sockets and memory_nodes",
        ),
        (
            "version: v1",
            "version: v1\nmemory_nodes: [{nodes: 1-2, beside: 5}]",
            "memory_nodes '1-2': they must be some, beside a node with CPUs, not 5",
        ),
    ],
)
def test_a_shape_that_cannot_be_is_refused(old, new, reason):
    message = changed(old, new)

    assert message.startswith(f"profile small: {reason}")


def test_a_name_twice():
    text = SMALL + "  - {nic: mlx5_0, at: 31:00.0}\n"

    assert refusal(text) == "profile small: two devices named 'mlx5_0'"


def test_a_cpu_of_two_nodes():
    text = SMALL.replace(
        "- - {node: 0, cpus: 0-3}", "- - {node: 0, cpus: 0-3}\n  - {node: 1, cpus: 2-5}"
    )

    assert refusal(text) == "profile small: node 1: CPU 2 belongs to another node too"


@pytest.mark.parametrize("name", profile.shipped())
def test_a_written_profile_reads_back(name):
    loaded = profile.load(name)
    text = yaml.safe_dump(msgspec.to_builtins(loaded))

    assert profile.parse(text, where="again") == loaded


def test_twins_share_uuids_and_other_identities_do_not():
    def uuids(identity):
        loaded = msgspec.structs.replace(profile.parse(SMALL, where="x"), identity=identity)
        return [gpu.uuid for gpu in expand.expand(loaded).gpus]

    assert uuids("a") == uuids("a")
    assert len({*uuids("a"), *uuids("b")}) == 4


def test_the_documented_example_is_a_machine():
    page = Path(__file__).parents[2] / "docs" / "machine-profiles.md"
    example = page.read_text().split("```yaml\n")[1].split("```")[0]

    spec = expand.expand(profile.parse(example, where="the page"))

    assert [gpu.address for gpu in spec.gpus] == ["0000:13:00.0", "0000:14:00.0"]


def test_every_key_is_documented():
    page = (Path(__file__).parents[2] / "docs" / "machine-profiles.md").read_text()
    kinds = (profile.Profile, profile.Entry, profile.Node, profile.MemoryNodes, profile.Slit)
    names = {field.name for kind in kinds for field in msgspec.structs.fields(kind)}

    assert {name for name in names if f"`{name}`" not in page and f"{name}:" not in page} == set()
