"""Names of MIG profiles: ``1g.10gb``, ``1g.10gb+me``, ``1c.3g.20gb``, and ``mig-1g.10gb.me``."""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct


class MigSuffix(StrEnum):
    """What beside slices and memory sets profiles of a GPU apart, as nvidia-smi writes it."""

    NONE = ""
    MEDIA = "+me"  # one set of media engines
    ALL_MEDIA = "+me.all"  # every media engine of the GPU
    NO_MEDIA = "-me"
    GRAPHICS = "+gfx"


# A resource name and a label can hold no "+".
_SUFFIXES = {word: suffix for suffix in MigSuffix for word in (suffix, suffix.replace("+", "."))}

_NAME = re.compile(
    r"(?:([1-9][0-9]?)c\.)?([1-9][0-9]?)g\.([1-9][0-9]{0,3})gb"
    rf"({'|'.join(re.escape(word) for word in _SUFFIXES if word)})?"
)
_NEARLY = re.compile(
    r"(?:nvidia\.com/)?(?:mig[-_ ]*)?(?:([1-9][0-9]?)c[^0-9a-z]*)?([1-9][0-9]?)g[^0-9a-z]*"
    r"([1-9][0-9]{0,3})(?:gb?)?(?:[^a-z0-9]*(gfx|me[^a-z0-9]*all|me))?"
)


class ProfileName(Struct, frozen=True, kw_only=True):
    """A profile's name, taken apart."""

    compute_slices: int | None
    """The C of ``1c.3g.20gb``; None: as many as the GPU instance has."""
    slices: int
    """The G."""
    gigabytes: int
    suffix: MigSuffix = MigSuffix.NONE

    def __str__(self) -> str:
        """Return the name as nvidia-smi writes it; the C stands only where it differs from G."""
        part = "" if self.is_whole else f"{self.compute_slices}c."
        return f"{part}{self.slices}g.{self.gigabytes}gb{self.suffix}"

    @property
    def is_whole(self) -> bool:
        """True when one compute instance takes all of the GPU instance."""
        return self.compute_slices in {None, self.slices}

    @property
    def outer(self) -> ProfileName:
        """Return the name of the GPU instance, without its compute instance."""
        return ProfileName(
            compute_slices=None,
            slices=self.slices,
            gigabytes=self.gigabytes,
            suffix=self.suffix,
        )

    @property
    def label(self) -> str:
        """Return the name as resources and layouts are called by it: ``1g.10gb.me``."""
        return str(self).replace("+", ".")


def parse_profile(text: str) -> ProfileName | None:
    """Return a name taken apart, in either spelling of its suffix; None when it is none."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    compute, slices, gigabytes, suffix = found.groups()
    if compute is not None and int(compute) > int(slices):
        return None
    return ProfileName(
        compute_slices=None if compute is None else int(compute),
        slices=int(slices),
        gigabytes=int(gigabytes),
        suffix=_SUFFIXES[suffix or ""],
    )


def suggest_profile(text: str) -> str | None:
    """Return the name that was probably meant by text that is none; None when nothing is near."""
    found = _NEARLY.fullmatch(text.strip().casefold())
    if found is None:
        return None
    compute, slices, gigabytes, suffix = found.groups()
    part = f"{compute}c." if compute else ""
    sign = "-" if "-me" in text and "mig-me" not in text else "+"
    tail = {None: "", "gfx": "+gfx", "me": f"{sign}me"}.get(suffix, "+me.all")
    name = parse_profile(f"{part}{slices}g.{gigabytes}gb{tail}")
    return None if name is None else str(name)


def gigabytes_of(memory_bytes: int, *, total_bytes: int) -> int:
    """Return the GB in the name of a profile: its eighths of the GPU's memory, rounded up.

    Half a GB counts as a whole one (B200: 22.5 is 23), where ``round`` goes to the even one.
    """
    eighths = -(-8 * memory_bytes // total_bytes)
    gibibytes = -(-total_bytes // (1 << 30))
    return (2 * eighths * gibibytes + 8) // 16


def profile_name(
    *,
    slices: int,
    memory_bytes: int,
    total_bytes: int,
    suffix: MigSuffix = MigSuffix.NONE,
    compute_slices: int | None = None,
) -> ProfileName:
    """Return the name of a profile by its attributes, as NVIDIA's programs make it."""
    return ProfileName(
        compute_slices=compute_slices,
        slices=slices,
        gigabytes=gigabytes_of(memory_bytes, total_bytes=total_bytes),
        suffix=suffix,
    )
