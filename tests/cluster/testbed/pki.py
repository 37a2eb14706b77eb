"""TLS made on the fly: one authority, and a certificate for everybody who speaks."""

from __future__ import annotations

from pathlib import Path

import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ADMINISTRATORS = "system:masters"


class Authority:
    """Signs certificates into one folder."""

    def __init__(self, folder: Path) -> None:
        """Make the authority, and a key with which service account tokens are signed."""
        folder.mkdir(mode=0o700)
        self.folder = folder
        self._ca = trustme.CA()
        self.certificate = folder / "ca.crt"
        self._ca.cert_pem.write_to_path(self.certificate)
        self.token_key = folder / "tokens.key"
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.token_key.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )

    def issue(
        self, name: str, *identities: str, user: str | None = None, group: str | None = None
    ) -> tuple[Path, Path]:
        """Return the files of a certificate and its key.

        ``identities`` are the addresses a server has; ``user`` and ``group`` are who a client
        is to the API server (its common name and organisation).
        """
        leaf = self._ca.issue_cert(
            # An empty list of names, marked critical as trustme does, is refused by Go.
            *(identities or ("client.plumbline.test",)),
            common_name=user or name,
            organization_name=group or "plumbline-test",
        )
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(key)
        return certificate, key

    def kubeconfig(self, name: str, server: str, *, user: str, group: str | None = None) -> Path:
        """Return a kubeconfig for a client of the API server."""
        certificate, key = self.issue(name, user=user, group=group)
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [
                        {
                            "name": "c",
                            "cluster": {
                                "server": server,
                                "certificate-authority": str(self.certificate),
                            },
                        }
                    ],
                    "users": [
                        {
                            "name": "u",
                            "user": {
                                "client-certificate": str(certificate),
                                "client-key": str(key),
                            },
                        }
                    ],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "current-context": "x",
                }
            )
        )
        return path
