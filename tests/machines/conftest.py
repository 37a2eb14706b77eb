"""Every profile and every capture as a simulated machine, built once, and what the agent sees."""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.simulation import machines, profile
from tests.machines.matrix import CAPTURES, HERE

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def built():
    """Folders by the name of the profile or the capture."""
    # Thousands of small files each: in memory where that is to be had.
    place = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        for each in profile.shipped():
            machines.create(each, folder / each)
        for each in CAPTURES:
            machines.import_capture(str(HERE / f"{each}.txt"), folder / each)
        yield {each: folder / each for each in (*profile.shipped(), *CAPTURES)}


@pytest.fixture(scope="session")
def inventories(built):
    """What the agent sees of each, over the driver's real C interface and sysfs."""
    program = HERE / "observe_each.py"
    done = subprocess.run(
        [sys.executable, program, *built.values()], capture_output=True, check=True
    )
    return dict(zip(built, pickle.loads(done.stdout), strict=True))
