"""What makes an agent end or halt at a step of its choice, in a copy of its packages.

``PLUMBLINE_DIE_AT=prepare:3`` is the third thing done on the disk or to the driver from the first
claim on that is prepared, ``unprepare:1`` the first from one on that is given back.
``PLUMBLINE_HALT_AT`` halts it there until it may go on: see dying.halt_at for what is put into the
folder ``PLUMBLINE_HALT_IN``.
"""

import functools
import os
from pathlib import Path

from dying import die_at, halt_at

from agent.serving.claims import Claims

ACTS = {"prepare": "_carried_out", "unprepare": "_unprepare"}


def stop_in(what, number, stop):
    """Have this process stop before a step of preparing or giving back."""
    begun = False
    call = getattr(Claims, ACTS[what])

    async def act(*args, **kwargs):
        nonlocal begun
        begun = True
        return await call(*args, **kwargs)

    setattr(Claims, ACTS[what], act)
    stop(number, counts=lambda: begun)


STOPS = {"PLUMBLINE_DIE_AT": die_at}
if folder := os.environ.get("PLUMBLINE_HALT_IN"):
    STOPS["PLUMBLINE_HALT_AT"] = functools.partial(halt_at, folder=Path(folder))
for variable, stop in STOPS.items():
    if variable in os.environ:
        named, _, step = os.environ[variable].partition(":")
        stop_in(named, int(step), stop)
