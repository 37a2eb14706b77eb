import importlib.util
from pathlib import Path

import pytest

import deviceplugin

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = Path(deviceplugin.__file__).parent / "_generated"


@pytest.fixture(scope="module")
def protos():
    spec = importlib.util.spec_from_file_location("protos", ROOT / "tools" / "protos.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_messages_are_what_the_protos_generate(protos, tmp_path):
    protos.generate(tmp_path)

    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in COMMITTED.glob("*.py*")}
    assert sorted(made) == sorted(committed)
    stale = [name for name in made if made[name] != committed[name]]
    assert stale == [], "run `make protos` and commit what it writes"


def test_no_generated_module_is_looked_for_on_the_path(protos, tmp_path):
    protos.generate(tmp_path)

    lines = "\n".join(path.read_text() for path in tmp_path.glob("*_pb2.py*")).splitlines()
    assert [line for line in lines if line.startswith("import ")] == []
