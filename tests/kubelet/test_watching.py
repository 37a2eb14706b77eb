import asyncio
import errno
import shutil

import pytest

from deviceplugin import watch as module
from deviceplugin.watch import watch


class Looks:
    """Counts looks; lets a test wait until nothing more is to be seen."""

    def __init__(self):
        self.count = 0
        self.seen = asyncio.Event()

    def __call__(self):
        self.count += 1
        self.seen.set()

    async def after(self, change):
        self.seen.clear()
        change()
        async with asyncio.timeout(2):
            await self.seen.wait()


@pytest.fixture
async def looks(tmp_path):
    looks = Looks()
    running = asyncio.create_task(watch(tmp_path / "a" / "b", looks, poll_s=1000))
    await looks.after(lambda: None)
    yield looks
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_directory_is_seen_to_come_into_being(looks, tmp_path):
    await looks.after((tmp_path / "a").mkdir)
    await looks.after((tmp_path / "a" / "b").mkdir)
    await looks.after((tmp_path / "a" / "b" / "file").touch)


async def test_a_directory_made_in_one_go_is_watched_too(looks, tmp_path):
    await looks.after(lambda: (tmp_path / "a" / "b").mkdir(parents=True))
    await looks.after((tmp_path / "a" / "b" / "file").touch)


async def test_a_directory_is_seen_to_go_and_come_again_and_again(looks, tmp_path):
    inside = tmp_path / "a" / "b"
    for n in range(20):
        await looks.after(lambda: inside.mkdir(parents=True))
        await looks.after((inside / f"file {n}").touch)
        await looks.after(lambda: shutil.rmtree(tmp_path / "a"))


async def test_an_inode_number_that_is_used_again_deceives_nobody(looks, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "inode", lambda path: (1, 1) if path.exists() else None)
    inside = tmp_path / "a" / "b"
    await looks.after(lambda: inside.mkdir(parents=True))

    def replace():
        inside.rmdir()
        inside.mkdir()

    for _ in range(3):
        await looks.after(replace)
        await looks.after((inside / "file").touch)
        await looks.after((inside / "file").unlink)


async def test_a_directory_is_seen_to_be_moved_away_and_replaced(looks, tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    other = tmp_path / "a" / "c"
    other.mkdir()
    await looks.after((inside / "file").touch)

    await looks.after(lambda: inside.rename(tmp_path / "a" / "gone"))
    await looks.after(lambda: other.rename(inside))
    await looks.after((inside / "file").touch)


async def test_neighbours_are_not_looked_at(looks, tmp_path):
    before = looks.count
    for n in range(50):
        (tmp_path / f"neighbour {n}").touch()

    await looks.after((tmp_path / "a").mkdir)

    assert looks.count <= before + 2


async def test_without_inotify_the_directory_is_polled(tmp_path, monkeypatch):
    def no_inotify():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(module, "Inotify", no_inotify)
    monkeypatch.setattr(module, "_BLIND_POLL_S", 0.01)
    looks = Looks()
    running = asyncio.create_task(watch(tmp_path, looks, poll_s=1000))

    await looks.after(lambda: None)
    await looks.after(lambda: None)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_was_not_reported_is_looked_at_in_time(tmp_path):
    looks = Looks()
    running = asyncio.create_task(watch(tmp_path, looks, poll_s=0.01))

    await looks.after(lambda: None)
    await looks.after(lambda: None)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
