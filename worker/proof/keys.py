"""The key pair that signs certificates: Ed25519 (RFC 8032). The private key is in a file, never in Redis."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class SigningKey:
    """A private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def create(cls, path: Path) -> SigningKey:
        """Create a key in a new PEM file that only its owner can read. Raises `OSError`, also if the file exists."""
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        return cls(key)

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """Read a key. Raises `OSError`, and `ValueError`, which does not show the contents, if there is none."""
        text = path.read_bytes()
        try:
            key = serialization.load_pem_private_key(text, password=None)
        except (TypeError, ValueError):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("is not an Ed25519 private key in PEM; create one with `kitsweep key create`")  # noqa: TRY004 - the file is wrong, not a type
        return cls(key)

    @property
    def public(self) -> str:
        """The public key, in base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, message: bytes) -> str:
        """Return the signature of a message, in base64."""
        return base64.b64encode(self._key.sign(message)).decode()


def is_signed(message: bytes, signature: str, public: str) -> bool:
    """Return whether the signature of a message was made with the private part of a public key, both in base64."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
        key.verify(base64.b64decode(signature, validate=True), message)
    except (InvalidSignature, ValueError):
        return False
    return True
