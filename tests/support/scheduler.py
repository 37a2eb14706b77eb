"""Allocates devices to a claim as the scheduler does: first fit, with backtracking.

resource.k8s.io/v1: requests in their order, of a prioritised list the sub-requests in theirs,
devices as they are listed. A constraint that names a request is for all of its sub-requests.
Classes stand for all devices of the driver of their name.
"""


def allocate(devices, pools, taken=()):
    """Return (request, driver, device) of every result, or None where the claim cannot be had.

    ``devices`` is the spec's; ``pools`` has the published devices by driver.
    """
    return _from(devices["requests"], devices.get("constraints", ()), pools, list(taken), [])


def _from(requests, constraints, pools, taken, chosen):
    if not requests:
        return chosen
    first, rest = requests[0], requests[1:]
    ways = first.get("firstAvailable") or [first["exactly"]]
    for way in ways:
        name = f"{first['name']}/{way['name']}" if "firstAvailable" in first else first["name"]
        driver = way["deviceClassName"]
        for device in pools[driver]:
            if (driver, device["name"]) in taken:
                continue
            found = [*chosen, (name, driver, device)]
            if not all(_holds(each, found) for each in constraints):
                continue
            more = [*taken, (driver, device["name"])]
            if (whole := _from(rest, constraints, pools, more, found)) is not None:
                return whole
    return None


def _holds(constraint, chosen):
    named = constraint.get("requests")
    values = [
        device["attributes"].get(constraint["matchAttribute"])
        for request, _, device in chosen
        if named is None or request in named or request.partition("/")[0] in named
    ]
    return None not in values and all(each == values[0] for each in values)
