"""How often the kubelet is asked who holds what."""

from agent.daemon.asking import FOLLOW_FRESH_S, FOLLOW_HELD_S, FOLLOW_S, FRESH_GRANT_S, Asking
from agent.ledger.ledger import Account, Allocation, Ledger

HELD = Allocation(resource="nvidia.com/gpu", device="GPU-0", holder="default/pod")
EMPTY = Ledger()
GRANTED = EMPTY.with_grant("nvidia.com/gpu", ["GPU-0"], at_s=0.0)


def account(*held, settled=True):
    pods = frozenset({"default/pod"})
    return Account(held=held, pods=pods, kubelet="k", settled=settled, asked_s=0.0)


def test_nobody_is_asked_while_nobody_holds_anything():
    assert Asking().pause_s(EMPTY, withholds=False, now_s=0.0) is None


def test_the_more_an_answer_matters_the_sooner_it_is_asked_for():
    asking = Asking()

    confirmed = EMPTY.reconciled(account(HELD))

    assert asking.pause_s(confirmed, withholds=False, now_s=0.0) == FOLLOW_HELD_S
    assert asking.pause_s(confirmed, withholds=True, now_s=0.0) == FOLLOW_S
    assert asking.pause_s(EMPTY, withholds=True, now_s=0.0) == FOLLOW_S
    assert asking.pause_s(GRANTED, withholds=False, now_s=0.0) == FOLLOW_S


def test_what_has_just_moved_is_asked_about_at_once_and_then_no_more():
    asking = Asking()
    asking.moved(10.0)

    soon, later = 10.0 + FRESH_GRANT_S / 2, 10.0 + FRESH_GRANT_S
    assert asking.pause_s(GRANTED, withholds=False, now_s=soon) == FOLLOW_FRESH_S
    assert asking.pause_s(GRANTED, withholds=False, now_s=later) == FOLLOW_S


def test_a_kubelet_that_has_started_is_asked_until_it_knows_its_pods():
    asking = Asking()
    asking.restarted(10.0)
    # An allocation does not shorten it.
    asking.moved(10.0)

    assert asking.pause_s(EMPTY, withholds=False, now_s=14.9) == FOLLOW_FRESH_S
    asking.answered(account(settled=False))
    assert asking.pause_s(EMPTY, withholds=False, now_s=15.0) == FOLLOW_S
    asking.answered(account())
    assert asking.pause_s(EMPTY, withholds=False, now_s=15.0) is None
