"""Where layouts come from: the operator's files, and what can be made from the hardware."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from agent.config.layouts import Layout
from agent.config.mig import Mig
from agent.config.mig_parted import KEY, declared_layouts, parse_layouts, read_layouts

GENERATED = "generated for this node"


def layouts_in(path: Path) -> tuple[dict[str, Layout], Mig]:
    """Return the layouts in a file, and the rest of what it says of MIG.

    The file is one of mig-parted, or a configuration of the agent. Raises ConfigError that names
    every problem.
    """
    # Imported here: only who names a file reads YAML.
    from agent.config import flags  # noqa: PLC0415
    from agent.config.sources import read_text  # noqa: PLC0415

    text = read_text(path, kind="file of MIG layouts", advice="correct the path after -f")
    if _is_mig_parted(text):
        return read_layouts(path), Mig()
    mig = flags.resolve([f"--config-file={path}"], {}).config.plumbline.mig
    return declared_layouts(mig, str(path)), mig


def generated_layouts(document: Mapping[str, object]) -> dict[str, Layout]:
    """Return layouts that were made from the hardware, as values in mig-parted's format."""
    made = parse_layouts(json.dumps(document), GENERATED)
    return {name: replace(layout, where=GENERATED) for name, layout in made.items()}


def _is_mig_parted(text: str) -> bool:
    import yaml  # noqa: PLC0415

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return False  # whoever reads it in earnest says what is wrong
    return isinstance(node, yaml.MappingNode) and any(
        isinstance(key, yaml.ScalarNode) and key.value == KEY for key, _ in node.value
    )
