"""Another version of the agent, laid out in a folder as its package is when installed."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import agent
import deviceplugin


def make(folder: Path, version: str) -> Path:
    """Copy the agent's packages into ``folder``, there of another version; return it."""
    for package in (agent, deviceplugin):
        source = Path(package.__file__).parent
        shutil.copytree(
            source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__", "*.so")
        )
    native = Path(importlib.util.find_spec("agent._native").origin)
    shutil.copy(native, folder / "agent" / native.name)
    path = folder / "agent" / "__init__.py"
    text = path.read_text()
    bumped = text.replace(f'VERSION = "{agent.VERSION}"', f'VERSION = "{version}"')
    assert bumped != text, f"{path} does not say its version as it used to"
    path.write_text(bumped)
    return folder
