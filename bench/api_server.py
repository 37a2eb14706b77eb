"""The least an API server can be, as a process of its own: one node, its slices, and a claim for
whatever device a claim's name says. ``python -m bench.api_server`` prints its port.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NODE = "node-1"
DRIVER = "gpu.nvidia.com"
_SLICES = "/apis/resource.k8s.io/v1/resourceslices"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims/"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A request takes two packets, and the second is not to wait for the answer to the first.
    disable_nagle_algorithm = True

    def log_message(self, *_words):
        pass

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/asked":
            # Not counted itself.
            self._send({"requests": self.server.asked, "watches": self.server.watches})
            return
        wanted = parse_qs(url.query)
        if "watch" in wanted:
            self.server.watches += 1
            self._watch(int(wanted["timeoutSeconds"][0]))
            return
        self.server.asked += 1
        if url.path == _SLICES:
            self._send({"metadata": {"resourceVersion": "1"}, "items": self.server.slices})
        elif url.path.startswith(CLAIMS):
            self._send(_claim(url.path.removeprefix(CLAIMS)))
        elif url.path == "/version":
            self._send({"major": "1", "minor": "36"})
        else:
            self._send({"metadata": {"name": NODE, "uid": "u", "resourceVersion": "1"}})

    def do_POST(self):
        self._store()

    def do_PUT(self):
        self._store()

    def _store(self):
        self.server.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body["metadata"] |= {"uid": "u", "resourceVersion": str(self.server.asked + 1)}
        self.server.slices = [body]
        self._send(body)

    def _watch(self, for_s):
        """Nothing changes until the watch ends, which it does when it is to."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        threading.Event().wait(for_s)
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _claim(name):
    device = name.partition(".")[2]
    result = {"driver": DRIVER, "pool": NODE, "device": device, "request": "gpu"}
    return {
        "metadata": {"namespace": "default", "name": name, "uid": name},
        "status": {"allocation": {"devices": {"results": [result]}}},
    }


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.asked, server.watches, server.slices = 0, 0, []
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
