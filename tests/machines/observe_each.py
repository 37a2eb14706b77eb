"""Looks at simulated machines as the agent does; writes their Inventories, pickled, to stdout.

NVML programs know one driver library, so each machine is looked at in a child of its own.
"""

import os
import pickle
import sys
from pathlib import Path

from agent.discovery.inventory import observe
from agent.discovery.library import Session
from agent.discovery.locality import read_overrides
from agent.model.machine import Machine


def observe_in_child(folder):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(writer, "wb") as out, Session(Machine.simulated(folder)) as session:
            pickle.dump(
                observe(session, overrides=read_overrides(session.machine.locality_file)), out
            )
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as found:
        inventory = pickle.load(found)
    os.waitpid(child, 0)
    return inventory


if __name__ == "__main__":
    pickle.dump([observe_in_child(Path(name)) for name in sys.argv[1:]], sys.stdout.buffer)
