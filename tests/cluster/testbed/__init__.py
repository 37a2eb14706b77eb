"""A complete single-node Kubernetes on this machine, for tests.

Belongs here: building the components (``components``, ``images``), the node's own world
(``world``, ``process``, ``pki``), what runs in it (``controlplane``, ``node``, ``agent``), and
the handles that tests use (``cluster``, ``pods``).

Does not belong here: anything that stands in for a component. All of them are real.
"""
