"""Which of a GPU's profiles a written name means."""

from __future__ import annotations

from collections.abc import Sequence

from agent.config.conversion import nearest
from agent.model.mig import ComputeProfile, GpuInstanceProfile
from agent.model.mig_names import ProfileName, parse_profile


class NoSuchProfileError(ValueError):
    """A name that means none of a GPU's profiles, or more than one; the message says which."""


def match_profile(name: ProfileName, offered: Sequence[GpuInstanceProfile]) -> GpuInstanceProfile:
    """Return the profile that a name means: of that name, or else of nearly that memory.

    Raises NoSuchProfileError.
    """
    outer = str(name.outer)
    same = [profile for profile in offered if profile.name == outer]
    found = same or _alike(name, offered)
    if len(found) == 1:
        return found[0]
    names = [profile.name for profile in offered]
    if found:
        choice = " and ".join(_described(each) for each in found)
        raise NoSuchProfileError(f"{choice}, and {outer!r} may be either; write the one meant")
    if not names:
        raise NoSuchProfileError(
            f"no {outer!r}: the driver tells no profiles; switch MIG mode on first (drivers up to "
            "535 tell them only then)"
        )
    listed = ", ".join(names)
    alike = _nearest_name(name, offered)
    raise NoSuchProfileError(f"no {outer!r}, only {listed}; did you mean {alike!r}?")


def match_compute(name: ProfileName, profile: GpuInstanceProfile) -> ComputeProfile:
    """Return the compute profile that a name means inside a GPU instance.

    Raises NoSuchProfileError.
    """
    slices = profile.slices if name.compute_slices is None else name.compute_slices
    found = next((each for each in profile.compute if each.slices == slices), None)
    if found is not None:
        return found
    names = [_compute_name(each.slices, profile) for each in profile.compute]
    asked = _compute_name(slices, profile)
    alike = nearest(asked, names)
    hint = "" if alike is None else f"; did you mean {alike!r}?"
    raise NoSuchProfileError(f"no {asked!r}, only {', '.join(names) or 'none'}{hint}")


def _alike(
    name: ProfileName, offered: Sequence[GpuInstanceProfile]
) -> tuple[GpuInstanceProfile, ...]:
    """Return the profiles that another driver may call by this name: those nearest in memory.

    Drivers round differently (7g.79gb and 7g.80gb, 1g.23gb and 1g.24gb): by 1 GB at most, which
    is little beside the whole. 1g.5gb and 1g.6gb are profiles of different boards.
    """
    by_distance: dict[int, list[GpuInstanceProfile]] = {}
    for profile in offered:
        has = parse_profile(profile.name)
        if has is not None and (has.slices, has.suffix) == (name.slices, name.suffix):
            apart = abs(has.gigabytes - name.gigabytes)
            if apart <= 1 and 10 * apart <= name.gigabytes:
                by_distance.setdefault(apart, []).append(profile)
    return tuple(by_distance[min(by_distance)]) if by_distance else ()


def _nearest_name(name: ProfileName, offered: Sequence[GpuInstanceProfile]) -> str:
    """Return the offered name most like one: in slices, then suffix, then memory."""

    def key(profile: GpuInstanceProfile) -> tuple[int, bool, int, str]:
        has = parse_profile(profile.name)
        if has is None:
            return (99, True, 0, profile.name)
        return (
            abs(has.slices - name.slices),
            has.suffix is not name.suffix,
            abs(has.gigabytes - name.gigabytes),
            profile.name,
        )

    return min(offered, key=key).name


def _described(profile: GpuInstanceProfile) -> str:
    return f"{profile.name!r} (id {profile.id}, {profile.memory_mib} MiB)"


def _compute_name(slices: int, profile: GpuInstanceProfile) -> str:
    return profile.name if slices == profile.slices else f"{slices}c.{profile.name}"
