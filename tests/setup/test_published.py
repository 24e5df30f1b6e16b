"""What `ml init` writes into the checkout: it is pushed while nothing forbids that, else it waits here."""

from typing import Any

import pytest

from pipelines.setup.check import State
from tests.setup.conftest import Copy
from tests.setup.test_init import github_checks_of
from tests.workflows.conftest import git


def named(copy: Copy) -> None:
    """The person at this checkout has told git who they are."""
    for field, value in {"user.name": "ada", "user.email": "ada@example.org"}.items():
        git(copy.checkout, "config", field, value)


def test_what_it_writes_into_the_checkout_is_pushed_before_a_ruleset_forbids_that(copy: Copy) -> None:
    named(copy)
    before = git(copy.origin, "rev-parse", "main")
    assert copy.init() == 0
    assert copy.files() == {} and git(copy.checkout, "status", "--porcelain") == ""
    assert git(copy.origin, "log", "--format=%an", f"{before}..main") == "ada"
    changed = git(copy.origin, "diff", "--name-only", before, "main").split()
    assert changed == [".github/CODEOWNERS", ".github/allowed_signers"]
    copy.writes.clear()
    assert copy.init() == 0 and copy.writes == []
    assert {check.what for check in github_checks_of(copy) if check.state is not State.ON} == set()


def elsewhere(copy: Copy) -> None:
    git(copy.checkout, "commit", "--quiet", "--allow-empty", "--message", "mine, and not pushed")


def staged(copy: Copy) -> None:
    (copy.checkout / "mine").write_text("not ready")
    git(copy.checkout, "add", "mine")


def guarded(copy: Copy) -> None:
    """A later run, for other owners."""
    copy.init()


def nobody(copy: Copy) -> None:
    git(copy.checkout, "config", "--unset", "user.name")
    git(copy.checkout, "config", "user.useConfigOnly", "true")


def refusing(copy: Copy) -> None:
    hook = copy.origin / "hooks/pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)


@pytest.mark.parametrize("how", [elsewhere, guarded, nobody, refusing])
def test_where_it_may_not_push_the_files_wait_here_as_they_were(copy: Copy, how: Any, capsys: Any) -> None:
    named(copy)
    how(copy)
    head, there = git(copy.checkout, "rev-parse", "HEAD"), git(copy.origin, "rev-parse", "main")
    code = copy.init(owners=("@grace",))
    assert code == (3 if how is refusing else 0)
    assert (git(copy.checkout, "rev-parse", "HEAD"), git(copy.origin, "rev-parse", "main")) == (head, there)
    assert "@grace" in copy.files()[".github/CODEOWNERS"]
    assert "Commit .github/CODEOWNERS" in capsys.readouterr().out
    assert {one["name"] for one in copy.state["rulesets"]} == {"main", "ledger", "releases"}


def test_what_is_staged_stays_staged_and_is_not_pushed(copy: Copy) -> None:
    named(copy)
    staged(copy)
    copy.init()
    assert git(copy.checkout, "diff", "--cached", "--name-only") == "mine"
    assert "mine" not in git(copy.origin, "ls-tree", "--name-only", "main").split()
