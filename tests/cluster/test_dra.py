"""GPUs claimed through DRA, on a real node."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from testbed import pods, waiting

from agent.cluster.access import from_kubeconfig
from agent.cluster.connection import ApiError, Connection

DAEMONSET = Path(__file__).parents[2] / "daemonset"
PLUMBLINE = Path(sys.executable).with_name("plumbline")
ACCOUNT = "system:serviceaccount:kube-system:plumbline"
PATIENCE_S = 40
# A kubelet may ask for a claim before the API server has noticed that it may have it (the node
# authorizer's graph follows behind), and then tries again only a minute later. Tests of the agent
# do without that minute.
KUBELETS_READ_CLAIMS = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: kubelets-read-claims}
rules: [{apiGroups: [resource.k8s.io], resources: [resourceclaims], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kubelets-read-claims}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kubelets-read-claims}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:nodes"}]
"""
API, DRIVER = "resource.k8s.io/v1", "gpu.nvidia.com"
NICS = "nic.plumbline.dev"


@pytest.fixture
def claims(cluster, request):
    """Start the agent as its service account, with the classes that claims name.

    A parameter is the configuration's ``plumbline.dra``, with the ``mode`` where it is another.
    """
    classes = (DAEMONSET / "deviceclasses.yaml").read_text()
    if cluster.components.minor < 36:
        classes = classes.replace("  extendedResourceName:", "  #")
    applied = [
        *cluster.apply((DAEMONSET / "rbac.yaml").read_text()),
        *cluster.apply((DAEMONSET / "admission.yaml").read_text()),
        *cluster.apply(classes),
        *cluster.apply(KUBELETS_READ_CLAIMS),
    ]
    claims = Claims(cluster, bound_account(cluster))
    claims.start(getattr(request, "param", {}))
    yield claims
    cluster.delete_pods()
    # A kubelet that still has a claim takes no other of its name.
    claims.wait_none_left()
    claims.delete_all()
    cluster.agent.end()
    claims.delete_slices()
    cluster.core.delete_namespaced_pod("agent", "kube-system", grace_period_seconds=0)
    cluster.delete(*applied)


def bound_account(cluster):
    """A kubeconfig with the token that the kubelet would give to the agent's pod."""
    pod = pods.manifest("agent", pods.container(), serviceAccountName="plumbline")
    pod["metadata"]["namespace"] = "kube-system"
    cluster.core.create_namespaced_pod("kube-system", pod)

    def read():
        return cluster.core.read_namespaced_pod("agent", "kube-system")

    waiting.poll(lambda: read().spec.node_name, what=lambda: "the agent's pod is on no node")
    request = {
        "spec": {
            "audiences": [],
            "expirationSeconds": 3600,
            "boundObjectRef": {
                "kind": "Pod",
                "apiVersion": "v1",
                "name": "agent",
                "uid": read().metadata.uid,
            },
        }
    }
    token = cluster.core.create_namespaced_service_account_token(
        "plumbline", "kube-system", request
    ).status.token
    return with_token(cluster, "bound", token)


def with_token(cluster, name, token):
    path = cluster.plane.kubeconfig(name, user=ACCOUNT)
    config = yaml.safe_load(path.read_text())
    for each in config["users"]:
        each["user"] = {"token": token}
    path.write_text(yaml.safe_dump(config))
    return path


def configuration(mode="dra", **dra):
    # Through the device plugin GPUs reach containers by CDI as well.
    flags = {"plugin": {"deviceListStrategy": "cdi-cri"}}
    plumbline = {"mode": mode, "dra": dra}
    return yaml.safe_dump({"version": "v1", "flags": flags, "plumbline": plumbline})


class Claims:
    """What a cluster has to do with DRA."""

    def __init__(self, cluster, account):
        self._cluster = cluster
        self._account = account

    def start(self, dra, **options):
        """Start an agent, beside one that runs maybe."""
        self._cluster.agent.start(
            f"--node-name={self._cluster.node.name}",
            f"--kubeconfig={self._account}",
            config=configuration(**dra),
            **options,
        )
        waiting.poll(
            self.devices,
            what=lambda: self._cluster.explain("no devices are published"),
            timeout_s=20,
        )
        if dra.get("nics"):
            self.wait_devices(12, driver=NICS)

    @property
    def account(self):
        return Connection(from_kubeconfig(self._account))

    def _resource(self, kind):
        return self._cluster.dynamic.resources.get(api_version=API, kind=kind)

    def slices(self, *drivers):
        found = self._cluster.dynamic.get(self._resource("ResourceSlice")).to_dict()["items"]
        return [each for each in found if each["spec"]["driver"] in (drivers or (DRIVER,))]

    def devices(self, driver=DRIVER):
        found = self.slices(driver)
        return [device for each in found for device in each["spec"].get("devices") or ()]

    def wait_devices(self, count, timeout_s=20, driver=DRIVER):
        waiting.poll(
            lambda: len(self.devices(driver)) == count,
            what=lambda: self._cluster.explain(
                f"{len(self.devices(driver))} devices of {driver} are published"
            ),
            timeout_s=timeout_s,
        )

    def claim(self, name, count=1, constraints=(), **request):
        exactly = {"deviceClassName": DRIVER, **({"count": count} if count else {}), **request}
        devices = {"requests": [{"name": "gpus", "exactly": exactly}]}
        if constraints:
            devices["constraints"] = list(constraints)
        self.claim_devices(name, devices)

    def claim_devices(self, name, devices):
        self._cluster.apply(
            {
                "apiVersion": API,
                "kind": "ResourceClaim",
                "metadata": {"name": name, "namespace": pods.NAMESPACE},
                "spec": {"devices": devices},
            }
        )

    def pod(self, name, claim, containers=("main",)):
        made = [
            {**pods.container(each), "resources": {"claims": [{"name": "own"}]}}
            for each in containers
        ]
        return self._cluster.pod(
            name, *made, resourceClaims=[{"name": "own", "resourceClaimName": claim}]
        )

    def allocated(self, name):
        return [each["device"] for each in self.results(name)]

    def results(self, name):
        kind = self._resource("ResourceClaim")
        found = self._cluster.dynamic.get(kind, name=name, namespace=pods.NAMESPACE).to_dict()
        return found["status"]["allocation"]["devices"]["results"]

    def wait_none_left(self):
        """Wait until the kubelet has given every claim back."""
        folder = self._cluster.machine.folder / "var/lib/plumbline"
        waiting.poll(
            lambda: not list(folder.glob("*claims/*")),
            what=lambda: self._cluster.explain(
                f"claims are left: {list(folder.glob('*claims/*'))}"
            ),
            timeout_s=30,
        )

    def delete_all(self):
        kind = self._resource("ResourceClaim")
        for each in self._cluster.dynamic.get(kind, namespace=pods.NAMESPACE).items:
            self._cluster.dynamic.delete(kind, name=each.metadata.name, namespace=pods.NAMESPACE)

    def delete_slices(self):
        for each in self.slices(DRIVER, NICS):
            self._cluster.dynamic.delete(
                self._resource("ResourceSlice"), name=each["metadata"]["name"]
            )


def gpu_nodes(cluster, names):
    """The device nodes of GPUs by their names in the pool."""
    by_name = {uuid.lower(): i for i, uuid in enumerate(cluster.machine.uuids)}
    return {f"/dev/nvidia{by_name[name]}" for name in names}


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_pod_gets_the_gpus_of_its_claim(cluster, claims, count):
    claims.claim("some", count)
    pod = claims.pod("user", "some").wait_running(timeout_s=PATIENCE_S)

    names = claims.allocated("some")
    assert len(set(names)) == count
    assert pod.inside().gpus == gpu_nodes(cluster, names)


def test_containers_and_pods_share_a_claim(cluster, claims):
    claims.claim("common", 2)
    first = claims.pod("first", "common", containers=("a", "b")).wait_running(timeout_s=PATIENCE_S)
    second = claims.pod("second", "common").wait_running(timeout_s=PATIENCE_S)

    nodes = gpu_nodes(cluster, claims.allocated("common"))
    shown = subprocess.run(
        [PLUMBLINE, "claims", "--machine", cluster.machine.folder, "-o", "json"],
        capture_output=True,
        check=True,
    )
    (claim,) = json.loads(shown.stdout)
    assert (claim["name"], claim["state"]) == ("common", "completed")
    assert {each["device"] for each in claim["devices"]} == set(claims.allocated("common"))

    seen = [first.inside("a").gpus, first.inside("b").gpus, second.inside().gpus]
    assert seen == [nodes] * 3


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_claims_outlive_the_agent_and_the_kubelet(cluster, claims, how):
    claims.claim("lasting", 2)
    pod = claims.pod("user", "lasting").wait_running(timeout_s=PATIENCE_S)
    before = pod.inside().sight

    mark = cluster.agent.mark()
    cluster.agent.restart(how)
    cluster.agent.wait_event("dra_registered", since=mark)
    mark = cluster.agent.mark()
    cluster.restart("kubelet", how)
    cluster.agent.wait_event("dra_registered", since=mark)
    # The kubelet has wiped the slices, or does so in a moment.
    cluster.agent.wait_event("slices_published", since=mark)
    claims.wait_devices(8)
    claims.claim("later", 6)
    later = claims.pod("later", "later").wait_running(timeout_s=PATIENCE_S)

    assert pod.inside().sight == before
    taken = gpu_nodes(cluster, claims.allocated("lasting"))
    assert later.inside().gpus.isdisjoint(taken)
    pod.delete()
    later.delete()
    claims.wait_none_left()
    assert not list((cluster.machine.folder / "var/run/cdi").glob("*claim_*"))


def test_pods_that_ask_for_a_number_of_gpus_get_a_claim_of_their_own(cluster, claims):
    if cluster.components.minor < 36:
        pytest.skip("extended resources through DRA are off by default before 1.36")
    pod = cluster.pod("asks", gpus=2).wait_running(timeout_s=PATIENCE_S)

    assert len(pod.inside().gpus) == 2
    status = pod.status.to_dict()
    assert status["extended_resource_claim_status"]["resource_claim_name"].startswith("asks-")


def test_claims_select_by_attributes_and_demand_what_gpus_have_in_common(cluster, claims):
    expression = (
        f'device.attributes["{DRIVER}"].numaNode == 1 &&'
        f' device.capacity["{DRIVER}"].memory.compareTo(quantity("70Gi")) > 0'
    )
    claims.claim("by-cel", 2, selectors=[{"cel": {"expression": expression}}])
    claims.claim("together", 4, constraints=[{"matchAttribute": "resource.kubernetes.io/numaNode"}])
    model = f'device.attributes["{DRIVER}"].productName.startsWith("NVIDIA H100")'
    claims.claim("by-model", 1, selectors=[{"cel": {"expression": model}}])
    other = f'device.attributes["{DRIVER}"].productName.startsWith("NVIDIA A100")'
    claims.claim("other-model", 1, selectors=[{"cel": {"expression": other}}])
    unfit = claims.pod("user-other", "other-model")
    for name in ("by-cel", "together", "by-model"):
        claims.pod(f"user-{name}", name).wait_running(timeout_s=PATIENCE_S)

    nodes = {uuid.lower(): cluster.machine.numa_node(uuid) for uuid in cluster.machine.uuids}
    assert {nodes[each] for each in claims.allocated("by-cel")} == {1}
    assert {nodes[each] for each in claims.allocated("together")} == {0}
    assert len(claims.allocated("by-model")) == 1
    unfit.wait_unschedulable()


def test_an_administrator_looks_at_gpus_that_others_have(cluster, claims):
    claims.claim("all", 8)
    claims.pod("user", "all").wait_running(timeout_s=PATIENCE_S)
    labels = {"resource.kubernetes.io/admin-access": "true"}
    cluster.core.patch_namespace(pods.NAMESPACE, {"metadata": {"labels": labels}})
    try:
        claims.claim("look", None, allocationMode="All", adminAccess=True)
        looking = claims.pod("looking", "look").wait_running(timeout_s=PATIENCE_S)
        assert len(looking.inside().gpus) == 8
    finally:
        cluster.core.patch_namespace(
            pods.NAMESPACE, {"metadata": {"labels": dict.fromkeys(labels)}}
        )


def test_an_agent_writes_the_slices_of_its_own_node_and_no_others(cluster, claims):
    (own,) = claims.slices()

    def slice_of(node, **spec):
        pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
        return {
            "apiVersion": API,
            "kind": "ResourceSlice",
            "metadata": {"name": f"{node}-forged"},
            "spec": {"driver": DRIVER, "nodeName": node, "pool": pool, "devices": [], **spec},
        }

    path = f"/apis/{API}/resourceslices"
    here = cluster.node.name
    everywhere = slice_of(here, allNodes=True)
    del everywhere["spec"]["nodeName"]
    for forged, why in (
        (slice_of("other"), f"its own node, which is {here}"),
        (everywhere, f"its own node, which is {here}"),
        (slice_of(here, driver="dra.net"), "drivers are gpu.nvidia.com and nic.plumbline.dev"),
        (slice_of(here, pool={**own["spec"]["pool"], "name": "other"}), "named after its node"),
    ):
        with pytest.raises(ApiError, match=why) as caught:
            claims.account.post(path, forged)
        assert caught.value.status == 422

    # Another's slice can be deleted by the administrator, and not by the agent of this node.
    cluster.apply(slice_of("other"))
    try:
        with pytest.raises(ApiError, match="its own node"):
            claims.account.delete(f"{path}/other-forged")
    finally:
        claims.delete_slices()

    # The same account without a node in its token.
    unbound = Connection(from_kubeconfig(cluster.plane.kubeconfig("unbound", user=ACCOUNT)))
    with pytest.raises(ApiError, match="bound to no node"):
        unbound.post(path, slice_of(here))


def test_nothing_is_written_while_something_else_happens_on_the_node(cluster, claims):
    def versions():
        return {
            each["metadata"]["name"]: each["metadata"]["resourceVersion"]
            for each in claims.slices()
        }

    def label(value):
        body = {"metadata": {"labels": {"example.com/shift": value}}}
        cluster.core.patch_node(cluster.node.name, body)

    before = versions()
    label("night")
    try:
        cluster.node.wait(
            lambda node: node.metadata.labels.get("example.com/shift") == "night",
            why="the node has no new label",
            timeout_s=10,
        )
        pod = cluster.pod("without-gpus").wait_running(timeout_s=PATIENCE_S)
        assert not pod.inside().gpus
        pod.delete()
    finally:
        label(None)

    assert before
    assert versions() == before
