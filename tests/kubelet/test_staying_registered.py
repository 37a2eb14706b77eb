import asyncio
import contextlib
import shutil

import pytest

from deviceplugin import sockets
from deviceplugin.delays import Timing
from deviceplugin.standin import Container, Kubelet, Pod

GPU = "nvidia.com/gpu"
MIG = "nvidia.com/mig-1g.10gb"

# What a node may be without its devices after something went wrong and came right again.
RECOVERY_S = 2.0


@pytest.fixture
def catalog(devices):
    return {GPU: devices("g0", "g1"), MIG: devices("m0")}


async def both(kubelet):
    await kubelet.devices(GPU, timeout_s=RECOVERY_S)
    await kubelet.devices(MIG, timeout_s=RECOVERY_S)


async def test_a_kubelet_that_comes_later_is_found_at_once(bench, directory, catalog, notes):
    bench.run(catalog)
    await notes.seen("kubelet_absent")
    assert not directory.exists()

    async with Kubelet(directory) as kubelet:
        await both(kubelet)

        assert sorted(kubelet.registrations) == [GPU, MIG]
        assert notes.count("register_failed") == 0
        await bench.end()


async def test_a_restarted_kubelet_gets_one_registration_of_each(bench, kubelet, catalog, notes):
    bench.run(catalog)
    await both(kubelet)

    for _ in range(3):
        await kubelet.restart()
        await both(kubelet)

    assert sorted(kubelet.registrations) == sorted(4 * [GPU, MIG])
    assert notes.count("kubelet_restarted") == 3


async def test_a_kubelet_that_ends_leaves_a_dead_socket_that_is_no_obstacle(
    bench, kubelet, catalog, notes
):
    bench.run(catalog)
    await both(kubelet)

    await kubelet.stop()
    await notes.seen("register_failed", GPU)
    await kubelet.start()
    await both(kubelet)

    assert sorted(kubelet.registrations) == [GPU, GPU, MIG, MIG]


async def test_a_kubelet_socket_that_is_bound_in_place_is_noticed(bench, directory, devices):
    """The stand-in renames its socket into place; a kubelet binds it there."""
    directory.mkdir()
    bench.run({GPU: devices("g0")})
    calls = asyncio.Queue()

    def called(reader, writer):
        calls.put_nowait(writer)

    for _ in range(2):
        async with await asyncio.start_unix_server(called, directory / "kubelet.sock"):
            async with asyncio.timeout(RECOVERY_S):
                writer = await calls.get()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        (directory / "kubelet.sock").unlink()
    await bench.end()


async def test_a_directory_that_is_made_again_is_served_again(
    bench, kubelet, directory, catalog, notes
):
    bench.run(catalog)
    await both(kubelet)

    await kubelet.stop()
    shutil.rmtree(directory)
    await notes.seen("kubelet_absent")
    await kubelet.start()
    await both(kubelet)

    assert sorted(kubelet.registrations) == [GPU, GPU, MIG, MIG]
    assert (directory / ".plumbline.lock").exists()


async def test_a_removed_socket_is_put_back_and_registered_without_a_gap(
    bench, kubelet, directory, catalog, notes
):
    bench.run(catalog)
    await both(kubelet)

    for times in range(2, 5):
        (directory / "nvidia-gpu.sock").unlink()
        await kubelet.registered(GPU, times=times, timeout_s=RECOVERY_S)
        await kubelet.devices(GPU)
        assert kubelet.allocatable[GPU] == 2

    assert (directory / "nvidia-gpu.sock").is_socket()
    assert notes.count("own_socket_lost", GPU) == 3
    assert notes.count("stream_ended") == 0
    assert kubelet.registrations.count(MIG) == 1


async def test_servers_without_a_socket_do_not_add_up(bench, kubelet, directory, devices):
    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)

    for times in range(2, 12):
        (directory / "nvidia-gpu.sock").unlink()
        await kubelet.registered(GPU, times=times, timeout_s=RECOVERY_S)
        await kubelet.devices(GPU)

    assert kubelet.streams(GPU) <= 5
    await kubelet.admit(Pod(name="p", containers=(Container(name="c", requests={GPU: 1}),)))


async def test_a_lost_stream_is_followed_by_a_registration(bench, kubelet, catalog):
    bench.run(catalog)
    await both(kubelet)

    for times in (2, 3):
        await kubelet.drop_streams(GPU)
        assert kubelet.allocatable[GPU] == 0
        await kubelet.registered(GPU, times=times, timeout_s=RECOVERY_S)
        await kubelet.devices(GPU)

    assert kubelet.allocatable == {GPU: 2, MIG: 1}
    assert kubelet.registrations.count(MIG) == 1


async def test_the_end_of_an_older_stream_is_as_bad_and_mended(
    bench, kubelet, directory, devices, notes
):
    """A kubelet marks a resource unhealthy when any of its streams ends."""
    bench.run({GPU: devices("g0")})
    await kubelet.devices(GPU)
    (directory / "nvidia-gpu.sock").unlink()
    await kubelet.registered(GPU, times=2)
    await notes.seen("stream_opened", GPU, times=2)

    await kubelet.drop_streams(GPU, newest_too=False)
    await kubelet.registered(GPU, times=3, timeout_s=RECOVERY_S)
    await kubelet.devices(GPU)

    assert kubelet.allocatable == {GPU: 1}


async def test_a_refusing_kubelet_is_asked_again_with_growing_delays(
    bench, kubelet, devices, notes
):
    kubelet.conduct.refuse = "not today"
    bench.run({GPU: devices("g0")})

    await notes.seen("register_failed", GPU, times=3)
    assert notes.count("register_failed", GPU, "UNKNOWN: not today") == 3
    kubelet.conduct.refuse = None
    await kubelet.devices(GPU)

    assert kubelet.registrations == [GPU]


async def test_a_hung_kubelet_is_given_up_and_a_new_one_found_at_once(
    bench, kubelet, devices, notes
):
    kubelet.conduct.hang = True
    bench.run({GPU: devices("g0")}, timing=Timing(register_timeout_s=0.1, retry_cap_s=0.2))
    await notes.seen("register_failed", GPU, "no answer within 0.1 s", times=2)

    kubelet.conduct.hang = False
    await kubelet.restart()
    await kubelet.devices(GPU, timeout_s=RECOVERY_S)


async def test_a_call_that_hangs_does_not_keep_from_a_new_kubelet(bench, kubelet, devices, notes):
    kubelet.conduct.hang = True
    bench.run({GPU: devices("g0")}, timing=Timing(register_timeout_s=1000, retry_first_s=1000))
    await kubelet.called(GPU)

    kubelet.conduct.hang = False
    # The hung one is still there when the new one takes its place.
    async with Kubelet(kubelet.directory, pod_resources=kubelet.directory / "pr") as successor:
        await successor.devices(GPU, timeout_s=RECOVERY_S)
        await bench.end()


async def test_a_call_back_that_finds_no_socket_is_cut_short(bench, kubelet, directory, devices):
    kubelet.conduct.hang = True
    bench.run({GPU: devices("g0")})
    await kubelet.called(GPU)

    kubelet.conduct.hang = False
    (directory / "nvidia-gpu.sock").unlink()

    await kubelet.devices(GPU, timeout_s=RECOVERY_S)
    assert kubelet.calls == [GPU, GPU]


async def test_an_answer_that_comes_too_late_does_no_harm(bench, kubelet, devices, notes):
    kubelet.conduct.answer_after = asyncio.Event()
    plugins = bench.run({GPU: devices("g0")}, timing=Timing(register_timeout_s=1.0))
    await kubelet.devices(GPU)

    # The kubelet holds a stream: that it does not answer is no reason to register again.
    await kubelet.given_up(GPU)
    plugins.offer({GPU: devices("g0", "g1")})
    await kubelet.devices(GPU, lambda known: len(known) == 2)
    kubelet.conduct.answer_after = None
    await kubelet.drop_streams(GPU)
    await kubelet.devices(GPU)

    assert kubelet.calls == [GPU, GPU]
    assert notes.count("register_failed") == 0


async def test_a_kubelet_that_accepts_and_forgets_is_asked_again(bench, kubelet, devices, notes):
    kubelet.conduct.dial = False
    bench.run({GPU: devices("g0")}, timing=Timing(stream_wait_s=0.1))
    await notes.seen("register_failed", GPU, "accepted, but no stream was opened within 0.1 s")

    kubelet.conduct.dial = True
    await kubelet.devices(GPU)

    assert kubelet.allocatable == {GPU: 1}


async def test_a_directory_without_room_for_a_socket_is_tried_again(
    bench, kubelet, devices, notes, monkeypatch
):
    start_at = sockets.start_at

    async def refuse(server, path, *, prefix):
        monkeypatch.setattr(sockets, "start_at", start_at)
        await server.stop(None)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sockets, "start_at", refuse)
    bench.run({GPU: devices("g0")})

    await kubelet.devices(GPU)

    assert notes.count("register_failed", GPU, "[Errno 28] No space left on device") == 1
