"""The folder list is the dependency order, and the order is a test."""

import ast
import configparser
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_imports_obey_the_contracts():
    result = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stdout


def test_every_contract_is_named_by_a_sentence():
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    names = [
        contracts[section]["name"]
        for section in contracts.sections()
        if section.startswith("importlinter:contract:")
    ]

    assert names
    assert all(len(name.split()) >= 5 for name in names)


def test_every_package_says_what_belongs_in_it():
    packages = [
        path
        for top in ("agent", "deviceplugin")
        for path in (ROOT / top).rglob("__init__.py")
        if "_generated" not in path.parts
    ]

    silent = [str(p.relative_to(ROOT)) for p in packages if not p.read_text().startswith('"""')]
    assert packages
    assert silent == []


def test_only_what_reads_and_what_plans_touches_the_native_core():
    """The extension is no Python module, so import-linter cannot see it."""
    users = {
        path.relative_to(ROOT).parts[1]
        for path in (ROOT / "agent").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module == "agent._native" or any(a.name == "_native" for a in node.names))
    }

    assert users == {"discovery", "simulation", "planning"}


def loaded_with(program, *modules):
    """Return which of the modules a new process has loaded after a program."""
    code = f"import sys; {program}; print([m for m in {modules!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_daemon_starts_without_the_command_line():
    loaded = loaded_with("import agent.daemon.run", "typer", "rich", "kubernetes", "pydantic")
    assert loaded == "[]"


def test_gpus_take_turns_without_what_only_mps_needs():
    loaded = loaded_with("import agent.daemon.run, agent.daemon.time_slicing", "psutil")
    assert loaded == "[]"
