"""Each call of `ml init` that GitHub may refuse has its sentence, and the same command finishes."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.setup import ledgerkey
from pipelines.setup.setting import State
from tests.setup.conftest import REPOSITORY, Copy, lines, mistake
from tests.setup.test_init import github_checks_of

SAID = {
    403: {"message": "Resource not accessible by personal access token"},
    404: {"message": "Not Found"},
    409: {"message": "Conflict"},
    422: {"message": "Validation Failed", "errors": ["It is not so"]},
}
WORDS = {
    403: "give an administrator's token, with the rights Administration",
    404: "GitHub has none, or the token may not see it",
    409: "the organization forbids it .*: an owner allows it",
    422: "GitHub does not take it",
}
CALLS = [
    ("POST /labels", "label gate:override"),
    ("PUT /actions/permissions/workflow", "Actions may open pull requests"),
    ("POST /actions/variables", "variable GREENLIGHT_STORE"),
    ("PUT /environments/staging", "environment staging"),
    ("POST /environments/production/deployment-branch-policies", "environment production"),
    ("POST /keys", "the ledger's key"),
    ("PUT /environments/production/secrets/GREENLIGHT_LEDGER_KEY", "the ledger's key"),
    ("POST /rulesets", "ruleset main"),
    ("GET /labels/gate%3Aoverride", "label gate:override"),
    ("GET /keys?per_page=100", "the ledger's key"),
    ("GET /rulesets?includes_parents=false&per_page=100", "ruleset main"),
]
STORE = {"GREENLIGHT_STORE": "github"}


@pytest.mark.parametrize(("number", "call"), enumerate(CALLS), ids=[call for call, _ in CALLS])
def test_what_is_refused_is_said_the_rest_is_set_and_later_it_is_finished(
    number: int, call: tuple[str, str], copy: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    refused, what = call
    status = list(SAID)[number % len(SAID)]
    if refused.startswith("GET") and status == 404:
        status = 403  # of a thing that is looked for, 404 says that there is none
    copy.refused, copy.refusal = lambda asked: asked == refused, (status, SAID[status])
    assert copy.init(variables=STORE) == 3
    shown = lines(capsys.readouterr().out)
    assert re.match(f"REFUSED: .*{WORDS[status]}", shown[what]), shown[what]
    others = {name: came for name, came in shown.items() if not came.startswith(("REFUSED", "WAITS"))}
    assert len(others) >= 8 and "merge commits" in others
    copy.refused = lambda asked: False
    assert copy.init(variables=STORE) == 0
    copy.push()
    assert {one.what for one in github_checks_of(copy) if one.state is not State.ON} == set()


def test_without_the_key_the_ruleset_that_lets_only_keys_pass_waits(
    copy: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    """New organizations forbid deploy keys: with the ruleset, nobody could write the ledger."""
    fault = {
        "resource": "PublicKey",
        "code": "custom",
        "message": "Deploy keys are disabled for this repository",
    }
    said = {"message": "Validation Failed", "errors": [{"field": "key", **fault}]}
    copy.refused, copy.refusal = lambda call: call == "POST /keys", (422, said)
    assert copy.init() == 3
    shown = lines(capsys.readouterr().out)
    assert "REFUSED: the organization forbids deploy keys: an owner allows them" in shown["the ledger's key"]
    assert shown["ruleset ledger"] == shown["ruleset releases"] == "WAITS: for the ledger's key"
    assert shown["ruleset main"].startswith("set now")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (429, {"message": "API rate limit exceeded"}),
        (503, {"message": "Unavailable"}),
        (401, {"message": "Bad credentials"}),
    ],
)
def test_what_may_do_later_ends_it_with_how_far_it_came(status: int, said: Any, copy: Copy) -> None:
    copy.refused, copy.refusal = lambda call: call == "POST /labels", (status, said)
    words = mistake(copy.init)
    assert re.fullmatch(
        r"label gate:override: .*run .* \(5 of \d+ done(; then run the same command again)?\)", words
    )
    assert {401: "the token is not valid"}.get(status, f"GitHub has no time ({status}") in words


def test_a_branch_that_is_not_there_and_a_variable_that_nobody_asks_are_told(copy: Copy) -> None:
    assert f"--branch trunk: {REPOSITORY} has no such branch" in mistake(lambda: copy.init(branch="trunk"))
    assert "no workflow asks the variable STORE" in mistake(lambda: copy.init(variables={"STORE": "x"}))


# --- the private half -------------------------------------------------------------------------------------

WATCHED: list[list[Path]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and WATCHED and isinstance(path := arguments[0], str | os.PathLike):
        writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        WATCHED[-1].extend([Path(os.fspath(path))] if writes else [])


@contextmanager
def written() -> Iterator[list[Path]]:
    """The files that this process opens to write them, also those that are deleted again."""
    if not WATCHED:
        sys.addaudithook(_watch)
    WATCHED.append([])
    try:
        yield WATCHED[-1]
    finally:
        WATCHED[-1] = []


def strange(copy: Copy, paths: list[Path]) -> list[Path]:
    """Written files that are neither the stand-in's own nor those that `ml init` writes in the checkout."""
    own = re.compile(r"\.?(CODEOWNERS|allowed_signers)\b.*")
    return [
        path
        for path in paths
        if not path.is_relative_to(copy.folder / "state")
        and not (path.parent == copy.checkout / ".github" and own.fullmatch(path.name))
        and path != Path(os.devnull)
    ]


def in_the_clear(folder: Path) -> list[Path]:
    return [
        file
        for file in folder.rglob("*")
        if file.is_file() and "state" not in file.parts and b"PRIVATE KEY" in file.read_bytes()
    ]


def test_the_private_half_is_never_on_a_disk(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with written() as paths:
        copy.init()
    assert paths and strange(copy, paths) == []
    assert in_the_clear(tmp_path) == []


def test_a_key_that_is_written_and_deleted_again_would_be_seen(
    copy: Copy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ledgerkey.sealed_to

    def careless(key: str, secret: bytes) -> str:
        file = tmp_path / "ledger_key"
        file.write_bytes(secret)
        assert in_the_clear(tmp_path) == [file]
        file.unlink()
        return whole(key, secret)

    monkeypatch.setattr(ledgerkey, "sealed_to", careless)
    with written() as paths:
        copy.init()
    assert set(strange(copy, paths)) == {tmp_path / "ledger_key"}
