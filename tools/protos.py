"""Generates deviceplugin/_generated from deviceplugin/protos: messages and their stubs.

Services are bound by hand in deviceplugin/rpc.py, so no *_pb2_grpc.py is made.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "deviceplugin" / "protos"
TARGET = ROOT / "deviceplugin" / "_generated"
PACKAGE = '"""Made by tools/protos.py from deviceplugin/protos; not edited by hand."""\n'

# protoc writes imports between its modules as if they lay on sys.path.
_ABSOLUTE_IMPORT = re.compile(r"^import (\w+_pb2)", re.MULTILINE)
# protoc's stubs leave the keys and values of a message given as a mapping open.
_BARE_MAPPING = re.compile(r"\b_Mapping(?=\])")


def generate(target: Path) -> None:
    """Write one ``_pb2.py`` and one ``_pb2.pyi`` per .proto file into ``target``.

    Raises RuntimeError when protoc refuses a file; what it says is on stderr.
    """
    target.mkdir(parents=True, exist_ok=True)
    names = sorted(path.name for path in SOURCES.glob("*.proto"))
    outputs = [f"--python_out={target}", f"--pyi_out={target}"]
    if protoc.main(["protoc", f"-I{SOURCES}", *outputs, *names]) != 0:
        raise RuntimeError(f"protoc failed on {', '.join(names)} in {SOURCES}: see its message")
    for made in sorted(target.glob("*_pb2.py*")):
        text = _ABSOLUTE_IMPORT.sub(r"from . import \1", made.read_text())
        made.write_text(_BARE_MAPPING.sub("_Mapping[str, object]", text))
    (target / "__init__.py").write_text(PACKAGE)


def main() -> None:
    """Regenerate, leaving nothing of an earlier run behind."""
    for stale in [*TARGET.glob("*_pb2.py"), *TARGET.glob("*_pb2.pyi")]:
        stale.unlink()
    generate(TARGET)
    print(f"wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
