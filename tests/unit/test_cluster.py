"""The line to the API server: how it is found, followed, and written to."""

import asyncio
import base64
import queue
import socket
import time
from pathlib import Path

import pytest
import yaml
from api_server import NODE, ApiServer

from agent.cluster.access import find_access, from_kubeconfig, in_cluster
from agent.cluster.connection import ApiError, Connection
from agent.cluster.node import NodeLabels, shortened, write_event, write_node
from agent.cluster.pods import Evicted, evict
from agent.cluster.watching import Watch
from agent.daemon.cluster_link import REASON, STATE_LABEL, ClusterLink
from agent.model.errors import ClusterError, ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server():
    found = ApiServer()
    yield found
    found.close()


@pytest.fixture
def connection(server, tmp_path):
    found = Connection(from_kubeconfig(server.kubeconfig(tmp_path)))
    yield found
    found.close()


@pytest.fixture
def watch(connection):
    """A watch that is running; what it tells comes in order."""
    told = queue.Queue()
    labels = NodeLabels(NODE, lambda found: told.put(dict(found)))
    found = Watch(connection, labels, failed=told.put)
    found.start()
    yield told
    found.close()


def test_labels_are_told_when_they_change_and_only_then(server, watch):
    assert watch.get(timeout=10) == {}
    server.until(lambda: server.watches)
    server.heartbeat()
    server.heartbeat()
    server.label(mig__config="half")

    assert watch.get(timeout=10) == {"nvidia.com/mig.config": "half"}
    server.heartbeat()
    server.label(mig__config=None)
    assert watch.get(timeout=10) == {}
    assert watch.empty()


def test_a_watch_that_ends_goes_on_where_it_was(server, watch):
    assert watch.get(timeout=10) == {}
    server.until(lambda: server.watches)
    server.end_watches()
    server.label(mig__config="half")

    assert watch.get(timeout=10) == {"nvidia.com/mig.config": "half"}


def test_a_watch_that_breaks_is_begun_anew(server, watch):
    assert watch.get(timeout=10) == {}
    server.until(lambda: server.watches)
    server.cut_watches()
    assert "watching metadata.name" in str(watch.get(timeout=10))
    server.label(mig__config="half")

    assert watch.get(timeout=10) == {"nvidia.com/mig.config": "half"}
    assert watch.get(timeout=10) is None


def test_a_version_that_is_too_old_is_asked_for_anew(server, watch):
    assert watch.get(timeout=10) == {}
    server.until(lambda: server.watches)
    server.expire_watches()
    error = watch.get(timeout=10)
    assert isinstance(error, ApiError)
    assert watch.get(timeout=10) is None
    server.label(mig__config="half")

    assert watch.get(timeout=10) == {"nvidia.com/mig.config": "half"}


class Ended:
    """An answer that is at its end as soon as it is there."""

    def stream(self, amt):
        return iter(())

    def close(self):
        pass

    def shutdown(self):
        raise RuntimeError("Cannot shutdown as connection has already been released to the pool")


class Hasty:
    """A connection to a server that ends every watch at once."""

    def __init__(self):
        self.streams = 0

    def get(self, path):
        return {"metadata": {"resourceVersion": "1"}}

    def stream(self, path, **_):
        self.streams += 1
        return Ended()


def test_watches_that_end_at_once_are_not_asked_for_without_end():
    hasty = Hasty()
    watch = Watch(hasty, NodeLabels(NODE, lambda _: None), failed=lambda _: None)
    watch.start()
    time.sleep(1.0)

    watch.close()
    assert 2 <= hasty.streams <= 4


def test_a_watch_is_closed_also_where_it_ends_at_that_moment():
    watch = Watch(Hasty(), NodeLabels(NODE, lambda _: None), failed=lambda _: None)
    watch._answer = Ended()
    watch.close()


def test_a_server_that_is_gone_without_a_word_is_found_out(server, connection):
    answer = connection.stream(
        "/api/v1/nodes",
        read_s=10,
        watch="true",
        fieldSelector=f"metadata.name={NODE}",
        resourceVersion="1",
    )
    sock = answer.connection.sock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    answer.close()


def test_trouble_is_told_once_and_its_end_too(server, connection):
    told = queue.Queue()
    server.refuse = lambda *_: (503, "not ready", [("Retry-After", "0")])
    watch = Watch(connection, NodeLabels(NODE, told.put), failed=told.put)
    watch.start()
    error = told.get(timeout=10)
    assert "not ready (503)" in str(error)
    server.until(lambda: len(server.requests) >= 3)

    server.refuse = None

    assert told.get(timeout=20) == {}
    assert told.get(timeout=10) is None
    watch.close()


def test_who_may_not_is_told_what_to_bind(server, connection):
    server.refuse = lambda *_: (403, "nodes is forbidden", [])
    with pytest.raises(ApiError, match=r"bind the ClusterRole of daemonset/rbac\.yaml"):
        connection.get(f"/api/v1/nodes/{NODE}")


async def test_what_an_earlier_process_said_of_an_order_goes_with_the_order(server, tmp_path):
    server.merge({"labels": {STATE_LABEL: "pending", REASON: "dividing", "other": "stays"}})
    access = from_kubeconfig(server.kubeconfig(tmp_path))
    link = ClusterLink(access, NODE, ordered=lambda _: link.report(None))
    running = asyncio.create_task(link.run())

    gone = lambda: STATE_LABEL not in server.node["labels"]  # noqa: E731
    await asyncio.to_thread(server.until, gone)

    running.cancel()
    link.close()
    assert server.node["labels"] == {"other": "stays"}


def test_the_role_allows_what_is_asked_for_and_nothing_beside_it():
    documents = yaml.safe_load_all((ROOT / "daemonset/rbac.yaml").read_text())
    (role,) = [each for each in documents if each["kind"] == "ClusterRole"]
    assert {
        (group, resource): tuple(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    } == {
        ("", "nodes"): ("get", "watch", "patch"),
        ("", "events"): ("create",),
        ("", "pods"): ("get",),
        ("", "pods/eviction"): ("create",),
        ("resource.k8s.io", "resourceslices"): ("list", "watch", "create", "update", "delete"),
        ("resource.k8s.io", "resourceclaims"): ("get",),
    }


def test_a_server_that_is_away_is_named(connection, server):
    server.close()
    with pytest.raises(ClusterError, match=server.url):
        connection.get(f"/api/v1/nodes/{NODE}")


def test_what_is_written_is_merged(server, connection):
    server.merge({"labels": {"other": "stays", "goes": "x"}})
    write_node(connection, NODE, labels={"a": "1", "goes": None}, annotations={"b": "long text"})

    assert server.node == {
        "labels": {"other": "stays", "a": "1"},
        "annotations": {"b": "long text"},
    }


def test_events_are_about_the_node_and_not_too_long(server, connection):
    write_event(connection, NODE, warning=True, reason="MigLayoutFailed", message="ä" * 2000)

    (event,) = server.events
    assert event["involvedObject"]["name"] == NODE
    assert (event["type"], event["reason"]) == ("Warning", "MigLayoutFailed")
    assert len(event["message"].encode()) <= 1024
    assert event["message"].endswith("ä...")
    assert shortened("short") == "short"


def test_a_pod_is_evicted_as_it_was_looked_at(server, connection):
    path = "/api/v1/namespaces/a/pods/p"
    server.pods[path] = {"metadata": {"name": "p", "uid": "u-1"}}

    assert evict(connection, "a/p") is Evicted.ASKED

    (_, asked, body) = server.requests[-1]
    assert asked == f"{path}/eviction"
    assert body["deleteOptions"] == {"preconditions": {"uid": "u-1"}}
    assert evict(connection, "a/p") is Evicted.GONE


def test_pods_that_cannot_be_evicted(server, connection):
    path = "/api/v1/namespaces/a/pods/"
    server.pods[path + "kept"] = {"metadata": {"uid": "1"}}
    server.budgets.add(path + "kept")
    server.pods[path + "static"] = {
        "metadata": {"uid": "2", "annotations": {"kubernetes.io/config.mirror": "x"}}
    }
    server.pods[path + "ending"] = {"metadata": {"uid": "3", "deletionTimestamp": "now"}}

    assert evict(connection, "a/kept") is Evicted.BUDGET
    assert evict(connection, "a/static") is Evicted.STATIC
    assert evict(connection, "a/ending") is Evicted.ASKED
    asked = [path for method, path, _ in server.requests if method == "POST"]
    assert asked == [path + "kept/eviction"]


def test_a_pod_uses_its_service_account_and_follows_its_token(server, tmp_path):
    (tmp_path / "ca.crt").write_text("no certificate")
    (tmp_path / "token").write_text("first\n")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}

    access = in_cluster(environ, tmp_path)

    assert access.server == "https://[fd00::1]:443"
    assert access.token_file == tmp_path / "token"
    with pytest.raises(ConfigError, match="its certificates cannot be used"):
        Connection(access)
    assert in_cluster({}, tmp_path) is None
    assert in_cluster(environ, tmp_path / "none") is None
    assert find_access(None, {}) is None


def kubeconfig(tmp_path, **changes):
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://1.2.3.4:6443/"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump({**config, **changes}))
    return path


def test_a_kubeconfig_gives_server_certificates_and_token(tmp_path):
    data = base64.b64encode(b"pem").decode()
    (tmp_path / "key.pem").write_bytes(b"secret")
    path = kubeconfig(
        tmp_path,
        clusters=[
            {"name": "c", "cluster": {"server": "https://h:1/", "certificate-authority-data": data}}
        ],
        users=[{"name": "u", "user": {"client-certificate-data": data, "client-key": "key.pem"}}],
    )

    access = from_kubeconfig(path)

    assert (access.server, access.ca) == ("https://h:1", b"pem")
    assert (access.certificate, access.key, access.token) == (b"pem", b"secret", None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"current-context": "there"}, "there is no context 'there'; there are: here"),
        ({"users": []}, "there is no user 'u'; there are: none"),
        ({"users": [{"name": "u", "user": {"exec": {"command": "x"}}}]}, "with a program"),
        ({"clusters": [{"name": "c", "cluster": {"x": 1}}]}, "cluster 'c' has no server"),
        (
            {
                "clusters": [
                    {"name": "c", "cluster": {"server": "s", "certificate-authority": "no"}}
                ]
            },
            "certificate-authority: ",
        ),
    ],
)
def test_a_kubeconfig_that_lacks_something_is_refused_with_what(tmp_path, changes, said):
    with pytest.raises(ConfigError) as error:
        from_kubeconfig(kubeconfig(tmp_path, **changes))
    assert said in str(error.value)


def test_a_kubeconfig_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        from_kubeconfig(tmp_path / "none")
    (tmp_path / "list").write_text("- a\n")
    with pytest.raises(ConfigError, match="is no kubeconfig"):
        from_kubeconfig(tmp_path / "list")
