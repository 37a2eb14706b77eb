"""Marks on devices: what comes, what stays, and what goes."""

import pytest

from agent.planning.health import Health


def test_a_gpu_that_left_and_is_back_has_nothing_wrong_any_more_nor_have_its_parts():
    ill = Health().after_xid("GPU-1", 79, ()).marked("MIG-1", "Xid 43").gone("GPU-1", "lost")

    assert ill.reason("GPU-1") == "Xid 79"
    assert ill.xids == {"GPU-1": 79}
    well = ill.marked("GPU-2", "Xid 48").back("GPU-1", ["MIG-1"])
    assert (well.reason("GPU-1"), well.reason("MIG-1")) == (None, None)
    assert well.reason("GPU-2") == "Xid 48"
    assert not well.xids
    assert not well.absent


def test_a_gpu_that_fails_again_when_it_is_back_is_not_trusted():
    ill = Health().gone("GPU-1", "lost").after_xid("GPU-1", 48, ())

    assert ill.back("GPU-1", ()) is ill
    assert ill.reason("GPU-1") == "lost"
    assert ill.xids == {"GPU-1": 48}


def test_what_never_left_is_not_back():
    ill = Health().after_xid("GPU-1", 79, ())

    assert ill.back("GPU-1", ()) is ill
    assert ill.after_xid("GPU-1", 48, ()).xids == {"GPU-1": 79}
    assert ill.after_xid("GPU-2", 31, (31,)) is ill


def test_what_xids_marked_is_forgiven_and_nothing_else():
    ill = (
        Health()
        .after_xid("GPU-1", 79, ())
        .marked("GPU-2", "its Xids cannot be heard")
        .after_xid("GPU-3", 79, ())
        .gone("GPU-3", "lost")
        .with_driver_fault("silent")
    )

    well = ill.forgiven()

    assert (well.unhealthy, well.xids) == (
        {"GPU-2": "its Xids cannot be heard", "GPU-3": "Xid 79"},
        {"GPU-3": 79},
    )
    assert well.driver_fault == "silent"
    assert well.back("GPU-3", ()).reason("GPU-3") == "silent"


def test_a_gpu_that_left_before_the_agent_began_is_trusted_once_it_is_back():
    ill = Health()
    for uuid in ("GPU-1", "GPU-2", "MIG-1"):
        ill = ill.after_xid(uuid, 79, ())

    found = ill.gone_unseen({"GPU-2"}, "not there")

    assert found.absent == {"GPU-1"}
    assert found.gone_unseen({"GPU-2"}, "not there") == found
    assert found.reason("GPU-1") == "Xid 79"
    assert found.back("GPU-1", ()).xids.keys() == {"GPU-2", "MIG-1"}


@pytest.mark.parametrize("first", ["xid", "other"])
def test_what_else_is_wrong_with_a_gpu_stays_when_its_xid_is_forgiven(first):
    marks = [lambda h: h.after_xid("GPU-1", 79, ()), lambda h: h.marked("GPU-1", "unheard")]
    ill = Health()
    for mark in marks if first == "xid" else reversed(marks):
        ill = mark(mark(ill))
    assert ill.reason("GPU-1") == ("Xid 79" if first == "xid" else "unheard")
    assert ill.xids == {"GPU-1": 79}

    well = ill.forgiven()

    assert well.reason("GPU-1") == "unheard"
    assert not well.xids
    assert well.forgiven() == well
    assert well.after_xid("GPU-1", 48, ()).forgiven().reason("GPU-1") == "unheard"
    back = ill.gone("GPU-1", "lost").back("GPU-1", ())
    assert back.reason("GPU-1") is None
    assert not back.behind


def test_a_look_that_began_before_brings_nothing_back_that_was_forgiven():
    began = Health().after_xid("GPU-1", 79, ()).marked("GPU-2", "unheard")
    found = began.marked("GPU-1", "no answer").marked("GPU-3", "no answer").gone("GPU-4", "lost")

    now = began.forgiven().after_look(began, found)

    assert now.unhealthy == {
        "GPU-1": "no answer",
        "GPU-2": "unheard",
        "GPU-3": "no answer",
        "GPU-4": "lost",
    }
    assert (now.xids, now.absent) == ({}, {"GPU-4"})
    assert began.forgiven().after_look(began, began).reason("GPU-1") is None
    silent = found.with_driver_fault("silent")
    assert now.after_look(began, silent).driver_fault == "silent"
