"""What makes an agent end at a step of its choice, in a copy of its packages.

``PLUMBLINE_DIE_AT=prepare:3`` is the third thing done on the disk or to the driver from the first
claim on that is prepared, ``unprepare:1`` the first from one on that is given back.
"""

import os

from dying import die_at

from agent.serving.claims import Claims

ACTS = {"prepare": "_carried_out", "unprepare": "_unprepare"}


def die_in(what, number):
    """Have this process end before a step of preparing or giving back."""
    begun = False
    call = getattr(Claims, ACTS[what])

    async def act(*args, **kwargs):
        nonlocal begun
        begun = True
        return await call(*args, **kwargs)

    setattr(Claims, ACTS[what], act)
    die_at(number, counts=lambda: begun)


if "PLUMBLINE_DIE_AT" in os.environ:
    named, _, step = os.environ["PLUMBLINE_DIE_AT"].partition(":")
    die_in(named, int(step))
