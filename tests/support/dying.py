"""Has a process end without a word, or halt, before a step of its work for a claim."""

import functools
import os
import time

from agent.partition import execute, journal, verbs
from agent.serving import cdi_files, claim_store

KILLED = 9
HALTED, GO_ON = "halted", "go-on"
# What a claim needs on the disk and of the driver, in whichever order it comes to it.
STEPS = [
    (claim_store, "write_down"),
    (claim_store, "write_passing"),
    (claim_store, "forget"),
    (cdi_files, "_write"),
    (journal.Journal, "begin"),
    (journal.Journal, "end"),
    (verbs.Hands, "execute"),
]


def die_at(number, *, counts=lambda: True):
    """End this process before the step of a number, of those made while ``counts`` says so."""
    _before(number, functools.partial(os._exit, KILLED), counts)


def halt_at(number, folder, *, counts=lambda: True):
    """Halt before a step until somebody puts ``GO_ON`` into a folder; says there that it has."""

    def halt():
        (folder / HALTED).touch()
        while not (folder / GO_ON).exists():
            time.sleep(0.02)

    _before(number, halt, counts)


def _before(number, act, counts):
    done = 0

    def counted(call):
        def step(*args, **kwargs):
            nonlocal done
            if counts():
                done += 1
                if done == number:
                    act()
            return call(*args, **kwargs)

        return step

    for owner, name in STEPS:
        setattr(owner, name, counted(getattr(owner, name)))
    execute.Journal = journal.Journal
