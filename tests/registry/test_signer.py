"""Which key signs: that of a workflow, or a person's own as git knows it."""

import shutil
import subprocess
import time
from pathlib import Path

import asyncssh
import pytest

from pipelines.base.errors import UserError
from pipelines.registry import signer
from pipelines.registry.ledger import Entry, Ledger
from pipelines.registry.signing import Key, Signers
from tests.project import git

ENTRY = Entry(release="a" * 64, commit="1" * 40, by="me")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(signer.VARIABLE, raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), "clone")
    return tmp_path / "clone"


def person(clone: Path, key: str | Path) -> None:
    git(clone, "config", "gpg.format", "ssh")
    git(clone, "config", "user.signingkey", str(key))


def written(clone: Path) -> bytes:
    ledger = Ledger(clone)
    assert ledger.write("staging", ENTRY)
    commit = ledger.look("staging").commit
    assert commit
    return ledger.content(commit)


def test_without_a_key_nothing_is_signed_and_gpg_is_not_asked(clone: Path) -> None:
    git(clone, "config", "user.signingkey", "ABCDEF")  # for GPG
    assert Ledger(clone).signer is None and "not signed" in Ledger(clone).signature
    assert b"gpgsig" not in written(clone)


def test_a_persons_key_signs_without_ssh_keygen(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(tmp_path / "id"))
    key.write_public_key(str(tmp_path / "id.pub"))
    (tmp_path / "allowed").write_text(f"ada {key.export_public_key().decode()}")
    found = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "ssh-keygen" else found(name))
    person(clone, tmp_path / "id.pub")
    assert isinstance(Ledger(clone).signer, Key)
    assert Signers.load(tmp_path / "allowed").who(written(clone)) == "ada"
    assert not Ledger(clone).write("staging", ENTRY), "the same is wanted already, and signed"

    (tmp_path / "id").unlink()  # it is in an agent
    with pytest.raises(UserError, match="needs ssh-keygen, which is not on PATH"):
        Ledger(clone).write("staging", ENTRY)


def test_a_key_that_only_ssh_keygen_can_use_signs_by_it(clone: Path, tmp_path: Path) -> None:
    if shutil.which("ssh-agent") is None:
        pytest.skip("ssh-agent is not here: apt-get install openssh-client")
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(tmp_path / "id"))
    (tmp_path / "id").chmod(0o600)
    line = key.export_public_key().decode().strip()
    (tmp_path / "allowed").write_text(f"ada {line}")
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSH_AUTH_SOCK", str(socket))
            command = ["ssh-add", "-q", str(tmp_path / "id")]
            for _ in range(50):
                if not subprocess.run(command, capture_output=True).returncode:
                    break
                time.sleep(0.05)
            (tmp_path / "id").unlink()
            person(clone, f"key::{line}")
            assert Signers.load(tmp_path / "allowed").who(written(clone)) == "ada"
    finally:
        agent.terminate()
        agent.wait(10)
    with pytest.raises(UserError, match="ssh-keygen cannot sign with"):
        Ledger(clone).write("staging", ENTRY.model_copy(update={"release": "b" * 64}))


def test_a_workflows_key_wins_and_a_bad_one_is_never_passed_over(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    person(clone, "/nowhere/id")
    monkeypatch.setenv(signer.VARIABLE, key.export_private_key().decode())
    assert Ledger(clone).signature.startswith("signed with SHA256:")
    monkeypatch.setenv(signer.VARIABLE, "rubbish")
    with pytest.raises(UserError, match="GREENLIGHT_LEDGER_KEY is not an OpenSSH private key"):
        Ledger(clone).write("staging", ENTRY)
    monkeypatch.setenv(signer.VARIABLE, "")  # a secret that is not set
    with pytest.raises(UserError, match="names /nowhere/id"):
        Ledger(clone).write("staging", ENTRY)


def test_the_key_reaches_no_program_that_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.base import git as asked
    from pipelines.base import programs

    monkeypatch.setenv(signer.VARIABLE, "secret")
    assert signer.VARIABLE not in programs.environment() and signer.VARIABLE not in asked.environment()


def test_git_itself_believes_what_a_workflows_key_signed(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not here: apt-get install openssh-client")
    key = asyncssh.generate_private_key("ssh-ed25519")
    (tmp_path / "allowed").write_text(f"ci {key.export_public_key().decode()}")
    monkeypatch.setenv(signer.VARIABLE, key.export_private_key().decode())
    written(clone)
    settings = ("-c", f"gpg.ssh.allowedSignersFile={tmp_path / 'allowed'}")
    log = git(clone, *settings, "log", "-1", "--format=%G? %GS", "refs/greenlight/environments")
    assert log == "G ci"
