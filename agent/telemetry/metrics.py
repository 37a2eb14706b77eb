"""What happens and what there is, as Prometheus metrics; docs/metrics.md lists them.

Imported only where metrics are asked for: prometheus-client costs memory on every node.
"""

from __future__ import annotations

import errno
from collections import Counter as Count
from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from agent import VERSION
from agent.ledger.ledger import Ledger
from agent.planning.decision import Question, Weighed
from agent.planning.placement import SIZES
from agent.planning.preference import free_gpus
from agent.planning.snapshot import Snapshot
from agent.telemetry import logs

# NVLink and PCIe as they come: SYS, PHB, PIX, then links of 25 and 50 GB/s in numbers.
_GBPS = (8, 16, 24, 50, 100, 200, 300, 450, 900)
_FEW = (1, 2, 4, 8, 16)

State = Callable[[], tuple[Snapshot | None, Ledger]]


class Metrics:
    """Counts decisions as they are made; what there is is read when somebody asks."""

    def __init__(self, state: State) -> None:
        """``state`` returns the snapshot and the ledger; it is called on other threads."""
        self.registry = CollectorRegistry(auto_describe=True)
        self.registry.register(_Node(state))
        self._placements = Counter(
            "plumbline_placements",
            "Containers that were given devices, by how good the choice was.",
            ["resource", "quality"],
            registry=self.registry,
        )
        self._cut_short = Counter(
            "plumbline_placements_inexact",
            "Placements whose search was cut short.",
            ["resource"],
            registry=self.registry,
        )
        self._lost_at = Counter(
            "plumbline_placement_runner_up_lost",
            "Placements by the place of the key at which the best rejected set lost.",
            ["resource", "place"],
            registry=self.registry,
        )
        self._ring = self._histogram("ring_gbps", "Slowest hop of the best ring, GB/s.", _GBPS)
        self._pair = self._histogram("min_pair_gbps", "Slowest pair of the set, GB/s.", _GBPS)
        self._nodes = self._histogram("numa_nodes", "NUMA nodes that the set spans.", _FEW)
        self._rails = self._histogram("rails", "Usable NICs beside the set.", (0, *_FEW))
        self._server: WSGIServer | None = None
        self._address: str | None = None

    def placed(self, question: Question, weighed: Weighed) -> None:
        """Count what one container was given."""
        resource, why = question.resource, weighed.given.explanation
        self._placements.labels(resource, weighed.quality.value).inc()
        self._nodes.labels(resource).observe(len(why.numa_nodes))
        self._rails.labels(resource).observe(len(why.rails))
        if why.ring_gbps is not None:
            self._ring.labels(resource).observe(why.ring_gbps)
        if why.min_pair_gbps is not None:
            self._pair.labels(resource).observe(why.min_pair_gbps)
        if why.lost_at is not None:
            self._lost_at.labels(resource, why.lost_at).inc()
        if not why.exact:
            self._cut_short.labels(resource).inc()

    def listen(self, address: str | None) -> bool:
        """Serve at ``host:port``, or at none; return whether that is so.

        An address that cannot be had is logged once; to ask again tries again.
        """
        if address == self._address and (self._server is not None or address is None):
            return True
        self.close()
        known, self._address = self._address, address
        if address is None:
            return True
        try:
            self._server = self._serve(address)
        except (OSError, ValueError) as error:
            if known != address:
                logs.error(
                    "metrics_unusable",
                    address=address,
                    reason=getattr(error, "strerror", None) or error,
                    doing="serving without metrics, trying again",
                )
            return False
        logs.event("metrics", address=address)
        return True

    def _serve(self, address: str) -> WSGIServer:
        host, _, port = address.rpartition(":")
        if host:
            return start_http_server(int(port), host.strip("[]"), registry=self.registry)[0]
        try:
            # All addresses, of IPv4 as well.
            return start_http_server(int(port), "::", registry=self.registry)[0]
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
            return start_http_server(int(port), "0.0.0.0", registry=self.registry)[0]

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _histogram(self, name: str, text: str, buckets: tuple[int, ...]) -> Histogram:
        return Histogram(
            f"plumbline_placement_{name}",
            text,
            ["resource"],
            buckets=buckets,
            registry=self.registry,
        )


class _Node(Collector):
    """What the node has, and what could still be placed on it."""

    def __init__(self, state: State) -> None:
        self._state = state

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what is so at this moment."""
        yield _gauge("build_info", "The version that runs.", ["version"], {(VERSION,): 1})
        snapshot, ledger = self._state()
        if snapshot is None:
            return
        yield _gauge(
            "snapshot_generation", "Number of the snapshot.", [], {(): snapshot.generation}
        )
        yield _gauge("devices", "Devices.", ["resource", "state"], _devices(snapshot, ledger))
        left_out: dict[tuple[str, ...], float] = {
            (each.gpu.uuid, each.reason): 1 for each in snapshot.catalog.left_out
        }
        yield _gauge("left_out", "GPUs of which nothing is offered.", ["gpu", "reason"], left_out)
        free = free_gpus(snapshot.catalog, ledger)
        yield from _room(snapshot, free)


def _devices(snapshot: Snapshot, ledger: Ledger) -> dict[tuple[str, ...], float]:
    held = ledger.held
    counted: Count[tuple[str, ...]] = Count()
    for resource, devices in snapshot.catalog.resources.items():
        counted.update({(resource, state): 0 for state in ("free", "held", "unhealthy")})
        counted.update(
            (resource, "unhealthy" if not d.healthy else "held" if d.id in held else "free")
            for d in devices
        )
    return dict(counted)


def _room(snapshot: Snapshot, free: tuple[str, ...]) -> Iterator[GaugeMetricFamily]:
    table = snapshot.placement
    # A full node says 0, and does not fall silent.
    sizes = [size for size in SIZES if size <= len(table.model.uuids)]
    sets: dict[tuple[str, ...], float] = {(str(size),): 0 for size in sizes}
    pairs: dict[tuple[str, ...], float] = dict(sets)
    for left in table.left(free):
        sets[str(left.size),] = left.count
        pairs[str(left.size),] = left.min_pair_gbps
    yield _gauge(
        "aligned_sets_left",
        "Disjoint sets of free GPUs as good as the best of the empty node.",
        ["size"],
        sets,
    )
    yield _gauge(
        "best_pair_left_gbps", "Slowest pair of the best set of free GPUs, GB/s.", ["size"], pairs
    )
    yield _gauge(
        "placement_room_ratio",
        "What can still be placed on the free GPUs, against the empty node.",
        [],
        {(): table.room(free)},
    )


def _gauge(
    name: str, text: str, labels: list[str], values: dict[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"plumbline_{name}", text, labels=labels)
    for each, value in values.items():
        family.add_metric(each, value)
    return family
