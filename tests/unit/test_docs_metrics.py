"""docs/metrics.md lists every metric there is, and no other."""

import re
from pathlib import Path

from builders import gpu, inventory, numa, pairs_by_node

from agent.config.schema import Config
from agent.ledger.ledger import Ledger
from agent.planning.health import Health
from agent.planning.snapshot import build_snapshot
from agent.telemetry.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_lists_every_metric():
    gpus = [gpu(i) for i in range(2)]
    found = inventory(*gpus, pairs=pairs_by_node(gpus), numa_nodes=(numa(0),))
    snapshot = build_snapshot(Config(), found, Health(), previous=None)
    metrics = Metrics(lambda: (snapshot, Ledger()))

    there = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in metrics.registry.collect()
    }

    listed = set(re.findall(r"^\| `(plumbline_\w+)`", PAGE.read_text(), flags=re.MULTILINE))
    assert listed == there
