"""Following the configuration file, whatever happens around it."""

import asyncio
import contextlib
import errno
import itertools
import os
import shutil
import time
from pathlib import Path

import pytest

from agent.daemon import config_watch
from agent.daemon.config_watch import changes, digest

# The promise is two seconds; a busy machine gets a little more before a test calls it broken.
SOON_S = 4.0


class Follower:
    """Takes what ``changes`` yields, in the background."""

    def __init__(self, path, known=None):
        self.noticed = asyncio.Queue()
        self.task = asyncio.create_task(self._follow(path, known))

    async def _follow(self, path, known):
        async for _ in changes(path, known):
            self.noticed.put_nowait(digest(path))

    async def until(self, content, *, timeout_s=SOON_S):
        """Wait until a change to this content was noticed."""
        wanted = digest(content)
        async with asyncio.timeout(timeout_s):
            while await self.noticed.get() != wanted:
                pass


@contextlib.asynccontextmanager
async def following(path, known=None):
    follower = Follower(path, known)
    await asyncio.sleep(0)  # it has read what is there now
    try:
        yield follower
        assert not follower.task.done(), follower.task
    finally:
        follower.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower.task


@pytest.fixture(autouse=True)
def no_luck(monkeypatch):
    """Whatever is noticed is noticed by an event or by the poll meant for it."""
    monkeypatch.setattr(config_watch, "LOOK_EVERY_S", 600.0)


@pytest.fixture
def expected(tmp_path):
    """A file of its own for each content, to be compared by digest."""

    def make(text):
        path = tmp_path / f"expected-{text}"
        path.write_text(text)
        return path

    return make


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "etc" / "config.yaml"
    path.parent.mkdir()
    path.write_text("one")
    return path


def replace(path, text):
    fresh = path.with_name("fresh")
    fresh.write_text(text)
    fresh.rename(path)


def publish(volume, number, text):
    """Write a ConfigMap volume as the kubelet does: a new folder, then a swap of ``..data``."""
    before = (volume / "..data").resolve() if (volume / "..data").is_symlink() else None
    folder = volume / f"..{number}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(text)
    (volume / "..data_tmp").symlink_to(folder.name)
    (volume / "..data_tmp").rename(volume / "..data")
    with contextlib.suppress(FileExistsError):
        (volume / "config.yaml").symlink_to("..data/config.yaml")
    if before is not None:
        shutil.rmtree(before)


@pytest.mark.parametrize("write", [replace, Path.write_text])
async def test_a_replaced_and_a_rewritten_file_are_noticed(config, expected, write):
    async with following(config) as follower:
        write(config, "two")
        await follower.until(expected("two"))
        write(config, "three")
        await follower.until(expected("three"))


async def test_a_removed_file_and_its_return_are_noticed(config, expected):
    async with following(config) as follower:
        config.unlink()
        await follower.until(config)
        config.write_text("two")
        await follower.until(expected("two"))


async def test_a_swapped_config_map_is_noticed_each_time(tmp_path, expected):
    volume = tmp_path / "volume"
    publish(volume, 1, "one")
    async with following(volume / "config.yaml") as follower:
        for number, text in ((2, "two"), (3, "three")):
            publish(volume, number, text)
            await follower.until(expected(text))


@pytest.mark.parametrize("levels_up", [1, 2, 3])
async def test_a_folder_that_vanishes_and_comes_back_is_noticed(tmp_path, expected, levels_up):
    path = tmp_path / "a" / "b" / "c" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("one")
    async with following(path) as follower:
        shutil.rmtree(path.parents[levels_up - 1])
        await follower.until(path)
        path.parent.mkdir(parents=True)
        path.write_text("two")
        await follower.until(expected("two"))


@pytest.mark.parametrize("levels_up", [1, 2, 3])
async def test_a_folder_renamed_into_place_is_noticed(tmp_path, expected, levels_up):
    path = tmp_path / "a" / "b" / "c" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("one")
    replaced = path.parents[levels_up - 1]
    beside = tmp_path / "beside"
    shutil.copytree(replaced, beside)
    (beside / path.relative_to(replaced)).write_text("two")
    async with following(path) as follower:
        replaced.rename(tmp_path / "old")
        beside.rename(replaced)
        await follower.until(expected("two"))


@pytest.mark.parametrize("repointed", ["first", "second", "third"])
async def test_every_link_of_a_chain_over_several_folders_counts(tmp_path, expected, repointed):
    for folder in ("start", "middle", "end", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "end/config.yaml").write_text("one")
    (tmp_path / "other/config.yaml").write_text("two")
    (tmp_path / "start/first").symlink_to("../middle/second/third")
    (tmp_path / "middle/second").symlink_to(tmp_path / "end")
    (tmp_path / "end/third").symlink_to("./config.yaml")
    where = {
        "first": ("start", "../other/config.yaml"),
        "second": ("middle", "../other"),
        "third": ("end", "../other/../other/config.yaml"),
    }
    (tmp_path / "other/third").symlink_to("config.yaml")
    async with following(tmp_path / "start/first") as follower:
        folder, target = where[repointed]
        (tmp_path / folder / "fresh").symlink_to(target)
        (tmp_path / folder / "fresh").rename(tmp_path / folder / repointed)
        await follower.until(expected("two"))


async def test_a_loop_of_links_is_waited_out(tmp_path, expected):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    async with following(tmp_path / "a") as follower:
        replace(tmp_path / "b", "one")
        await follower.until(expected("one"))


async def test_a_name_that_cannot_exist_is_waited_for_in_vain(tmp_path):
    for path in (tmp_path / ("x" * 300), tmp_path / "a\0b"):
        async with following(path):
            await asyncio.sleep(0.05)


async def test_what_changed_before_the_first_look_is_noticed(config, expected):
    known = digest(config)
    config.write_text("two")  # between the reading and the first look
    async with following(config, known) as follower:
        await follower.until(expected("two"))


async def test_what_is_known_already_is_no_change(config):
    async with following(config, digest(config)) as follower:
        config.with_name("neighbour").write_text("x")
        os.utime(config)
        config.write_text("one")
        await asyncio.sleep(3 * config_watch.SETTLE_S)

        assert follower.noticed.empty()


async def test_a_change_during_the_work_of_the_last_one_is_noticed(config, expected):
    seen = changes(config, b"")
    await anext(seen)
    config.write_text("two")

    await asyncio.wait_for(anext(seen), SOON_S)
    await seen.aclose()


def refusing(code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("__init__", errno.EMFILE),
        ("__init__", errno.ENOMEM),
        ("add_watch", errno.ENOSPC),
        ("add_watch", errno.EACCES),
    ],
)
async def test_without_inotify_it_polls(monkeypatch, config, expected, method, code):
    monkeypatch.setattr(config_watch.Inotify, method, refusing(code))
    assert config_watch.BLIND_POLL_S <= 1.0
    monkeypatch.setattr(config_watch, "BLIND_POLL_S", 0.1)
    async with following(config) as follower:
        replace(config, "two")
        await follower.until(expected("two"))


async def test_inotify_is_used_again_once_there_is_some(monkeypatch, config, expected):
    armed = asyncio.Event()
    real = config_watch.Inotify.get

    async def get(self):
        armed.set()
        return await real(self)

    monkeypatch.setattr(config_watch.Inotify, "get", get)
    monkeypatch.setattr(config_watch, "BLIND_POLL_S", 0.05)
    with monkeypatch.context() as shortage:
        shortage.setattr(config_watch.Inotify, "__init__", refusing(errno.EMFILE))
        async with following(config) as follower:
            replace(config, "two")
            await follower.until(expected("two"))
            assert not armed.is_set()

            shortage.undo()
            await asyncio.wait_for(armed.wait(), SOON_S)
            monkeypatch.setattr(config_watch, "BLIND_POLL_S", 600.0)
            replace(config, "three")
            await follower.until(expected("three"))


async def test_a_folder_that_goes_while_it_is_being_watched_is_no_error(
    monkeypatch, config, expected
):
    real = config_watch.Inotify.add_watch
    races = iter([True])

    def add_watch(self, path, mask):
        if Path(path) == config.parent and next(races, False):
            shutil.rmtree(config.parent)
        return real(self, path, mask)

    monkeypatch.setattr(config_watch.Inotify, "add_watch", add_watch)
    async with following(config) as follower:
        await follower.until(config)
        config.parent.mkdir()
        config.write_text("two")
        await follower.until(expected("two"))


async def test_a_relative_path_in_a_removed_working_directory_is_no_error(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    async with following(Path("config.yaml")) as follower:
        await asyncio.sleep(0.05)
        assert follower.noticed.empty()


async def test_a_pipe_does_not_hold_up_the_loop(config, expected):
    config.unlink()
    os.mkfifo(config)
    async with following(config) as follower:
        replace(config, "two")
        await follower.until(expected("two"))


@pytest.fixture
def looks(monkeypatch):
    """The times at which the file was read."""
    times = []
    real = config_watch.digest

    def counted(path):
        times.append(time.monotonic())
        return real(path)

    monkeypatch.setattr(config_watch, "digest", counted)
    return times


@pytest.mark.parametrize("shortage", [False, True])
async def test_a_storm_beside_the_file_is_no_reason_to_look(monkeypatch, looks, config, shortage):
    if shortage:
        monkeypatch.setattr(config_watch.Inotify, "__init__", refusing(errno.EMFILE))
        monkeypatch.setattr(config_watch, "BLIND_POLL_S", 600.0)
    async with following(config):
        for _ in range(300):
            config.with_name("neighbour").write_text("x")
            await asyncio.sleep(0)
        await asyncio.sleep(2 * config_watch.SETTLE_S)

    # Once for what is there, once after watching began.
    assert len(looks) == 2


async def test_a_storm_of_writes_is_looked_at_now_and_then(looks, config):
    async with following(config):
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            config.write_text("one")
            await asyncio.sleep(0)

    _, *watched = looks
    assert len(watched) >= 2
    pauses = [later - earlier for earlier, later in itertools.pairwise(watched)]
    assert min(pauses) >= 0.9 * config_watch.SETTLE_S


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_nothing_is_left_open(config, expected):
    before = open_files()
    async with following(config) as follower:
        replace(config, "two")
        await follower.until(expected("two"))

    assert open_files() == before
