"""Finds the API server, and what this process may show it: a service account or a kubeconfig."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from agent.model.errors import ConfigError

# Where the kubelet puts a pod's service account (kubernetes.io, "Access the API from a Pod").
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Access(Struct, frozen=True, kw_only=True):
    """Where the API server is, and who we are to it."""

    server: str
    """``https://10.0.0.1:443``."""
    ca: bytes | None = None
    """Certificates in PEM; None: those of the system."""
    token_file: Path | None = None
    """Read again and again: bound tokens are exchanged long before they end."""
    token: str | None = None
    certificate: bytes | None = None
    """Our own, in PEM."""
    key: bytes | None = None

    def tls(self) -> ssl.SSLContext:
        """Return the TLS settings. Raises ConfigError for certificates that are none."""
        try:
            context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
            if self.certificate and self.key:
                with tempfile.NamedTemporaryFile() as pem:  # OpenSSL reads keys from files only
                    pem.write(self.certificate + b"\n" + self.key)
                    pem.flush()
                    context.load_cert_chain(pem.name)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"{self.server}: its certificates cannot be used: {error}") from error
        return context


def find_access(kubeconfig: str | None, environ: Mapping[str, str]) -> Access | None:
    """Return how to reach the API server; None outside a cluster and without a kubeconfig.

    Raises ConfigError for a kubeconfig, or a service account, that cannot be used.
    """
    if kubeconfig:
        return from_kubeconfig(Path(kubeconfig))
    return in_cluster(environ)


def in_cluster(environ: Mapping[str, str], folder: Path = SERVICE_ACCOUNT) -> Access | None:
    """Return the access of this pod's service account; None where this is no pod, or it has none.

    Raises ConfigError when the account's certificate cannot be read.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (folder / "token").exists():
        return None
    address = f"[{host}]" if ":" in host else host
    try:
        ca = (folder / "ca.crt").read_bytes()
    except OSError as error:
        raise ConfigError(f"{folder / 'ca.crt'}: {error.strerror}") from error
    return Access(server=f"https://{address}:{port}", ca=ca, token_file=folder / "token")


def from_kubeconfig(path: Path) -> Access:
    """Return the access of a kubeconfig's current context.

    Raises ConfigError that names what is missing. Programs that fetch credentials (``exec``) are
    not run.
    """
    # Imported here: in a cluster there is no kubeconfig.
    import yaml  # noqa: PLC0415

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"--kubeconfig: {path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"--kubeconfig: {path}: is no kubeconfig")
    current = document.get("current-context")
    context = _named(document, "contexts", "context", current, path)
    cluster = _named(document, "clusters", "cluster", context.get("cluster"), path)
    user = _named(document, "users", "user", context.get("user"), path)
    if "exec" in user or "auth-provider" in user:
        raise ConfigError(
            f"--kubeconfig: {path}: user {context.get('user')!r} fetches its credentials with a"
            " program; give it a token or a certificate"
        )
    if not cluster.get("server"):
        raise ConfigError(f"--kubeconfig: {path}: cluster {context.get('cluster')!r} has no server")
    folder = path.parent
    token_file = user.get("tokenFile")
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        ca=_data(cluster, "certificate-authority", folder),
        token_file=None if token_file is None else folder / token_file,
        token=user.get("token"),
        certificate=_data(user, "client-certificate", folder),
        key=_data(user, "client-key", folder),
    )


def _named(
    document: Mapping[str, Any], kind: str, inner: str, name: object, path: Path
) -> Mapping[str, Any]:
    entries = [each for each in document.get(kind) or () if isinstance(each, dict)]
    for each in entries:
        if each.get("name") == name and isinstance(each.get(inner), dict):
            return dict(each[inner])
    there = ", ".join(str(each.get("name")) for each in entries) or "none"
    raise ConfigError(f"--kubeconfig: {path}: there is no {inner} {name!r}; there are: {there}")


def _data(section: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    inline, named = section.get(f"{key}-data"), section.get(key)
    try:
        if inline:
            return base64.b64decode(inline, validate=True)
        return (folder / named).read_bytes() if named else None
    except (OSError, binascii.Error) as error:
        raise ConfigError(f"--kubeconfig: {key}: {error}") from error
