"""Who signs what is written here: the key that a workflow was given, or a person's own, as git knows it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.base import programs
from pipelines.base.errors import UserError
from pipelines.registry.signing import Key, Signer, Signers, Untrusted, public_of

VARIABLE = "GREENLIGHT_LEDGER_KEY"
PATIENCE_SECONDS = 120.0  # for a person to type a passphrase, or to touch a token

Setting = Callable[[str], str | None]  # of git's configuration


@dataclass(frozen=True)
class Person(Signer):
    """A person's key that only ssh-keygen can use: it is in an agent or on a token, or has a passphrase."""

    key: str  # what `ssh-keygen -f` takes
    public: bytes
    line: str = ""  # the public key itself, where git's configuration holds no file

    def signature(self, content: bytes, namespace: str) -> bytes:
        """UserError where ssh-keygen cannot."""
        with tempfile.TemporaryDirectory() as folder:
            key = self.key
            if self.line:
                key = str(Path(folder, "key.pub"))
                Path(key).write_text(self.line + "\n", encoding="utf-8")
            command = ["ssh-keygen", "-Y", "sign", "-n", namespace, "-f", key]
            try:
                done = programs.run(command, input=content, text=False, timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                raise UserError(f"ssh-keygen did not sign in {PATIENCE_SECONDS:g} s: try again") from None
        if done.returncode:
            said = " ".join(done.stderr.decode("utf-8", "replace").split())[-200:]
            raise UserError(f"ssh-keygen cannot sign with {self.key} ({said}): mend git's user.signingkey")
        return bytes(done.stdout)


def signer(setting: Setting) -> Key | Person | None:
    """The key of GREENLIGHT_LEDGER_KEY, else that of git's user.signingkey with gpg.format ssh; None without.

    UserError where one is named and cannot be used: an entry that was to be signed is never written unsigned.
    """
    if text := os.environ.get(VARIABLE, "").strip():
        return Key.parse(text, VARIABLE)
    if setting("gpg.format") != "ssh" or not (named := setting("user.signingkey")):
        return None
    if named.startswith(("key::", "ssh-", "ecdsa-", "sk-")):
        line = named.removeprefix("key::")
        return _by_ssh_keygen(line, line, "git's user.signingkey")
    path = Path(named).expanduser()
    private = path.with_suffix("") if path.suffix == ".pub" else path
    public = private.with_name(f"{private.name}.pub")
    if private.is_file():
        try:
            return Key.parse(private.read_text(encoding="utf-8"), str(private))
        except (UserError, OSError, UnicodeDecodeError):
            pass  # it has a passphrase, for which ssh-keygen asks
    if not public.is_file():
        raise UserError(f"git's user.signingkey names {named}, and {public} is not a public key: correct it")
    return _by_ssh_keygen(str(path), public.read_text(encoding="utf-8"), str(public))


def known(commit: bytes, own: Signer | None, setting: Setting) -> None:
    """Untrusted where neither the own key nor one of git's gpg.ssh.allowedSignersFile signed a commit.

    Whoever signs what another one wrote vouches for it: so a writer who signs asks first. A person without
    such a file vouches for what the person sees; a workflow sees nothing."""
    if own is None or own.signed(commit):
        return
    if named := setting("gpg.ssh.allowedSignersFile"):
        Signers.load(Path(named).expanduser()).who(commit)
    elif isinstance(own, Key):
        if public_of(commit) is None:
            raise Untrusted("is not signed")
        raise Untrusted(f"is signed with another key than {own.fingerprint}")


def _by_ssh_keygen(key: str, line: str, where: str) -> Person:
    import asyncssh

    try:
        public = bytes(asyncssh.import_public_key(line).public_data)
    except (asyncssh.KeyImportError, ValueError):
        raise UserError(f"{where} is not a public SSH key: correct git's user.signingkey") from None
    if shutil.which("ssh-keygen") is None:
        way_out = f"install OpenSSH's client, or give the key without a passphrase as {VARIABLE}"
        raise UserError(f"{where} needs ssh-keygen, which is not on PATH: {way_out}")
    return Person(key, public, line if key == line else "")
