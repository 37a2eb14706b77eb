"""Amounts as Kubernetes writes them: 10Gi, 1.5G, 2e9, 1024. Pure.

The grammar is that of ``resource.Quantity`` (k8s.io/apimachinery/pkg/api/resource).
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_MOST = 2**63 - 1
# Longer numbers are no amounts of anything, and cost time.
_LONGEST = 64
_QUANTITY = re.compile(
    r"(?P<sign>[+-]?)(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+)"
    r"((?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,2}))?",
    re.ASCII,
)
_TENS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_TWOS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def read_quantity(value: object) -> int | None:
    """Return an amount in whole units, rounded up; None for what is none, or too large."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value)
    matched = _QUANTITY.fullmatch(text) if len(text) <= _LONGEST else None
    if matched is None:
        return None
    suffix = matched["suffix"] or ""
    tens = int(matched["exponent"] or _TENS.get(suffix, 0))
    exact = Decimal(matched["number"]).scaleb(tens) * 2 ** _TWOS.get(suffix, 0)
    whole = int(exact.to_integral_value(rounding=ROUND_CEILING))
    if whole > _MOST:
        return None
    return -whole if matched["sign"] == "-" else whole
