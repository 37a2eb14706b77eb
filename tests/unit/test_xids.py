"""Which devices an Xid event strikes."""

import pytest
from builders import gpu, inventory
from divided import divided

from agent.config.schema import Config
from agent.daemon.xids import struck_by
from agent.discovery.events import XidEvent
from agent.planning.health import Health
from agent.planning.snapshot import build_snapshot

SEEN = build_snapshot(
    Config(),
    inventory(
        divided(0, "1g.10gb", ("3g.40gb", 4, (1, 1))),
        divided(1, "1g.10gb"),
        gpu(2),
        divided(3, partition=None),
    ),
    Health(),
    previous=None,
)


@pytest.mark.parametrize(
    ("uuid", "place", "struck"),
    [
        ("GPU-0", (None, None), ["GPU-0"]),
        ("GPU-0", (1, 0), ["MIG-0-1-0"]),
        ("GPU-0", (2, 1), ["MIG-0-2-1"]),
        ("GPU-0", (2, None), ["MIG-0-2-0", "MIG-0-2-1"]),
        ("GPU-0", (5, 0), []),
        ("GPU-2", (1, 0), []),
        ("GPU-3", (1, 0), ["GPU-3"]),
        ("GPU-9", (1, 0), []),
    ],
)
def test_an_xid_strikes_what_the_driver_names(uuid, place, struck):
    event = XidEvent(uuid=uuid, xid=48, gpu_instance=place[0], compute_instance=place[1])

    assert sorted(struck_by(event, SEEN)) == struck


def test_before_the_first_look_no_instance_is_known():
    event = XidEvent(uuid="GPU-0", xid=48, gpu_instance=1, compute_instance=0)

    assert struck_by(event, None) == ()
