"""GPUs and NICs claimed together, on a real node with two drivers."""

import signal

import pytest
import yaml
from test_dra import DAEMONSET, DRIVER, NICS, PATIENCE_S, claims, gpu_nodes

__all__ = ["claims"]  # a fixture

pytestmark = pytest.mark.parametrize("claims", [{"nics": True}], indirect=True)
ROOT, NUMA = "resource.kubernetes.io/pcieRoot", "resource.kubernetes.io/numaNode"
RDMA_CM = "/dev/infiniband/rdma_cm"


def example(name):
    """What the claim of an example asks for."""
    template, _pod = yaml.safe_load_all((DAEMONSET / f"examples/{name}.yaml").read_text())
    return template["spec"]["spec"]["devices"]


def placed(claims, name, attribute):
    """Where the devices of a claim are: an attribute by request."""
    found = {
        (driver, each["name"]): each["attributes"][attribute]
        for driver in (DRIVER, NICS)
        for each in claims.devices(driver)
    }
    return {each["request"]: found[each["driver"], each["device"]] for each in claims.results(name)}


def rdma_nodes(claims, name):
    """The device nodes of the NICs of a claim: on the simulated DGX that of mlx5_<i> is <i>."""
    rdma = {
        each["name"]: each["attributes"]["rdmaDevice"]["string"] for each in claims.devices(NICS)
    }
    mine = [each["device"] for each in claims.results(name) if each["driver"] == NICS]
    return {f"/dev/infiniband/uverbs{rdma[device].removeprefix('mlx5_')}" for device in mine}


def seen(inside):
    return {path for path in inside.devices if path.startswith("/dev/infiniband/")}


def test_a_pod_gets_a_gpu_and_the_nic_on_its_pcie_root(cluster, claims):
    claims.claim_devices("both", example("gpu-and-nic"))
    pod = claims.pod("user", "both").wait_running(timeout_s=PATIENCE_S)

    roots = placed(claims, "both", ROOT)
    assert roots["gpu"] == roots["nic"]
    inside = pod.inside()
    gpus = [each["device"] for each in claims.results("both") if each["driver"] == DRIVER]
    assert inside.gpus == gpu_nodes(cluster, gpus)
    assert seen(inside) == rdma_nodes(claims, "both") | {RDMA_CM}
    for path in seen(inside):
        node = inside.devices[path]
        assert f"c {node.major}:{node.minor} rw" in inside.allowed_devices


def test_two_gpus_have_a_nic_each_on_their_own_roots(cluster, claims):
    claims.claim_devices("four", example("two-gpus-two-nics"))
    pod = claims.pod("user", "four").wait_running(timeout_s=PATIENCE_S)

    roots = placed(claims, "four", ROOT)
    assert roots["gpu-0"] == roots["nic-0"] != roots["gpu-1"] == roots["nic-1"]
    assert len({str(each) for each in placed(claims, "four", NUMA).values()}) == 1
    assert len(pod.inside().gpus) == 2
    assert seen(pod.inside()) == rdma_nodes(claims, "four") | {RDMA_CM}


def test_where_no_nic_is_left_beside_a_gpu_one_of_its_numa_node_is_given(cluster, claims):
    on_a_rail = f'"rail" in device.attributes["{NICS}"]'
    # All NICs beside GPUs but one.
    taken = {
        "deviceClassName": NICS,
        "count": 7,
        "selectors": [{"cel": {"expression": on_a_rail}}],
    }
    claims.claim_devices("rails", {"requests": [{"name": "nics", "exactly": taken}]})
    claims.pod("holder", "rails").wait_running(timeout_s=PATIENCE_S)

    wanted = example("gpu-and-nic-or-near")
    for name in ("beside", "near"):
        claims.claim_devices(name, wanted)
        claims.pod(f"user-{name}", name).wait_running(timeout_s=PATIENCE_S)
        (nic,) = (each for each in claims.results(name) if each["driver"] == NICS)
        assert nic["request"] == f"nic/{name}"
        attribute = ROOT if name == "beside" else NUMA
        places = placed(claims, name, attribute)
        assert places["gpu"] == places[f"nic/{name}"]


def test_nics_outlive_the_agent_and_are_given_back(cluster, claims):
    claims.claim_devices("both", example("gpu-and-nic"))
    pod = claims.pod("user", "both").wait_running(timeout_s=PATIENCE_S)
    before = pod.inside().sight

    mark = cluster.agent.mark()
    cluster.agent.restart(signal.SIGKILL)
    cluster.agent.wait_event("dra_registered", since=mark)
    # An allocated NIC stays in the slices.
    claims.wait_devices(12, driver=NICS)

    assert pod.inside().sight == before
    pod.delete()
    claims.wait_none_left()
    assert not list((cluster.machine.folder / "var/run/cdi").glob("*claim_*"))
