"""The examples of claims, on the devices that reference machines publish."""

from itertools import combinations
from pathlib import Path

import pytest
import yaml
from scheduler import allocate

from agent.config.own import Plumbline, ServingMode
from agent.config.schema import Config
from agent.ledger.ledger import Ledger
from agent.planning.claim_parameters import read_parameters
from agent.planning.claim_usage import AS_IT_IS
from agent.planning.dra_nics import NicPool
from agent.planning.health import Health
from agent.planning.placement import Request
from agent.planning.pool import GpuPool
from agent.planning.slices import Pool, plan_slices
from agent.planning.snapshot import build_snapshot

DAEMONSET = Path(__file__).parents[2] / "daemonset"
GPUS, NICS = "gpu.nvidia.com", "nic.plumbline.dev"
ROOT, NUMA = "resource.kubernetes.io/pcieRoot", "resource.kubernetes.io/numaNode"

CONFIG = Config(plumbline=Plumbline(mode=ServingMode.DRA))


def documents(path):
    return list(yaml.safe_load_all((DAEMONSET / path).read_text()))


def example(name):
    template, pod = documents(f"examples/{name}.yaml")
    (claim,) = pod["spec"]["resourceClaims"]
    assert claim["resourceClaimTemplateName"] == template["metadata"]["name"] == name
    return template["spec"]["spec"]["devices"]


@pytest.fixture
def pools(inventories):
    def of(machine):
        seen = build_snapshot(CONFIG, inventories[machine], Health(), previous=None)
        offered = {
            GPUS: GpuPool(snapshot=seen, ledger=Ledger()).offering,
            NICS: NicPool(snapshot=seen).offering,
        }
        return {
            driver: [
                device
                for one in plan_slices(
                    each, Pool(driver=driver, node="n", node_uid="u"), "NoSchedule"
                )
                for device in one["spec"]["devices"]
            ]
            for driver, each in offered.items()
        }

    return of


def where(results, attribute):
    return {request: device["attributes"].get(attribute) for request, _, device in results}


@pytest.mark.parametrize("path", sorted(DAEMONSET.glob("examples/*.yaml")), ids=lambda p: p.stem)
def test_every_example_names_classes_and_requests_that_there_are(path):
    classes = {each["metadata"]["name"] for each in documents("deviceclasses.yaml")}
    devices = example(path.stem)

    names = set()
    for request in devices["requests"]:
        names.add(request["name"])
        for way in request.get("firstAvailable") or [request["exactly"]]:
            assert way["deviceClassName"] in classes
            names |= {f"{request['name']}/{way['name']}"} if "name" in way else set()
    for each in devices.get("config", ()):
        assert set(each["requests"]) <= names
        assert each["opaque"]["driver"] == GPUS
        assert read_parameters(each["opaque"]["parameters"], "").usage != AS_IT_IS
    for constraint in devices.get("constraints", ()):
        assert set(constraint["requests"]) <= names
        # All that two drivers have in common.
        assert constraint["matchAttribute"].startswith("resource.kubernetes.io/")


def test_on_a_dgx_every_gpu_can_be_claimed_with_the_nic_of_its_rail(pools):
    there = pools("dgx-h100")
    taken, rails = [], set()
    for _ in range(8):
        results = allocate(example("gpu-and-nic"), there, taken)
        assert len({str(each) for each in where(results, ROOT).values()}) == 1
        (rail,) = {device["attributes"]["rail"]["int"] for _, _, device in results}
        rails.add(rail)
        taken += [(driver, device["name"]) for _, driver, device in results]

    assert rails == set(range(8))
    assert allocate(example("gpu-and-nic"), there, taken) is None


def test_two_gpus_of_a_numa_node_have_their_own_nics(pools):
    results = allocate(example("two-gpus-two-nics"), pools("dgx-h100"))

    roots = where(results, ROOT)
    assert roots["gpu-0"] == roots["nic-0"] != roots["gpu-1"] == roots["nic-1"]
    assert len({str(each) for each in where(results, NUMA).values()}) == 1


def test_a_nic_of_the_numa_node_is_the_next_best(pools):
    there = pools("dgx-h100")
    wanted = example("gpu-and-nic-or-near")
    best = allocate(wanted, there)
    on_rails = [(NICS, each["name"]) for each in there[NICS] if "rail" in each["attributes"]]

    next_best = allocate(wanted, there, on_rails)

    assert [request for request, _, _ in best] == ["nic/beside", "gpu"]
    assert len({str(each) for each in where(best, ROOT).values()}) == 1
    assert [request for request, _, _ in next_best] == ["nic/near", "gpu"]
    assert len({str(each) for each in where(next_best, NUMA).values()}) == 1


def test_where_no_root_is_shared_only_the_numa_node_helps(pools):
    there = pools("gb200-tray")

    assert allocate(example("gpu-and-nic"), there) is None
    results = allocate(example("gpu-and-nic-or-near"), there)
    assert [request for request, _, _ in results] == ["nic/near", "gpu"]


@pytest.mark.parametrize(
    "machine", ["dgx-a100", "dgx-b200", "gb200-tray", "hgx-a100-2nic-asym", "l40s-8gpu-2socket-vm"]
)
def test_every_machine_publishes_its_nics_under_names_of_their_own(pools, inventories, machine):
    nics = pools(machine)[NICS]

    expected = [n for n in inventories[machine].nics if n.rdma and not n.nvlink_management]
    addresses = {each["attributes"]["resource.kubernetes.io/pciBusID"]["string"] for each in nics}
    assert addresses == {each.address for each in expected}
    assert len({each["name"] for each in nics}) == len(nics) == len(expected) > 0


@pytest.mark.parametrize("machine", ["dgx-h100", "dgx-1v", "a100-pcie-bridges"])
def test_two_gpus_of_an_idle_node_are_as_near_as_any_two(inventories, machine):
    seen = build_snapshot(CONFIG, inventories[machine], Health(), previous=None)
    offering = GpuPool(snapshot=seen, ledger=Ledger()).offering
    uuids = [gpu.uuid for gpu in seen.inventory.gpus]

    first_two = tuple(uuid for each in offering.devices[:2] for uuid in each.subject.gpus)

    def key(pair):
        request = Request(available=pair, size=2, must_include=pair, free=tuple(uuids))
        return seen.placement.choose(request).explanation.ring_gbps

    # The scheduler takes the first that fit.
    assert key(first_two) == max(key(pair) for pair in combinations(uuids, 2))
