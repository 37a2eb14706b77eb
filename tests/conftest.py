"""What every test folder shares."""

import importlib.util
import os
import sys
from pathlib import Path


def _use_native_from(folder: Path) -> None:
    """Load agent._native from another build (tools/sanitize) before anything imports ours."""
    (library,) = folder.glob("_native.*.so")
    spec = importlib.util.spec_from_file_location("agent._native", library)
    sys.modules["agent._native"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import agent

    agent._native = module


if "PLUMBLINE_NATIVE_DIR" in os.environ:
    _use_native_from(Path(os.environ["PLUMBLINE_NATIVE_DIR"]))
