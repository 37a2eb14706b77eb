"""The exception tree. Each class says whose fault it is; each message says what to do.

    PlumblineError
    |-- ConfigError       the operator's input: a flag, a file, a profile, a capture
    |-- HardwareError     the machine: no driver, a lost GPU, a refused call
    |   |-- NoDriverError    there is no driver to ask (commands exit 3)
    |   `-- DriverReplacedError   the loaded driver library is no longer the node's
    |-- KubeletError      the kubelet or its directory
    `-- ClusterError      the API server

A message names what happened, to which subject, and what to do next. Errors of other
libraries are translated once, at the shell that meets them, with ``raise ... from``.
"""


class PlumblineError(Exception):
    """Anything Plumbline reports on purpose. ``exit_code`` is what a command returns for it."""

    exit_code = 1


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


class KubeletError(PlumblineError):
    """The kubelet, its socket or its directory stands in the way."""


class ClusterError(PlumblineError):
    """The API server refused or did not answer."""
