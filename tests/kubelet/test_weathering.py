"""Any mixture of misfortunes ends with the kubelet knowing exactly what is offered."""

import asyncio
import random

import pytest

from deviceplugin.values import Device

NAMES = ["nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-2g.20gb"]
RECOVERY_S = 2.0


class Weather:
    """Things that happen to a node, in an order decided by a seed."""

    def __init__(self, seed, bench, kubelet):
        self.rng = random.Random(seed)
        self.bench = bench
        self.kubelet = kubelet
        self.plugins = bench.run({})
        self.offered = {}

    async def happens(self):
        await self.rng.choice(
            [self.restart, self.crash, self.drop, self.unlink, self.offer, self.offer, self.pass_]
        )()

    async def restart(self):
        await self.kubelet.restart()

    async def crash(self):
        await self.kubelet.stop()
        await self.pass_()
        await self.kubelet.start()

    async def drop(self):
        await self.kubelet.drop_streams(self.rng.choice(NAMES))

    async def unlink(self):
        for socket in self.bench.directory.glob("nvidia-*.sock"):
            if self.rng.random() < 0.5:
                socket.unlink(missing_ok=True)

    async def offer(self):
        names = self.rng.sample(NAMES, self.rng.randint(0, len(NAMES)))
        self.offered = {
            name: {
                id_: Device(id=id_, healthy=self.rng.random() < 0.7)
                for id_ in self.rng.sample("abcdef", self.rng.randint(0, 6))
            }
            for name in names
        }
        self.plugins.offer({name: [*devices.values()] for name, devices in self.offered.items()})

    async def pass_(self):
        for _ in range(self.rng.randint(1, 30)):
            await asyncio.sleep(0)

    async def clears(self):
        for name, wanted in self.offered.items():
            await self.kubelet.devices(
                name, lambda known, wanted=wanted: known == wanted, timeout_s=RECOVERY_S
            )
        for name in NAMES:
            if name not in self.offered:
                await self.kubelet.disconnected(name, timeout_s=RECOVERY_S)
                assert self.kubelet.allocatable.get(name, 0) == 0


@pytest.mark.parametrize("seed", range(5))
async def test_the_kubelet_knows_what_is_offered_after_any_weather(seed, bench, kubelet):
    weather = Weather(seed, bench, kubelet)

    for _ in range(8):
        for _ in range(weather.rng.randint(1, 4)):
            await weather.happens()
        await weather.clears()

    assert not bench.task.done()
