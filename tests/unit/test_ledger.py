"""The Ledger: what is known of who holds what, from Allocate and from the kubelet."""

from agent.ledger.ledger import GRANT_LASTS_S, Account, Allocation, Ledger

OLD, NEW = "nvidia.com/gpu", "nvidia.com/h100"


def held(device, holder="default/p", resource=OLD):
    return Allocation(resource=resource, device=device, holder=holder)


def said(*allocations, pods=(), kubelet="first", settled=True, asked_s=0.0):
    known = {each.holder for each in allocations} | set(pods)
    return Account(
        held=allocations,
        pods=frozenset(known),
        kubelet=kubelet,
        settled=settled,
        asked_s=asked_s,
    )


def test_a_gpu_is_held_unknown_to_kubelet_only_under_another_name():
    ledger = Ledger().reconciled(said(held("GPU-a")))

    assert ledger.held_unknown_to_kubelet("GPU-a", NEW) == held("GPU-a")
    assert ledger.held_unknown_to_kubelet("GPU-a", OLD) is None
    assert ledger.held_unknown_to_kubelet("GPU-b", NEW) is None


def test_a_replica_holds_its_gpu():
    ledger = Ledger().reconciled(said(held("GPU-a::3", resource="nvidia.com/gpu.shared")))

    assert ledger.held_unknown_to_kubelet("GPU-a", OLD).device == "GPU-a::3"


def test_what_allocate_gave_counts_before_the_kubelet_says_so():
    ledger = Ledger().with_grant(OLD, ["GPU-a"], at_s=10)

    assert ledger.held_unknown_to_kubelet("GPU-a", NEW) == Allocation(resource=OLD, device="GPU-a")


def test_an_answer_older_than_a_grant_does_not_end_it():
    ledger = Ledger().with_grant(OLD, ["GPU-a"], at_s=10).reconciled(said(asked_s=9))

    assert ledger.held_unknown_to_kubelet("GPU-a", NEW) is not None


def test_a_grant_the_kubelet_never_confirms_ends():
    granted = Ledger().with_grant(OLD, ["GPU-a"], at_s=10)

    before = granted.reconciled(said(asked_s=10 + GRANT_LASTS_S - 1))
    after = granted.reconciled(said(asked_s=10 + GRANT_LASTS_S))

    assert before.held_unknown_to_kubelet("GPU-a", NEW) is not None
    assert after.held_unknown_to_kubelet("GPU-a", NEW) is None


def test_what_was_confirmed_and_is_no_longer_held_is_free_at_once():
    granted = Ledger().with_grant(OLD, ["GPU-a"], at_s=10)

    ledger = granted.reconciled(said(held("GPU-a"), asked_s=11)).reconciled(said(asked_s=12))

    assert ledger == Ledger(kubelet="first")


def test_a_device_given_again_has_one_grant():
    ledger = Ledger().with_grant(OLD, ["GPU-a"], at_s=1).with_grant(NEW, ["GPU-a"], at_s=2)

    assert ledger.held_unknown_to_kubelet("GPU-a", NEW) is None
    assert ledger.held_unknown_to_kubelet("GPU-a", OLD).resource == NEW


def test_the_order_of_an_answer_is_no_difference():
    one, two = held("GPU-a"), held("GPU-b")

    assert Ledger().reconciled(said(one, two)) == Ledger().reconciled(said(two, one))


def test_a_kubelet_that_has_just_started_frees_nothing_that_it_has_not_told_of():
    ledger = Ledger().reconciled(said(held("GPU-a"), held("GPU-b")))

    empty = ledger.reconciled(said(kubelet="second", settled=False))
    half = empty.reconciled(said(held("GPU-a", "other/q"), kubelet="second", settled=False))
    gone = half.reconciled(said(kubelet="second", settled=False))
    settled = gone.reconciled(said(kubelet="second"))

    def is_held(state):
        return [state.held_unknown_to_kubelet(gpu, NEW) is not None for gpu in ("GPU-a", "GPU-b")]

    assert is_held(empty) == [True, True]
    assert is_held(half) == [True, True]
    # It told of the first itself, and then no longer: that one's pod has ended.
    assert is_held(gone) == [False, True]
    assert is_held(settled) == [False, False]


def test_what_two_kubelets_ago_was_told_is_not_forgotten():
    ledger = Ledger().reconciled(said(held("GPU-a")))

    third = ledger.reconciled(said(kubelet="second", settled=False)).reconciled(
        said(kubelet="third", settled=False)
    )

    assert third.held_unknown_to_kubelet("GPU-a", NEW) == held("GPU-a")


def test_a_kubelet_that_knows_a_pod_without_its_device_has_forgotten_it():
    ledger = Ledger().reconciled(said(held("GPU-a"), held("GPU-b", "default/q")))

    restarted = ledger.reconciled(said(kubelet="second", settled=False))
    listed = restarted.reconciled(said(pods=["default/p"], kubelet="second", settled=False))
    settled = listed.reconciled(said(pods=["default/p"], kubelet="second"))
    ended = settled.reconciled(said(kubelet="second"))

    assert restarted.forgotten == ()
    assert listed.forgotten == settled.forgotten == (held("GPU-a"),)
    assert settled.held_unknown_to_kubelet("GPU-a", OLD) == held("GPU-a")
    assert settled.held_unknown_to_kubelet("GPU-b", OLD) is None
    assert ended == Ledger(kubelet="second")


def test_a_kubelet_that_tells_of_a_device_late_has_not_forgotten_it():
    ledger = Ledger().reconciled(said(held("GPU-a")))

    listed = ledger.reconciled(said(pods=["default/p"], kubelet="second", settled=False))
    told = listed.reconciled(said(held("GPU-a"), kubelet="second", settled=False))

    assert (told.unseen, told.forgotten) == ((), ())
    assert told.held_unknown_to_kubelet("GPU-a", OLD) is None
