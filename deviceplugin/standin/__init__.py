"""A kubelet stand-in: the device manager's side of the device-plugin API, on real sockets.

Belongs here: what the kubelet does with device plugins, as its public sources have it, for
tests, demos and trying things out by hand. Does not: run containers, or know what a GPU is.
Where it differs from a kubelet (no scheduler, no containers, one container scope for the
topology manager), the docstrings say so.
"""

from deviceplugin.standin.admission import TopologyRules
from deviceplugin.standin.kubelet import Conduct, Kubelet
from deviceplugin.standin.numa import Hint, Numa, Policy
from deviceplugin.standin.pods import AdmissionFailed, Allocated, Container, KubeletDied, Pod

__all__ = [
    "AdmissionFailed",
    "Allocated",
    "Conduct",
    "Container",
    "Hint",
    "Kubelet",
    "KubeletDied",
    "Numa",
    "Pod",
    "Policy",
    "TopologyRules",
]
