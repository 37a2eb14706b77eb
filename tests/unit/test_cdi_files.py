"""CDI files on disk: whole or not at all, ours and nobody else's."""

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from agent.model.errors import ConfigError, HardwareError
from agent.planning.cdi import CdiClass, CdiGpu, Surroundings, encode, gpu_spec, node_spec
from agent.serving import cdi_files
from agent.serving.cdi_files import Published, device_names, publish, refresh, remove

GPU_FILE = "k8s.device-plugin.nvidia.com-gpu.json"
GDS_FILE = "k8s.device-plugin.nvidia.com-gds.json"
GDS = node_spec(CdiClass.GDS, ["/dev/nvidia-fs0"], Surroundings())


def spec(count=1):
    gpus = [CdiGpu(uuid=f"GPU-{i}", index=str(i), nodes=(f"/dev/nvidia{i}",)) for i in range(count)]
    return gpu_spec(gpus, Surroundings())


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_specification_is_written_for_every_reader_and_nothing_else_is_left(tmp_path):
    folder = tmp_path / "run" / "cdi"
    previous = os.umask(0o077)
    try:
        published = publish(folder, {CdiClass.GPU: spec()})
    finally:
        os.umask(previous)

    assert published == Published(written=(GPU_FILE,))
    assert listing(folder) == [GPU_FILE]
    assert (folder / GPU_FILE).read_bytes() == encode(spec())
    assert stat.S_IMODE((folder / GPU_FILE).stat().st_mode) == 0o644


def test_what_has_not_changed_is_not_written_again(tmp_path):
    publish(tmp_path, {CdiClass.GPU: spec()})
    before = (tmp_path / GPU_FILE).stat()

    same = publish(tmp_path, {CdiClass.GPU: spec()})
    after = (tmp_path / GPU_FILE).stat()
    changed = publish(tmp_path, {CdiClass.GPU: spec(2)})

    assert same == Published(unchanged=(GPU_FILE,))
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert changed.written == (GPU_FILE,)
    assert json.loads((tmp_path / GPU_FILE).read_text()) == spec(2)


FOREIGN = {
    "nvidia.yaml": "kind: nvidia.com/gpu",
    "management.nvidia.com-gpu.json": '{"kind": "management.nvidia.com/gpu"}',
    "k8s.device-plugin.nvidia.com-imex-channel.json": json.dumps(
        {"kind": "k8s.device-plugin.nvidia.com/imex-channel", "devices": [{"name": "0"}]}
    ),
    "k8s.device-plugin.nvidia.com-mofed.json": json.dumps(
        {"kind": "k8s.device-plugin.nvidia.com/mofed", "devices": [{"name": "all"}]}
    ),
    "k8s.device-plugin.nvidia.com-broken.json": "{",
}


def test_files_of_other_classes_are_not_touched(tmp_path):
    for name, content in FOREIGN.items():
        (tmp_path / name).write_text(content)
    publish(tmp_path, {CdiClass.GPU: spec(), CdiClass.GDS: GDS})

    publish(tmp_path, {CdiClass.GPU: spec(2)})
    refresh(tmp_path, {CdiClass.GPU: spec()})
    remove(tmp_path, CdiClass.GPU)

    assert listing(tmp_path) == sorted([*FOREIGN, GDS_FILE])
    assert {name: (tmp_path / name).read_text() for name in FOREIGN} == FOREIGN


def test_a_refresh_rewrites_what_is_there_and_writes_nothing_new(tmp_path):
    publish(tmp_path, {CdiClass.GPU: spec()})

    published = refresh(tmp_path, {CdiClass.GPU: spec(2), CdiClass.GDS: GDS})

    assert published == Published(written=(GPU_FILE,))
    assert (tmp_path / GPU_FILE).read_bytes() == encode(spec(2))
    assert listing(tmp_path) == [GPU_FILE]
    assert refresh(tmp_path / "never" / "made", {CdiClass.GPU: spec()}) == Published()
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": "vendor.com/gpu"}'])
def test_a_refresh_and_a_removal_leave_what_is_not_ours(tmp_path, content):
    (tmp_path / GPU_FILE).write_text(content)

    assert refresh(tmp_path, {CdiClass.GPU: spec()}) == Published()
    remove(tmp_path, CdiClass.GPU)

    assert (tmp_path / GPU_FILE).read_text() == content
    assert device_names(tmp_path, CdiClass.GPU) == ()


def test_the_names_in_our_file_are_read(tmp_path):
    assert device_names(tmp_path, CdiClass.GPU) == ()
    publish(tmp_path, {CdiClass.GPU: spec(2)})

    assert device_names(tmp_path, CdiClass.GPU) == ("GPU-0", "GPU-1", "0", "1", "all")


def test_a_foreign_file_under_our_name_is_not_overwritten(tmp_path):
    (tmp_path / GPU_FILE).write_text('{"kind": "vendor.com/gpu"}')

    with pytest.raises(ConfigError, match=r"describes 'vendor\.com/gpu'.*--cdi-spec-dir"):
        publish(tmp_path, {CdiClass.GPU: spec(), CdiClass.GDS: GDS})

    assert listing(tmp_path) == [GPU_FILE]
    assert (tmp_path / GPU_FILE).read_text() == '{"kind": "vendor.com/gpu"}'


@pytest.mark.parametrize("wreck", [b"", b"{", b'{"devices": []}', b"\xff\xfe"])
def test_a_wreck_under_our_name_is_replaced(tmp_path, wreck):
    (tmp_path / GPU_FILE).write_bytes(wreck)

    publish(tmp_path, {CdiClass.GPU: spec()})

    assert (tmp_path / GPU_FILE).read_bytes() == encode(spec())


def test_a_link_under_our_name_is_replaced_and_not_followed(tmp_path):
    folder, target = tmp_path / "cdi", tmp_path / "precious"
    folder.mkdir()
    target.write_text("precious")
    (folder / GPU_FILE).symlink_to(target)

    publish(folder, {CdiClass.GPU: spec()})

    assert target.read_text() == "precious"
    assert not (folder / GPU_FILE).is_symlink()


def test_what_stands_in_the_way_of_the_folder_is_explained(tmp_path):
    (tmp_path / "file").write_text("")

    for folder in (tmp_path / "file", tmp_path / "file" / "cdi"):
        with pytest.raises(ConfigError, match="cannot write CDI specifications to") as caught:
            publish(folder, {CdiClass.GPU: spec()})
        assert str(folder) in str(caught.value)
        assert "--cdi-spec-dir" in str(caught.value)


def test_a_folder_that_cannot_be_written_is_explained(monkeypatch, tmp_path):
    def refuse(error_number):
        def open_(path, *_):
            raise OSError(error_number, os.strerror(error_number), str(path))

        monkeypatch.setattr(cdi_files.os, "open", open_)
        publish(tmp_path, {CdiClass.GPU: spec()})

    with pytest.raises(ConfigError, match="Read-only file system; mount the folder writable"):
        refuse(30)
    with pytest.raises(HardwareError, match="No space left on device; free space"):
        refuse(28)
    assert listing(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_and_no_scratch(monkeypatch, tmp_path):
    publish(tmp_path, {CdiClass.GPU: spec()})

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cdi_files.os, "fsync", fail)
    with pytest.raises(HardwareError):
        publish(tmp_path, {CdiClass.GPU: spec(2)})

    assert listing(tmp_path) == [GPU_FILE]
    assert (tmp_path / GPU_FILE).read_bytes() == encode(spec())


def test_what_a_killed_writer_leaves_is_swept_and_a_living_ones_is_not(tmp_path):
    program = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from agent.planning.cdi import CdiClass
        from agent.serving import cdi_files

        def stall(descriptor):
            print("written", flush=True)
            time.sleep(600)

        cdi_files.os.fsync = stall
        cdi_files.publish(Path(sys.argv[1]), {CdiClass.GPU: {"kind": "x"}})
        """
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout.readline() == "written\n"
        [scratch] = listing(tmp_path)

        publish(tmp_path, {})
        during = listing(tmp_path)
        writer.send_signal(signal.SIGKILL)
        writer.wait(timeout=20)
        after_death = listing(tmp_path)
        publish(tmp_path, {CdiClass.GPU: spec()})
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()

    assert not scratch.endswith((".json", ".yaml"))
    assert during == after_death == [scratch]
    assert listing(tmp_path) == [GPU_FILE]
