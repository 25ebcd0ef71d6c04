"""Certificates for 127.0.0.1 that nobody trusts but who is told to."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Pair(NamedTuple):
    """A certificate and its key, as PEM files and as what a peer is shown."""

    certificate: Path
    key: Path
    shown: bytes

    def copy_to(self, other: "Pair") -> None:
        """Lie where the other one lay, as a renewal does it."""
        other.certificate.write_bytes(self.certificate.read_bytes())
        other.key.write_bytes(self.key.read_bytes())


def make_pair(folder: Path, name: str, passphrase: bytes | None = None) -> Pair:
    """A pair of its own for each call, in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pair = Pair(
        folder / f"{name}.pem",
        folder / f"{name}.key",
        certificate.public_bytes(serialization.Encoding.DER),
    )
    pair.certificate.write_bytes(certificate.public_bytes(encoding))
    pair.key.write_bytes(key.private_bytes(encoding, form, encryption))
    return pair


def trusting(*pairs: Pair) -> ssl.SSLContext:
    """A client's context that trusts these and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for pair in pairs:
        context.load_verify_locations(cadata=pair.shown)
    return context
