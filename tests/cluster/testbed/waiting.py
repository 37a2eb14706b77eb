"""Waiting for an object of the API server to be as a test wants it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import urllib3
from kubernetes import watch
from kubernetes.client.exceptions import ApiException

T = TypeVar("T")


class TimedOut(AssertionError):
    """What was waited for did not come."""


def until(
    list_: Callable[..., Any],
    condition: Callable[[Any], bool],
    *,
    timeout_s: float,
    what: Callable[[Any], str],
    **selectors: str,
) -> Any:
    """Watch objects until one fulfils a condition; return it.

    ``list_`` is a client's list method, ``selectors`` its arguments. ``what`` says of the last
    object seen (None: none) what is amiss. An API server that goes away is waited for too.
    """
    deadline = time.monotonic() + timeout_s
    last = None
    while (left := deadline - time.monotonic()) > 0:
        stream = watch.Watch()
        try:
            for event in stream.stream(
                list_, timeout_seconds=max(1, round(left)), _request_timeout=left + 1, **selectors
            ):
                last = event["object"] if event["type"] != "DELETED" else None
                if condition(last):
                    return last
        except (ApiException, urllib3.exceptions.HTTPError):
            # Too old a version, or no server: begin again from what there is.
            time.sleep(0.1)
        finally:
            stream.stop()
    raise TimedOut(f"after {timeout_s:.0f} s {what(last)}")


def poll(
    condition: Callable[[], object], *, what: Callable[[], str], timeout_s: float = 15
) -> None:
    """Wait for what nothing announces; ``what`` says what is amiss when it does not come."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimedOut(what())
        time.sleep(0.02)
