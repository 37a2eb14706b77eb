"""The node agent: knows GPUs, decides what to offer and what to give, wires everything together.

A package below imports only what stands under it in this list (tests/test_architecture.py):
cli, daemon > serving > cluster > partition > discovery > simulation > telemetry >
planning > ledger > config > model. Nothing here speaks a kubelet protocol: that is
the job of the deviceplugin package, which in turn never imports agent.
"""

VERSION = "0.1.0"
"""The same as in pyproject.toml (tests/unit/test_version.py): importlib.metadata would cost the
daemon a MiB to say it."""
