"""The exception tree. Each class says whose fault it is; each message says what to do.

    PlumblineError
    |-- ConfigError       the operator's input: a flag, a file, a profile, a capture
    |-- HardwareError     the machine: no driver, a lost GPU, a refused call
    |   |-- NoDriverError    there is no driver to ask (commands exit 3)
    |   |-- DriverReplacedError   the loaded driver library is no longer the node's
    |   |-- RolledBackError  a change failed and was undone (commands exit 5)
    |   `-- HalfDoneError    a change failed and could not be undone (commands exit 6)
    |-- BusyError         what is in use stands in the way; nothing was changed (commands exit 4)
    |-- KubeletError      the kubelet or its directory
    |-- ClaimError        a ResourceClaim cannot be prepared; the kubelet asks again
    `-- ClusterError      the API server

A message names what happened, to which subject, and what to do next. Errors of other
libraries are translated once, at the shell that meets them, with ``raise ... from``.
"""


class PlumblineError(Exception):
    """Anything Plumbline reports on purpose. ``exit_code`` is what a command returns for it."""

    exit_code = 1


def describe(error: BaseException) -> str:
    """Return what is said of an error: our own say it all, of others the kind is news as well."""
    return str(error) if isinstance(error, PlumblineError) else f"{type(error).__name__}: {error}"


class ConfigError(PlumblineError):
    """The operator's input cannot be used; nothing was touched."""

    exit_code = 2


class HardwareError(PlumblineError):
    """The machine did not do what was asked."""


class NoDriverError(HardwareError):
    """No NVIDIA driver answers on this machine."""

    exit_code = 3


class DriverReplacedError(HardwareError):
    """Another driver library was installed: only a new process can load it."""


class RolledBackError(HardwareError):
    """A change failed; all of it was undone."""

    exit_code = 5


class HalfDoneError(HardwareError):
    """A change failed and could not be undone; it is written down, to be finished later."""

    exit_code = 6


class BusyError(PlumblineError):
    """What is in use stands in the way; nothing was changed."""

    exit_code = 4


class KubeletError(PlumblineError):
    """The kubelet, its socket or its directory stands in the way."""


class ClaimError(PlumblineError):
    """A ResourceClaim cannot be prepared as it is."""


class ClusterError(PlumblineError):
    """The API server refused or did not answer."""

    may_pass = True
    """False for a refusal that asking again changes nothing about."""
