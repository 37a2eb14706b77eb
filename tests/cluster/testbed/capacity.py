"""What is promised of a node's capacity after a fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from testbed.history import History
from testbed.pods import GPU

if TYPE_CHECKING:
    from testbed.cluster import Cluster

# A machine with two CPUs and all of Kubernetes on them needs a small part of it.
BACK_S = 5.0


def check_back(cluster: Cluster, fault: str, mend: Callable[[], object]) -> None:
    """Undo a fault; assert that from then on all capacity was back soon enough."""
    with History(cluster) as history:
        mend()
        back_s = history.whole_again(GPU, 8, since_s=time.monotonic())
    figure = f"all GPUs allocatable after: {fault}"
    cluster.figures[figure] = max(back_s, cluster.figures.get(figure, 0.0))
    assert back_s <= BACK_S, cluster.explain(f"{figure}: only {back_s:.1f} s later")


def check_whole(cluster: Cluster, since: int) -> None:
    """Assert that every GPU is on offer and none is called unhealthy.

    ``since`` is an offset of the agent's log.
    """
    cluster.agent.wait_event("devices_sent", since=since, resource=GPU, healthy=8, total=8)
    last = cluster.agent.events("devices_sent", since=since)[-1]
    assert (last["healthy"], last["total"]) == (8, 8), last
    cluster.node.wait_allocatable(GPU, 8)
    assert cluster.node.capacity[GPU] == "8"
