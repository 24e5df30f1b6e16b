"""Git's own SSH signatures of commits, made and checked here: a bare machine has no ssh-keygen.

A signed commit is a commit's bytes with the header `gpgsig`, whose signature (SSHSIG, namespace `git`) covers
all but that header. `git verify-commit` takes what is signed here, and what git signed is taken here.
"""

import abc
import base64
import hashlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.base.errors import UserError

if TYPE_CHECKING:
    from asyncssh import SSHKey
    from asyncssh.sshsig import SSHAllowedSignersEntry

NAMESPACE = "git"
LIST = "allowed_signers"  # what a file of those who may sign is called
MAGIC = b"SSHSIG" + (1).to_bytes(4, "big")
OPTIONS = {"namespaces", "valid-after", "valid-before"}  # of a line; `cert-authority` is not taken
ALGORITHMS = re.compile(r"ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|ssh-rsa|sk-(ssh-ed25519|ecdsa)\S*")
RSA = 2048  # bits at least
TIME = re.compile(r"\d{8}(\d{4}(\d{2})?)?Z?")
ARMOUR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+?)\n-----END SSH SIGNATURE-----\n?")


class Untrusted(UserError):
    """Why a commit counts as nobody's word."""


class Signer(abc.ABC):
    """Who signs, by the public key as signatures name it."""

    public: bytes

    @abc.abstractmethod
    def signature(self, content: bytes, namespace: str) -> bytes:
        """An SSHSIG of the content, in armour."""

    def sign(self, commit: bytes) -> bytes:
        """The commit's bytes, signed. UserError where that cannot be done."""
        return with_header(commit, self.signature(commit, NAMESPACE))

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen prints it."""
        return fingerprint(self.public)

    def signed(self, commit: bytes) -> bool:
        """Whether this very key signed a commit."""
        return public_of(commit) == self.public


@dataclass(frozen=True)
class Key(Signer):
    """A private key that signs commits; it is kept in memory only."""

    _key: "SSHKey" = field(repr=False)
    public: bytes

    @classmethod
    def parse(cls, text: str, where: str) -> "Key":
        """An OpenSSH private key without a passphrase. UserError, which never shows it, where it is none."""
        import asyncssh

        try:
            key = asyncssh.import_private_key(text.strip() + "\n")
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
            what = f"{where} is not an OpenSSH private key without a passphrase"
            raise UserError(f"{what}: `ssh-keygen -t ed25519 -N ''` makes one") from None
        _strong(key, where)
        return cls(key, bytes(key.public_data))

    def signature(self, content: bytes, namespace: str) -> bytes:
        """As asyncssh makes it."""
        import asyncssh

        return asyncssh.create_sshsig(self._key, content, namespace=namespace)


@dataclass(frozen=True)
class Signers:
    """Who may sign, in OpenSSH's format `allowed_signers`: principals, options, key, a line each."""

    where: str
    lines: "tuple[tuple[int, str, SSHAllowedSignersEntry], ...]"

    @classmethod
    def load(cls, path: Path) -> "Signers":
        """UserError where a line is not what ssh-keygen takes: none is passed over."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read ({error}): it lists who may sign the ledger") from None
        found = []
        for number, line in enumerate(map(str.strip, text.splitlines()), 1):
            if line and not line.startswith("#"):
                found.append((number, line.split()[0].strip('"'), _entry(line, f"{path}, line {number}")))
        if not found:
            raise UserError(f"{path} lists no key, so nothing that the ledger names could deploy: add one")
        return cls(str(path), tuple(found))

    def who(self, commit: bytes) -> str:
        """The principals of the line whose key signed the commit. Untrusted, which says why, where none did.

        A key counts while its line is valid now, whatever time the commit claims: a lost key could write any.
        """
        return self.whose(*taken_apart(commit), NAMESPACE)

    def whose(self, content: bytes, signature: bytes | None, namespace: str) -> str:
        """The same of any content and its SSHSIG, made for this namespace. A line that is for git counts: who
        may say what an environment wants may say more."""
        blob = _checked(content, signature, namespace)
        listed = [(n, name, entry) for n, name, entry in self.lines if entry.key.public_data == blob]
        if not listed:
            raise Untrusted(f"is signed with {fingerprint(blob)}, which {self.where} does not list")
        faults = []
        for number, name, entry in listed:
            if (fault := _fault(entry)) is None:
                return name
            faults.append(f"{self.where}, line {number} ({name}) {fault}")
        raise Untrusted(f"is signed with a key that does not count: {faults[0]}")


def with_header(commit: bytes, signature: bytes) -> bytes:
    """A commit's bytes with a signature of them."""
    head, blank, message = commit.partition(b"\n\n")
    return head + b"\ngpgsig " + signature.rstrip(b"\n").replace(b"\n", b"\n ") + blank + message


def public_of(commit: bytes) -> bytes | None:
    """The public key that signed a commit, whoever has it; None where none did."""
    try:
        return _checked(*taken_apart(commit), NAMESPACE)
    except Untrusted:
        return None


def taken_apart(commit: bytes) -> tuple[bytes, bytes | None]:
    """A commit's bytes without their signature, and the signature; None where it has not exactly one."""
    head, blank, message = commit.partition(b"\n\n")
    headers = re.split(rb"\n(?! )", head)  # a line that begins with a blank goes on with the one before
    found = [header for header in headers if header.startswith((b"gpgsig ", b"gpgsig-"))]
    kept = b"\n".join(header for header in headers if header not in found) + blank + message
    return kept, found[0].partition(b" ")[2].replace(b"\n ", b"\n") if len(found) == 1 else None


def _checked(content: bytes, signature: bytes | None, namespace: str) -> bytes:
    """The public key that signed the content. Untrusted where none did."""
    import asyncssh
    from asyncssh.packet import SSHPacket

    if signature is None:
        raise Untrusted("is not signed")
    try:
        armoured = ARMOUR.fullmatch(signature)
        raw = base64.b64decode(armoured[1].replace(b"\n", b""), validate=True) if armoured else b""
        packet = SSHPacket(raw.removeprefix(MAGIC) if raw.startswith(MAGIC) else b"")
        blob, made_for, _, _, signed = (packet.get_string() for _ in range(5))
        kind, algorithm = (SSHPacket(part).get_string() for part in (blob, signed))
    except ValueError:
        raise Untrusted("is not signed with an SSH key") from None
    if made_for != namespace.encode():
        raise Untrusted(f"carries a signature that was made for {made_for[:40]!r}, not for {namespace}")
    if algorithm == b"ssh-rsa":
        raise Untrusted("is signed with SHA-1, which can be forged")
    listed = b"x " + kind + b" " + base64.b64encode(blob)  # this one key: only the mathematics is asked
    try:
        fits = asyncssh.validate_sshsig(content, raw, "x", listed)
    except (ValueError, KeyError):  # a kind of key or a hash that nobody uses
        fits = False
    if not fits:
        raise Untrusted("carries a signature that does not fit its content")
    return blob


def _entry(line: str, where: str) -> "SSHAllowedSignersEntry":
    import asyncssh
    from asyncssh.sshsig import SSHAllowedSignersEntry

    try:
        entry = SSHAllowedSignersEntry(line)
    except (asyncssh.KeyImportError, ValueError) as error:
        way_out = "write PRINCIPALS [OPTIONS] KEYTYPE KEY as ssh-keygen(1) says"
        raise UserError(f"{where}: {error}: {way_out}") from None
    if unknown := sorted(set(entry.options) - OPTIONS):
        known = ", ".join(sorted(OPTIONS))
        raise UserError(f"{where}: {unknown[0]} is not taken here: the options are {known}")
    for name, value in re.findall(r'(valid-\w+)="?([^",\s]*)', line):
        if not TIME.fullmatch(value):
            raise UserError(f"{where}: {name} {value!r} is not a time: write 20271231Z or 202712312359Z")
    _strong(entry.key, where)
    return entry


def _strong(key: "SSHKey", where: str) -> None:
    algorithm = key.get_algorithm()
    if not ALGORITHMS.fullmatch(algorithm):
        raise UserError(f"{where}: a key of the kind {algorithm} is not taken: use ssh-ed25519")
    size = getattr(getattr(key, "pyca_key", None), "key_size", None)
    if algorithm == "ssh-rsa" and (size is None or size < RSA):
        raise UserError(f"{where}: an RSA key has {RSA} bits or more here, not {size}: use ssh-ed25519")


def _fault(entry: "SSHAllowedSignersEntry") -> str | None:
    """Why the line's key does not count now; None where it does."""
    now, options = time.time(), entry.options
    if (spaces := options.get("namespaces")) is not None and not spaces.matches(NAMESPACE):  # type: ignore[attr-defined]
        return "is not for git"
    if (after := options.get("valid-after")) is not None and now < after:  # type: ignore[operator]
        return "is not valid yet"
    if (before := options.get("valid-before")) is not None and now >= before:  # type: ignore[operator]
        return "is valid no longer"
    return None


def fingerprint(blob: bytes) -> str:
    """Of a public key, as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
