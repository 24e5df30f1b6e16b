"""Commits signed here are taken by git, commits signed by git are taken here, and forged ones by neither."""

import shutil
import subprocess
from pathlib import Path

import asyncssh
import pytest

from pipelines.base.errors import UserError
from pipelines.registry.signing import Key, Signers, Untrusted, taken_apart
from tests.project import git

COMMIT = (
    b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
    b"author a <a@example.com> 1764200000 +0000\n"
    b"committer a <a@example.com> 1764200000 +0000\n"
    b"\n"
    b"production: promote\n\nnothing here is a header:\ngpgsig no\n"
)
KINDS = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]


def made(kind: str = "ssh-ed25519") -> tuple[str, str]:
    """A private key and the public one, in OpenSSH's format."""
    key = asyncssh.generate_private_key(kind, **({"key_size": 2048} if kind == "ssh-rsa" else {}))
    return key.export_private_key().decode(), key.export_public_key().decode().strip()


@pytest.fixture(scope="module")
def pair() -> tuple[str, str]:
    return made()


@pytest.fixture
def listed(tmp_path: Path):
    def write(*lines: str) -> Signers:
        path = tmp_path / "allowed_signers"
        path.write_text("# who may sign\n\n" + "\n".join(lines) + "\n")
        return Signers.load(path)

    return write


def test_who_signed_is_named_by_the_line_of_the_key(pair, listed) -> None:
    key = Key.parse(pair[0], "the test's key")
    signed = key.sign(COMMIT)
    other = made()[1]
    for options in ("", 'namespaces="git" ', 'namespaces="file,git",valid-after="20200101Z" '):
        signers = listed(f"bob@example.com {other}", f"ada@example.com,ci {options}{pair[1]}")
        assert signers.who(signed) == "ada@example.com,ci"
    assert key.signed(signed) and not key.signed(COMMIT)
    assert not Key.parse(made()[0], "another").signed(signed)
    assert taken_apart(signed)[0] == COMMIT


FORGED = {
    "another message": lambda signed: signed.replace(b"promote", b"PROMOTE"),
    "another tree": lambda signed: signed.replace(b"4b825dc6", b"5b825dc6"),
    "another parent": lambda signed: signed.replace(b"\nauthor", b"\nparent " + b"1" * 40 + b"\nauthor", 1),
    "another time": lambda signed: signed.replace(b"1764200000", b"1764200001", 1),
    "a header more": lambda signed: signed.replace(b"\ngpgsig", b"\nencoding latin1\ngpgsig", 1),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_what_was_changed_after_it_was_signed_is_nobodys_word(pair, listed, forge) -> None:
    signed = Key.parse(pair[0], "key").sign(COMMIT)
    assert forge(signed) != signed
    with pytest.raises(Untrusted, match="does not fit its content"):
        listed(f"ada {pair[1]}").who(forge(signed))


def test_without_one_signature_of_ssh_a_commit_is_nobodys_word(pair, listed) -> None:
    signers, signed = listed(f"ada {pair[1]}"), Key.parse(pair[0], "key").sign(COMMIT)
    headers = signed.partition(b"\n\n")[0]
    signature = headers[headers.index(b"\ngpgsig") :]
    with pytest.raises(Untrusted, match="is not signed"):
        signers.who(COMMIT)
    with pytest.raises(Untrusted, match="is not signed"):  # git takes the first, another reader the second
        signers.who(headers + signature + signed.removeprefix(headers))
    for bad in (b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n x", b"\ngpgsig x", signature[:-60], b"\ngpgsig "):
        with pytest.raises(Untrusted, match="is not signed"):
            signers.who(headers.replace(signature, bad) + b"\n\n")


def test_a_key_that_is_not_listed_or_not_for_git_or_not_valid_now_does_not_count(pair, listed) -> None:
    signed = Key.parse(pair[0], "key").sign(COMMIT)
    with pytest.raises(Untrusted, match=r"SHA256:\S+, which \S+allowed_signers does not list"):
        listed(f"bob {made()[1]}").who(signed)
    for options, fault in {
        'namespaces="file"': "is not for git",
        'valid-after="20990101Z"': "is not valid yet",
        'valid-before="20250101Z"': "is valid no longer",
    }.items():
        with pytest.raises(Untrusted, match=rf"line 3 \(ada\) {fault}"):
            listed(f"ada {options} {pair[1]}").who(signed)
        # another line of the same key may say that it counts
        assert listed(f"ada {options} {pair[1]}", f"ada2 {pair[1]}").who(signed) == "ada2"


def test_a_signature_that_was_made_for_another_use_is_not_taken(pair, listed) -> None:
    """Somebody who signs a file must not have signed a commit."""
    key = asyncssh.import_private_key(pair[0])
    signature = asyncssh.create_sshsig(key, COMMIT, namespace="file").strip().replace(b"\n", b"\n ")
    head, blank, message = COMMIT.partition(b"\n\n")
    with pytest.raises(Untrusted, match="made for b'file', not for git"):
        listed(f"ada {pair[1]}").who(head + b"\ngpgsig " + signature + blank + message)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("ada", "line 3: Missing public key"),
        ("ada ssh-ed25519 AAAA", "line 3"),
        (
            "ada valid-befor=20200101Z KEY",
            "line 3: valid-befor is not taken here",
        ),  # else it would be for ever
        ("ada Valid-Before=20200101Z KEY", "line 3: Valid-Before is not taken here"),
        ("ada valid-before=7d KEY", "line 3: valid-before '7d' is not a time"),
        ("ada cert-authority KEY", "line 3: cert-authority is not taken here"),
        ('ada namespaces="git KEY', "line 3: Unbalanced quote"),
        ("", "lists no key"),
    ],
)
def test_a_line_that_is_not_understood_is_one_sentence(pair, listed, line: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        listed(line.replace("KEY", pair[1]))


def test_a_weak_key_is_not_taken(listed) -> None:
    key = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
    with pytest.raises(UserError, match="2048 bits or more here, not 1024"):
        listed(f"ada {key.export_public_key().decode()}")
    with pytest.raises(UserError, match="2048 bits or more"):
        Key.parse(key.export_private_key().decode(), "GREENLIGHT_LEDGER_KEY")


def test_a_key_that_is_none_is_one_sentence_that_does_not_print_it(pair) -> None:
    locked = (
        asyncssh.import_private_key(pair[0]).export_private_key("pkcs8-pem", passphrase="secret").decode()
    )
    for text in ("", "rubbish-secret", pair[0][:-100], pair[1], locked):
        with pytest.raises(UserError, match="GREENLIGHT_LEDGER_KEY is not an OpenSSH private key") as caught:
            Key.parse(text, "GREENLIGHT_LEDGER_KEY")
        assert "secret'" not in str(caught.value) and "rubbish" not in str(caught.value)
    key = Key.parse(pair[0].strip(), "a secret that lost its last newline")
    assert key.fingerprint.startswith("SHA256:") and "KEY" not in repr(key)


# --- with git itself --------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not here: apt-get install openssh-client")
    git(tmp_path, "init", "--quiet", "repository")
    folder = tmp_path / "repository"
    for name, value in {"user.name": "a", "user.email": "a@example.com", "gpg.format": "ssh"}.items():
        git(folder, "config", name, value)
    git(folder, "config", "gpg.ssh.allowedSignersFile", str(tmp_path / "allowed_signers"))
    return folder


def raw(folder: Path, commit: str) -> bytes:
    return subprocess.run(
        ["git", "cat-file", "commit", commit], cwd=folder, check=True, capture_output=True
    ).stdout


@pytest.mark.parametrize("kind", KINDS)
def test_git_takes_what_is_signed_here(repository: Path, listed, kind: str) -> None:
    private, public = made(kind)
    listed(f"ada@example.com {public}")
    git(repository, "hash-object", "-t", "tree", "-w", "/dev/null")
    signed = Key.parse(private, "key").sign(COMMIT)

    def verified(content: bytes) -> subprocess.CompletedProcess[bytes]:
        command = ["git", "hash-object", "-t", "commit", "-w", "--stdin"]
        made = subprocess.run(command, cwd=repository, input=content, check=True, capture_output=True).stdout
        return subprocess.run(
            ["git", "verify-commit", made.decode().strip()], cwd=repository, capture_output=True
        )

    done = verified(signed)
    assert done.returncode == 0 and b'Good "git" signature for ada@example.com' in done.stderr
    assert verified(signed.replace(b"promote", b"PROMOTE")).returncode != 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_git_signed_is_taken_here(repository: Path, tmp_path: Path, listed, kind: str) -> None:
    sort = kind.removeprefix("ssh-").partition("-")[0]
    command = ["ssh-keygen", "-q", "-t", sort, "-N", "", "-C", "ada", "-f", str(tmp_path / "key")]
    subprocess.run(command, check=True, capture_output=True)
    public = (tmp_path / "key.pub").read_text()
    git(repository, "config", "user.signingkey", str(tmp_path / "key.pub"))
    git(repository, "commit", "--quiet", "-S", "--allow-empty", "-m", "signed by git")
    signed = raw(repository, "HEAD")
    assert listed(f"ada {public}").who(signed) == "ada"
    assert Key.parse((tmp_path / "key").read_text(), "key").signed(signed)
    with pytest.raises(Untrusted, match="does not fit"):
        listed(f"ada {public}").who(signed.replace(b"signed by git", b"signed by gut"))
    git(repository, "commit", "--quiet", "--no-gpg-sign", "--allow-empty", "-m", "unsigned")
    with pytest.raises(Untrusted, match="is not signed"):
        listed(f"ada {public}").who(raw(repository, "HEAD"))
