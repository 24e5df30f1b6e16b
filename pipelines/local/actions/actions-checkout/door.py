"""The door of the bare repository that stands for GitHub: what is pushed from a checkout goes through it.

`door.py enter CHECKOUT API` has the pushes of a checkout come with the login $TOKEN, or with the private key
$SSH_KEY. `door.py ask API LOGIN` is the hook `pre-receive` of such a push: the stand-in of GitHub's API says
whether it may. `door.py guard REPOSITORY` has what a job pushes from any other clone come with the token of
its step.
"""

import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

NOTHING = "0" * 40


def main() -> None:
    match sys.argv[1:]:
        case ["enter", checkout, api]:
            enter(Path(checkout), api)
        case ["guard", repository]:
            guard(Path(repository))
        case [_, api, login]:
            ask(api, login)


def enter(checkout: Path, api: str) -> None:
    """Write the hook, with the login in it, and have git push by way of it."""
    folder = git("rev-parse", "--absolute-git-dir", at=checkout)
    hook = Path(folder, "door", "pre-receive")
    hook.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-I", str(Path(__file__).resolve()), "ask", api, login()]
    hook.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    hook.chmod(0o700)
    program = f"git -c {shlex.quote(f'core.hooksPath={hook.parent}')} receive-pack"
    git("config", "remote.origin.receivepack", program, at=checkout)


def guard(repository: Path) -> None:
    """Write the repository's own hook, which asks where a job pushes; who is not a job is the loop itself."""
    command = shlex.join([sys.executable, "-I", str(Path(__file__).resolve()), "ask"])
    here = f'test "$GREENLIGHT_ORIGIN" = {shlex.quote(str(repository.absolute()))} || exit 0'
    api, token = '"$GITHUB_API_URL/repos/$GITHUB_REPOSITORY"', '"${GITHUB_TOKEN:-$GH_TOKEN}"'
    hook = repository / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    made = hook.with_name(f"{hook.name}.{os.getpid()}")
    made.write_text(f"#!/bin/sh\n{here}\nexec {command} {api} {token}\n")
    made.chmod(0o755)
    made.replace(hook)


def login() -> str:
    """Whose word the API takes: a token's holder, or a deploy key by its fingerprint."""
    if not (key := os.environ.get("SSH_KEY", "").strip()):
        return os.environ.get("TOKEN", "")
    import asyncssh

    try:
        return f"key:{asyncssh.import_private_key(key + chr(10)).get_fingerprint()}"
    except (asyncssh.KeyImportError, ValueError):
        sys.exit("the input ssh-key is not an OpenSSH private key without a passphrase")


def ask(api: str, login: str) -> None:
    """Exit with the API's words where it does not let the push in. What git tells of it is on stdin."""
    updates = []
    for line in sys.stdin.read().splitlines():
        before, after, ref = line.split(" ", 2)
        updates.append({"ref": ref, "before": before, "after": after, "forced": forced(before, after)})
    request = urllib.request.Request(
        f"{api}/git-receive-pack",
        json.dumps({"updates": updates}).encode(),
        {"Authorization": f"Bearer {login}", "Content-Type": "application/json"},
    )
    try:  # never through a proxy: it is this machine's
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60).close()
    except urllib.error.HTTPError as refused:
        sys.exit(json.load(refused)["message"])
    except OSError as error:
        sys.exit(f"{api}, which stands for GitHub, does not answer: {error}")


def forced(before: str, after: str) -> bool:
    """Whether the ref loses commits. Only here is what was pushed to be seen, until it is let in."""
    if NOTHING in (before, after):
        return False
    return subprocess.run(["git", "merge-base", "--is-ancestor", before, after]).returncode != 0


def git(*command: str, at: Path) -> str:
    done = subprocess.run(["git", "-C", str(at), *command], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


main()
