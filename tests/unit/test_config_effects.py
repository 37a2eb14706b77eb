"""Every setting is read by the agent, or said to be refused or without effect."""

import ast
from pathlib import Path

import msgspec

from agent.config.checks import NO_EFFECT_YET, NOT_YET
from agent.config.options import RunOptions
from agent.config.schema import Config
from agent.config.tree import RUN, is_section

AGENT = Path(__file__).parents[2] / "agent"

# Their field names are read elsewhere, of other things.
COMMON_WORDS = {"imex.required"}


def fields(section, prefix):
    """Every setting's path, with the attribute that holds it."""
    for field in msgspec.structs.fields(section):
        path = prefix + field.encode_name
        if is_section(field.type):
            yield from fields(field.type, path + ".")
        else:
            yield path, field.name


def attributes_read():
    """Every attribute read anywhere but where settings are checked."""
    return {
        node.attr
        for file in AGENT.rglob("*.py")
        if file.name != "checks.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def test_settings_that_nothing_reads_are_exactly_those_said_to_be_so():
    read = attributes_read()
    settings = {**dict(fields(Config, "")), **dict(fields(RunOptions, RUN))}
    said = {*NO_EFFECT_YET, *(row.path for row in NOT_YET)}

    unread = {path for path, name in settings.items() if name not in read}

    assert unread == said - COMMON_WORDS
    assert said >= COMMON_WORDS
