"""What makes an agent end without a word at a step of its choice, in a copy of its packages.

``PLUMBLINE_DIE_AT=prepare:3`` is the third thing done on the disk or to the driver for the first
claim that is prepared, ``unprepare:1`` the first for one that is given back.
"""

import os

from agent.partition import execute, journal, verbs
from agent.serving import cdi_files, claim_store
from agent.serving.claims import Claims

KILLED = 9
# What a claim needs on the disk and of the driver, in whichever order it comes to it.
STEPS = (
    (claim_store, "write_down"),
    (claim_store, "write_passing"),
    (claim_store, "forget"),
    (cdi_files, "_write"),
    (journal.Journal, "begin"),
    (journal.Journal, "end"),
    (verbs.Hands, "execute"),
)
ACTS = {"prepare": "_carried_out", "unprepare": "_unprepare"}


def die_at(what, number):
    """Have this process end before a step of preparing or giving back."""
    done = None

    def armed(call):
        async def act(*args, **kwargs):
            nonlocal done
            done = 0
            return await call(*args, **kwargs)

        return act

    def counted(call):
        def step(*args, **kwargs):
            nonlocal done
            if done is not None:
                done += 1
                if done == number:
                    os._exit(KILLED)
            return call(*args, **kwargs)

        return step

    setattr(Claims, ACTS[what], armed(getattr(Claims, ACTS[what])))
    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
    execute.Journal = journal.Journal


if "PLUMBLINE_DIE_AT" in os.environ:
    named, _, step = os.environ["PLUMBLINE_DIE_AT"].partition(":")
    die_at(named, int(step))
