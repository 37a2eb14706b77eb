"""Records of GPUs that are taken over for MPS: what one that cannot be read costs."""

import pytest

from agent.model.errors import HardwareError
from agent.model.machine import Machine
from agent.partition.mps_sets import MpsSets
from agent.planning.mps import Limits, MpsSet
from agent.planning.mps_steps import Taken


def taken(name):
    limits = (Limits(memory_mib=1, threads_percent=1),)
    return Taken(
        set=MpsSet(name=name, resource="r", gpus=(f"GPU-{name}",), limits=limits),
        modes={f"GPU-{name}": 0},
    )


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 1}'])
def test_a_record_that_cannot_be_read_is_named_and_the_others_are_read(tmp_path, content):
    sets = MpsSets(Machine.simulated(tmp_path))
    for name, limited in (("a", True), ("b", False), ("c", False)):
        sets.record(taken(name), limited=limited)
    path = tmp_path / "var/lib/plumbline/mps/b.json"
    path.write_bytes(content)

    found, (fault,) = sets.read()

    assert found == ((taken("a"), True), (taken("c"), False))
    assert str(path) in fault
    assert "remove the file" in fault


def test_gpus_whose_modes_before_are_unreadable_are_not_taken_over(tmp_path):
    sets = MpsSets(Machine.simulated(tmp_path))
    path = tmp_path / "var/lib/plumbline/mps/b.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")

    with pytest.raises(HardwareError, match="compute modes to put back"):
        sets.take(taken("b").set)

    assert path.read_bytes() == b"{"
