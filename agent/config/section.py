"""What every section of a configuration is made of: the base class and the checked types.

The description in a ``Meta`` is what an error message says was expected.
"""

from __future__ import annotations

from typing import Annotated, NoReturn, TypeVar

from msgspec import Meta, Struct

GO_DURATION = "go-duration"
ONE_OR_MANY = "one-or-many"

Item = TypeVar("Item")
Key = TypeVar("Key")

AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\x00\n]*\Z", description="an absolute path")]

# Kubernetes: an annotation key is an optional DNS subdomain, a slash, and a name of up to 63
# characters. The agent appends 57 ("nvidia-device-plugin_" and a UUID), which leaves 6.
AnnotationPrefix = Annotated[
    str,
    Meta(
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,5})?\Z",
        description="the beginning of an annotation key, as in cdi.k8s.io/",
    ),
]

Duration = Annotated[
    float,
    Meta(
        gt=0,
        description="a duration with its unit, as in 60s, 1m30s or 500ms, or infinite",
        extra={"form": GO_DURATION},
    ),
]
"""Seconds; written as Go writes durations."""

OneOrMany = Annotated[tuple[Item, ...], Meta(min_length=1, extra={"form": ONE_OR_MANY})]
"""A list, of which a single item may be written without the brackets."""


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One mapping of a configuration file: camelCase keys there, snake_case fields here."""


class Words(dict[Key, Item]):
    """A mapping whose keys are the operator's own words; unchangeable, like a section."""

    def __hash__(self) -> int:  # type: ignore[override]
        """Return a hash, which a mapping that cannot change may have."""
        return hash(frozenset(self.items()))

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise AttributeError("a configuration cannot be changed")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
