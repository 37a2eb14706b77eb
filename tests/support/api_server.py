"""A little of an API server, over HTTP on loopback: nodes, Events, pods and evictions, claims and
slices.
"""

import contextlib
import functools
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NODE = "node-1"
SLICES = "/apis/resource.k8s.io/v1/resourceslices"
END, CUT = "end", "cut"


class ApiServer:
    """Serves until closed. Everything that was asked for is in ``requests``."""

    def __init__(self, port=0):
        self.lock = threading.Condition()
        self.version = 1
        self.node = {"labels": {}, "annotations": {}}
        self.pods = {}
        self.claims = {}
        """Claims by path."""
        self.slices = {}
        """ResourceSlices by name."""
        self.minor = "36"
        self.drop = lambda document: document
        """Returns of a ResourceSlice what is stored: a server whose gates are off drops fields."""
        self.budgets = set()
        self.events = []
        self.requests = []
        self.refuse = None
        """Called with method and path; a (status, message, headers) is the answer."""
        self.watches = []
        """Those on the node."""
        self.slice_watches = []
        self.slice_changes = []
        self.server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
        self.server.api = self
        self.server.daemon_threads = True
        serve = functools.partial(self.server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def kubeconfig(self, folder):
        path = folder / "kubeconfig"
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def label(self, **labels):
        """Set labels as an operator does; None removes one. Dots are written __."""
        named = {key.replace("__", "."): value for key, value in labels.items()}
        self.merge({"labels": {f"nvidia.com/{key}": value for key, value in named.items()}})

    def merge(self, metadata):
        with self.lock:
            for part in ("labels", "annotations"):
                for key, value in (metadata.get(part) or {}).items():
                    self.node[part].pop(key, None)
                    if value is not None:
                        self.node[part][key] = value
            self._changed()

    def heartbeat(self):
        """Let the kubelet write the node's status."""
        with self.lock:
            self._changed()

    def until(self, condition, timeout_s=20):
        """Wait until a condition about this server holds."""
        with self.lock:
            assert self.lock.wait_for(condition, timeout_s), (self.node, self.events)

    def devices(self, driver):
        """The devices that a driver has published, by name."""
        return {
            device["name"]: device
            for each in self.slices.values()
            if each["spec"]["driver"] == driver
            for device in each["spec"].get("devices", ())
        }

    def end_watches(self):
        """End every watch, as a server does after a while."""
        for watch in (*self.watches, *self.slice_watches):
            watch.put(END)

    def cut_watches(self):
        """Break every watch, as a server does that is killed."""
        for watch in (*self.watches, *self.slice_watches):
            watch.put(CUT)

    def expire_watches(self):
        """Tell every watch that its version is too old."""
        gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "old"}}
        for watch in (*self.watches, *self.slice_watches):
            watch.put(gone)

    def store_slice(self, document):
        """Keep a ResourceSlice, and tell whoever watches; return what is kept."""
        with self.lock:
            self.version += 1
            name = document["metadata"]["name"]
            old = self.slices.get(name)
            uid = old["metadata"]["uid"] if old else f"uid-{self.version}"
            kept = self.drop(json.loads(json.dumps(document)))
            kept["metadata"] |= {"resourceVersion": str(self.version), "uid": uid}
            self.slices[name] = kept
            self._tell_slice("MODIFIED" if old else "ADDED", kept)
            return kept

    def wipe_slices(self, *names):
        """Delete ResourceSlices, as a kubelet does that starts; all where none is named."""
        with self.lock:
            for name in names or tuple(self.slices):
                gone = self.slices.pop(name, None)
                if gone is not None:
                    self.version += 1
                    gone["metadata"]["resourceVersion"] = str(self.version)
                    self._tell_slice("DELETED", gone)

    def _tell_slice(self, kind, document):
        change = {"type": kind, "object": json.loads(json.dumps(document))}
        self.slice_changes.append((self.version, change))
        self.lock.notify_all()
        for watch in self.slice_watches:
            watch.put(change)

    def close(self):
        self.cut_watches()
        self.server.shutdown()
        self.server.server_close()

    def object(self):
        return {
            "kind": "Node",
            "metadata": {
                "name": NODE,
                "uid": f"uid-of-{NODE}",
                "resourceVersion": str(self.version),
                **self.node,
            },
            "status": {"conditions": [{"lastHeartbeatTime": str(self.version)}]},
        }

    def _changed(self):
        self.version += 1
        self.lock.notify_all()
        for watch in self.watches:
            watch.put({"type": "MODIFIED", "object": json.loads(json.dumps(self.object()))})


def _selects(selector, document):
    """Whether a field selector such as ``spec.nodeName=n,spec.driver=d`` takes an object."""
    pairs = (pair.removeprefix("spec.").split("=") for pair in selector.split(",") if pair)
    return all(document.get("spec", {}).get(key, value) == value for key, value in pairs)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def api(self):
        return self.server.api

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urlsplit(self.path)
        if self._refused("GET", url.path):
            return
        if url.path == f"/api/v1/nodes/{NODE}":
            with self.api.lock:
                self._send(200, self.api.object())
        elif url.path == "/version":
            self._send(200, {"major": "1", "minor": self.api.minor})
        elif url.path == "/api/v1/nodes" and "watch" in parse_qs(url.query):
            self._watch_node(parse_qs(url.query))
        elif url.path == SLICES and "watch" in parse_qs(url.query):
            self._watch_slices(parse_qs(url.query))
        elif url.path in self.api.pods:
            self._send(200, self.api.pods[url.path])
        elif url.path in self.api.claims:
            self._send(200, self.api.claims[url.path])
        elif url.path == SLICES:
            self._list_slices(parse_qs(url.query)["fieldSelector"][0])
        else:
            self._send(404, {"message": f"{url.path} not found"})

    def do_PATCH(self):
        body = self._body()
        if not self._refused("PATCH", self.path, body):
            self.api.merge(body["metadata"])
            with self.api.lock:
                self._send(200, self.api.object())

    def do_POST(self):
        body = self._body()
        if self._refused("POST", self.path, body):
            return
        if self.path == "/api/v1/namespaces/default/events":
            with self.api.lock:
                self.api.events.append(body)
                self.api.lock.notify_all()
            self._send(201, body)
            return
        if self.path == SLICES:
            self._store_slice(body)
            return
        pod = self.path.removesuffix("/eviction")
        if pod in self.api.budgets:
            self._send(429, {"message": "would violate the budget"})
        else:
            with self.api.lock:
                self.api.pods.pop(pod, None)
                self.api.lock.notify_all()
            self._send(201, body)

    def do_PUT(self):
        body = self._body()
        if not self._refused("PUT", self.path, body):
            self._store_slice(body)

    def do_DELETE(self):
        self._body()
        if not self._refused("DELETE", self.path):
            self.api.wipe_slices(self.path.removeprefix(f"{SLICES}/"))
            self._send(200, {})

    def _list_slices(self, selector):
        with self.api.lock:
            found = [each for each in self.api.slices.values() if _selects(selector, each)]
            metadata = {"resourceVersion": str(self.api.version)}
            self._send(200, {"metadata": metadata, "items": found})

    def _store_slice(self, body):
        name = body["metadata"]["name"]
        with self.api.lock:
            old = self.api.slices.get(name)
        wanted = body["metadata"].get("resourceVersion")
        if old and old["metadata"]["resourceVersion"] != wanted:
            self._send(409, {"message": f"{name} has been modified"})
        else:
            self._send(200, self.api.store_slice(body))

    def _watch_node(self, query):
        assert query["fieldSelector"] == [f"metadata.name={NODE}"]
        changes = queue.Queue()
        with self.api.lock:
            self.api.watches.append(changes)
            if self.api.version > int(query["resourceVersion"][0]):
                changes.put({"type": "MODIFIED", "object": self.api.object()})
            self.api.lock.notify_all()
        self._stream(changes, self.api.watches)

    def _watch_slices(self, query):
        (selector,) = query["fieldSelector"]
        changes = queue.Queue()
        with self.api.lock:
            self.api.slice_watches.append(changes)
            for version, change in self.api.slice_changes:
                if version > int(query["resourceVersion"][0]):
                    changes.put(change)
            self.api.lock.notify_all()
        self._stream(changes, self.api.slice_watches, selector)

    def _stream(self, changes, watches, selector=""):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            while (change := changes.get()) not in (END, CUT):
                if not _selects(selector, change["object"]):
                    continue
                line = json.dumps(change).encode() + b"\n"
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
                self.wfile.flush()
            if change == END:
                self.wfile.write(b"0\r\n\r\n")
        with self.api.lock:
            watches.remove(changes)
        self.close_connection = True

    def _refused(self, method, path, body=None):
        with self.api.lock:
            self.api.requests.append((method, path, body))
            self.api.lock.notify_all()
            answer = self.api.refuse(method, path) if self.api.refuse else None
        if answer is None:
            return False
        status, message, headers = answer
        self._send(status, {"message": message}, headers)
        return True

    def _body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _send(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)
