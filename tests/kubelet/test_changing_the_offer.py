import asyncio

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"


async def test_a_resource_that_is_added_leaves_the_others_alone(bench, kubelet, devices, notes):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    await notes.seen("devices_sent", GPU)

    plugins.offer({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(MIG)

    assert kubelet.registrations == [GPU, MIG]
    assert notes.count("stream_opened", GPU) == 1
    assert notes.count("devices_sent", GPU) == 1


async def test_a_resource_that_goes_says_so_and_leaves_the_others_alone(
    bench, kubelet, devices, notes
):
    plugins = bench.run({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(GPU)
    await kubelet.devices(MIG)

    plugins.offer({GPU: devices("g0")})
    await kubelet.disconnected(MIG)
    await notes.seen("withdrawn", MIG)

    # Not only unhealthy: the node has none of it any more.
    assert kubelet.capacity == {GPU: 1, MIG: 0}
    assert not (bench.directory / "nvidia-mig-1g.10gb.sock").exists()
    assert (bench.directory / "nvidia-gpu.sock").is_socket()
    assert notes.count("stream_ended", GPU) == 0
    assert kubelet.registrations.count(GPU) == 1


async def test_a_resource_that_goes_before_its_first_stream_says_so_too(
    bench, kubelet, devices, notes
):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    kubelet.conduct.follow_after = asyncio.Event()
    await kubelet.drop_streams(GPU)
    await notes.seen("registered", GPU, times=2)

    plugins.offer({})
    for _ in range(20):
        await asyncio.sleep(0)
    assert kubelet.capacity == {GPU: 1}
    kubelet.conduct.follow_after.set()
    await notes.seen("withdrawn", GPU)
    await kubelet.disconnected(GPU)

    assert kubelet.capacity == {GPU: 0}


async def test_a_resource_wanted_again_while_it_goes_comes_back(bench, kubelet, devices, notes):
    plugins = bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)

    plugins.offer({})
    plugins.offer({GPU: devices("g1")})
    await kubelet.devices(GPU, lambda known: [*known] == ["g1"])

    assert kubelet.allocatable == {GPU: 1}
    assert (bench.directory / "nvidia-gpu.sock").is_socket()
    assert notes.count("withdrawn", GPU) == 1


async def test_an_offer_made_while_the_kubelet_is_away_is_what_it_finds(
    bench, kubelet, devices, notes
):
    plugins = bench.run({GPU: devices("g0"), MIG: devices("m0")})
    await kubelet.devices(GPU)
    await kubelet.devices(MIG)
    await kubelet.stop()
    await notes.seen("kubelet_absent")

    plugins.offer({GPU: devices("g0", "g1")})
    await kubelet.start()
    await kubelet.devices(GPU, lambda known: len(known) == 2)

    assert kubelet.registrations.count(MIG) == 1
    assert notes.count("devices_sent", GPU, 1, 1) == 1


async def test_offers_before_run_count_as_one(bench, kubelet, devices):
    plugins = bench.run({GPU: devices("g0")})
    plugins.offer({MIG: devices("m0")})

    await kubelet.devices(MIG)

    assert kubelet.registrations == [MIG]
