"""Claims that nobody will give back are given back; all others are left alone."""

import pytest

from agent.cluster.connection import ApiError
from agent.daemon.orphans import Orphans
from agent.model.errors import ClusterError
from agent.serving.claim_store import StoredClaim
from deviceplugin.errors import PodResourcesUnreachable
from deviceplugin.holdings import ClaimHolding, Holdings

GRACE_S = 600.0
GONE = ApiError("GET", 404, "not found", None)


def claim(uid, state="completed"):
    return StoredClaim(
        namespace="default", name=f"c-{uid}", uid=uid, state=state, boot="b", devices=()
    )


class Bench:
    """A driver with claims, a kubelet and an API server that know what they are told."""

    def __init__(self, *claims):
        self.known = claims
        self.given_back = []
        self.used = []
        self.objects = {}
        self.asked = []
        self.silent = None
        self.orphans = Orphans(
            [self], holdings=self.holdings, fetch=self.fetch, grace_s=lambda: GRACE_S
        )

    async def unprepare(self, refs):
        self.given_back += [each.uid for each in refs]
        self.known = tuple(each for each in self.known if each.uid not in self.given_back)

    async def holdings(self):
        self.asked.append("kubelet")
        if self.silent is not None:
            raise PodResourcesUnreachable("socket", "no answer")
        claims = (ClaimHolding(namespace="default", claim=f"c-{u}", pod="p") for u in self.used)
        return Holdings(pods=frozenset(), devices=(), claims=tuple(claims))

    async def fetch(self, ref):
        self.asked.append(ref.uid)
        found = self.objects.get(ref.uid, GONE)
        if isinstance(found, Exception):
            raise found
        return {"metadata": {"uid": found}}


async def test_what_is_gone_is_given_back_after_a_while_and_not_before():
    bench = Bench(claim("gone"), claim("begun", "started"), claim("there"), claim("other"))
    bench.objects = {"there": "there", "other": "another-uid"}

    for now_s in (0.0, GRACE_S / 2, GRACE_S - 1):
        await bench.orphans.look(now_s, GRACE_S)
    assert bench.given_back == []
    await bench.orphans.look(GRACE_S, GRACE_S)

    assert sorted(bench.given_back) == ["begun", "gone", "other"]


async def test_what_a_pod_has_is_not_even_asked_for():
    bench = Bench(claim("a"))
    bench.used = ["a"]

    for now_s in (0.0, GRACE_S, 2 * GRACE_S):
        await bench.orphans.look(now_s, GRACE_S)

    assert bench.asked == ["kubelet"] * 3
    assert bench.given_back == []


async def test_without_claims_nobody_is_asked():
    bench = Bench()

    await bench.orphans.look(0.0, GRACE_S)

    assert bench.asked == []


async def test_what_comes_back_meanwhile_begins_anew():
    bench = Bench(claim("a"))
    await bench.orphans.look(0.0, GRACE_S)
    bench.objects = {"a": "a"}
    await bench.orphans.look(GRACE_S / 2, GRACE_S)
    bench.objects = {}
    await bench.orphans.look(GRACE_S, GRACE_S)
    assert bench.given_back == []

    await bench.orphans.look(2 * GRACE_S, GRACE_S)
    assert bench.given_back == ["a"]


@pytest.mark.parametrize("who", ["kubelet", "server", "forbidden"])
async def test_where_one_does_not_answer_nothing_is_concluded(who):
    bench = Bench(claim("a"))
    await bench.orphans.look(0.0, GRACE_S)
    if who == "kubelet":
        bench.silent = True
    else:
        refused = ApiError("GET", 403, "forbidden", None)
        bench.objects = {"a": refused if who == "forbidden" else ClusterError("away")}

    with pytest.raises((PodResourcesUnreachable, ClusterError)):
        await bench.orphans.look(GRACE_S, GRACE_S)

    assert bench.given_back == []
