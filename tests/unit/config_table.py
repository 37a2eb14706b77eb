"""The table of settings as Markdown: ``python -m tests.unit.config_table`` prints it."""

import math

from agent.config import conversion
from agent.config.section import GO_DURATION
from agent.config.settings import SETTINGS
from agent.config.tree import leaves

HEAD = ("| key in the file | flags | environment | default | meaning |", "|---|---|---|---|---|")


def table():
    """One line for each setting, in the order of the help."""
    return "\n".join([*HEAD, *(_row(setting) for setting in SETTINGS)])


def _row(setting):
    leaf = leaves()[setting.path]
    cells = (
        _code([setting.path] if setting.in_file else []),
        _code(setting.flags),
        _code(setting.env),
        _default(leaf),
        setting.help + _choices(leaf.annotation),
    )
    return "| " + " | ".join(cells) + " |"


def _code(words):
    return " ".join(f"`{word}`" for word in words) or "-"


def _default(leaf):
    value = leaf.default
    if conversion.form(leaf.annotation) == GO_DURATION and not math.isinf(value):
        return f"`{conversion.render_duration(value)}`"
    text = conversion.render(value)
    return f"`{text}`" if text else "-"


def _choices(annotation):
    item = conversion.item_type(annotation) if conversion.is_list(annotation) else annotation
    options = conversion.options(item)
    return f" ({', '.join(f'`{option}`' for option in options)})" if len(options) > 1 else ""


if __name__ == "__main__":
    print(table())
