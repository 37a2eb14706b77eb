import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

PLUMBLINE = str(Path(sys.executable).with_name("plumbline"))


@pytest.mark.parametrize("asked", ["--version", "version"])
def test_the_version_told_is_the_one_that_was_packaged(asked):
    done = subprocess.run([PLUMBLINE, asked], capture_output=True, text=True, check=True)

    assert done.stdout == f"{version('plumbline')}\n"
