"""`plumbline claims` against a daemon that serves them."""

import json

from dra_node import GPUS, dra_node

from deviceplugin.standin.pods import Container, Pod


def by_uid(printed):
    return {each["uid"]: each for each in json.loads(printed)}


async def test_claims_are_shown_with_the_pods_that_use_them():
    async with dra_node() as it:
        await it.start()
        await it.register(GPUS)
        assert "no claim is prepared" in await it.printed("claims")
        gpus = [it.node.uuid(i).lower() for i in range(2)]
        for i, gpu in enumerate(gpus):
            await it.prepare(GPUS, it.claim(f"u{i}", gpu__nvidia__com=gpu))
        for name in ("a", "b"):
            main = Container(name="main", claims=("c-u0",))
            await it.node.kubelet.admit(Pod(name=name, containers=(main,)))

        shown = by_uid(await it.printed("claims", "-o", "json"))

        assert shown["u0"]["pods"] == ["default/a", "default/b"]
        assert shown["u1"]["pods"] == []
        assert [each["device"] for each in shown["u0"]["devices"]] == [gpus[0]]
        table = await it.printed("claims")
        assert {"default/a", "default/b"} <= set(table.split())

        # A kubelet that says nothing keeps nobody from seeing the claims.
        (it.node.folder / "pod-resources" / "kubelet.sock").unlink()
        shown = by_uid(await it.printed("claims", "-o", "json"))
        assert {uid: each["pods"] for uid, each in shown.items()} == {"u0": None, "u1": None}


async def test_a_claim_whose_file_is_broken_is_shown_as_that():
    async with dra_node() as it:
        first = await it.start()
        await it.register(GPUS)
        gpu = it.node.uuid(0).lower()
        await it.prepare(GPUS, it.claim("u0", gpu__nvidia__com=gpu))
        await it.node.stop(first)
        broken = it.node.machine / "var/lib/plumbline/claims/u0.json"
        broken.write_bytes(b"")
        (it.node.machine / "var/lib/plumbline/claims-copies/u0.json").unlink()
        await it.start()
        await it.register(GPUS)

        shown = by_uid(await it.printed("claims", "-o", "json"))

        assert shown["u0"]["state"] == "unreadable"
        assert str(broken) in shown["u0"]["error"]
        assert [each["device"] for each in shown["u0"]["devices"]] == [gpu]
        assert "unreadable" in await it.printed("claims")
