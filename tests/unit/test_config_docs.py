"""docs/configuration.md says what the table of settings says."""

import re
from pathlib import Path

import pytest

from agent.config.checks import NO_EFFECT_YET, NOT_YET
from agent.config.flags import resolve
from agent.config.settings import SETTINGS
from tests.unit.config_table import table

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


def test_the_table_is_fresh():
    assert table() in PAGE, (
        "docs/configuration.md is stale; paste what `python -m tests.unit.config_table` prints"
    )


def test_what_is_not_supported_yet_is_listed():
    section = PAGE.partition("## Not supported yet")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))

    assert listed == {row.path for row in NOT_YET}


def test_what_has_no_effect_yet_is_listed():
    section = PAGE.partition("## Accepted without effect yet")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}

    flags = {setting.path: setting.flags[0] for setting in SETTINGS if not setting.in_file}
    assert listed == {flags.get(path, path) for path in NO_EFFECT_YET}


@pytest.mark.parametrize("number", range(len(re.findall(r"```yaml\n", PAGE))))
def test_every_example_is_a_configuration(tmp_path, number):
    example = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[number]
    file = tmp_path / "example.yaml"
    file.write_text(example)

    assert resolve(["--config", str(file)], {}).provenance
