"""What is set through the stand-in's API binds there: merges, pushes, secrets, variables, Actions."""

import base64
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nacl.public import PrivateKey

from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.local import act, events, pushes
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.local.plans import Plan
from pipelines.setup.ledgerkey import sealed_to
from tests.setup.conftest import ADMIN, REPOSITORY, Copy, fresh, mistake, role
from tests.workflows.conftest import git

WORKFLOW = """
name: try
on: {push: }
permissions: {}
jobs:
  staging:
    runs-on: ubuntu-24.04
    environment: staging
    steps:
      - run: test -n "$KEY" && test "$STORE" = github
        env: {KEY: "${{ secrets.GREENLIGHT_LEDGER_KEY }}", STORE: "${{ vars.GREENLIGHT_STORE }}"}
  nowhere:
    runs-on: ubuntu-24.04
    steps:
      - run: test -z "$KEY"
        env: {KEY: "${{ secrets.GREENLIGHT_LEDGER_KEY }}"}
"""


def ask(copy: Copy, method: str, path: str, body: Any = None, token: str = ADMIN) -> Any:
    return call(f"{copy.api}/repos/{REPOSITORY}{path}", method, body, token)


def proposed(copy: Copy) -> int:
    """A pull request of a branch of its own."""
    git(copy.checkout, "checkout", "--quiet", "-B", "proposal")
    git(copy.checkout, "commit", "--quiet", "--allow-empty", "--message", "x")
    git(copy.checkout, "push", "--quiet", "origin", "proposal")
    body = {"title": "x", "head": "proposal", "base": copy.branch}
    return int(ask(copy, "POST", "/pulls", body)["number"])


def pushed(copy: Copy, login: str, ref: str) -> str:
    """What git says of a push of the newest commit; empty where it went well."""
    pushes.door("enter", copy.checkout, f"{copy.api}/repos/{REPOSITORY}", login=login)
    git(copy.checkout, "commit", "--quiet", "--allow-empty", "--message", "y")
    command = ["git", "-C", str(copy.checkout), "push", "--quiet", "origin", f"HEAD:{ref}"]
    return subprocess.run(command, capture_output=True, text=True).stderr


def test_nothing_binds_before_and_all_of_it_after(copy: Copy) -> None:
    assert pushed(copy, ADMIN, "refs/heads/main") == ""
    assert pushed(copy, ADMIN, "refs/heads/environments") == ""
    number = proposed(copy)
    copy.init()
    with pytest.raises(UserError, match='Required status check "greenlight/gate" is expected'):
        ask(copy, "PUT", f"/pulls/{number}/merge", {})
    assert "Changes must be made through a pull request" in pushed(copy, ADMIN, "refs/heads/main")
    assert "Cannot update this protected ref" in pushed(copy, ADMIN, "refs/heads/environments")
    (fingerprint,) = copy.state["keys"]
    assert pushed(copy, f"key:{fingerprint}", "refs/heads/environments") == ""


def test_where_the_plan_has_no_rulesets_whoever_can_push_can_merge(tmp_path: Path) -> None:
    with fresh(tmp_path, Plan.FREE_PRIVATE) as copy:
        copy.init()
        assert ask(copy, "PUT", f"/pulls/{proposed(copy)}/merge", {})["merged"]
        assert pushed(copy, ADMIN, "refs/heads/environments") == ""


def test_a_ruleset_guards_the_default_branch_whatever_its_name(tmp_path: Path) -> None:
    with fresh(tmp_path, branch="trunk") as copy:
        copy.init()
        assert "through a pull request" in pushed(copy, ADMIN, "refs/heads/trunk")
        assert pushed(copy, ADMIN, "refs/heads/main") == ""


@pytest.mark.slow
def test_a_secret_reaches_jobs_of_its_environment_from_the_branch_alone(copy: Copy) -> None:
    (copy.checkout / ".github/workflows/try.yml").write_text(WORKFLOW)
    copy.push()
    copy.init(variables={"GREENLIGHT_STORE": "github"})
    place = Place(copy.origin, copy.folder / "state", REPOSITORY, copy.api)
    sha = git(copy.checkout, "rev-parse", "HEAD")
    run = act.run("try", events.push(REPOSITORY, sha, sha), place)
    assert run.jobs == {"staging": "success", "nowhere": "success"}, run.log.read_text()
    assert "PRIVATE KEY" not in run.log.read_text()
    elsewhere = replace(events.push(REPOSITORY, sha, sha), ref="refs/heads/proposal")
    run = act.run("try", elsewhere, place)
    assert run.jobs == {"staging": "failure", "nowhere": "success"}
    assert "proposal is not allowed to deploy to staging" in run.log.read_text()


def test_a_workflow_opens_pull_requests_where_that_is_allowed(copy: Copy) -> None:
    rights = {"pull-requests": "write", "contents": "write"}
    write_json(copy.folder / "state/runs/1/tokens.json", {"x": {"token": "job-1", "permissions": rights}})
    number = proposed(copy)
    ask(copy, "PATCH", f"/pulls/{number}", {"state": "closed"})
    body = {"title": "x", "head": "proposal", "base": "main"}
    with pytest.raises(UserError, match="GitHub Actions is not permitted to create or approve pull requests"):
        ask(copy, "POST", "/pulls", body, "job-1")
    copy.init()
    assert ask(copy, "POST", "/pulls", body, "job-1")["user"]["login"] == "github-actions[bot]"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"allow_merge_commit": False}),
        ("POST", "/rulesets", {"name": "x", "enforcement": "active", "rules": []}),
        ("PUT", "/environments/staging", {}),
        ("PUT", "/environments/staging/secrets/X", {}),
        ("POST", "/actions/variables", {"name": "X", "value": "x"}),
        ("PUT", "/actions/permissions/workflow", {}),
        ("POST", "/keys", {"title": "x", "key": "x"}),
    ],
)
def test_neither_a_workflow_nor_who_is_no_administrator_changes_settings(
    method: str, path: str, body: Any, copy: Copy
) -> None:
    every = dict.fromkeys(("contents", "actions", "pull-requests", "issues"), "write")
    write_json(copy.folder / "state/runs/1/tokens.json", {"x": {"token": "job-1", "permissions": every}})
    with pytest.raises(UserError, match="403 Resource not accessible by integration"):
        ask(copy, method, path, body, "job-1")
    with pytest.raises(UserError, match="403 Must have admin rights"):
        ask(copy, method, path, body, "user:grace")


def test_a_secret_that_is_sealed_to_another_key_is_refused_and_none_is_given_out(copy: Copy) -> None:
    copy.init()
    path = "/environments/staging/secrets"
    wrong = base64.b64encode(bytes(PrivateKey.generate().public_key)).decode()
    body = {"encrypted_value": sealed_to(wrong, b"x"), "key_id": "1"}
    with pytest.raises(UserError, match="422 Bad request"):
        ask(copy, "PUT", f"{path}/GREENLIGHT_LEDGER_KEY", body)
    assert set(ask(copy, "GET", f"{path}/GREENLIGHT_LEDGER_KEY")) == {"name", "created_at", "updated_at"}


def test_lists_of_settings_have_pages(copy: Copy) -> None:
    for number in range(120):
        body = {"name": f"r{number}", "enforcement": "disabled", "rules": []}
        ask(copy, "POST", "/rulesets", body)
    assert len(copy.hub().list("/rulesets")) == 120
    assert len(ask(copy, "GET", "/rulesets")) == 30
    assert copy.init() == 0, "ours are not on the first page"
    assert copy.init() == 0 and len(copy.hub().list("/rulesets")) == 123


def test_a_branch_that_an_environment_does_not_name_is_taken_away(copy: Copy) -> None:
    copy.init()
    path = "/environments/production/deployment-branch-policies"
    ask(copy, "POST", path, {"name": "release/*"})
    ask(copy, "PUT", "/environments/staging", {"deployment_branch_policy": None, "wait_timer": 5})
    assert copy.init() == 0
    policies = {name: one["policies"] for name, one in copy.state["environments"].items()}
    assert {name: [one["name"] for one in those] for name, those in policies.items()} == {
        "staging": ["main"],
        "production": ["main"],
    }
    assert copy.state["environments"]["staging"]["wait_timer"] == 5, "what an update does not say is lost"
    assert copy.state["environments"]["production"]["reviewers"] == ["grace"]


def test_people_of_other_rights_are_told_so_before_anything_is_written(copy: Copy) -> None:
    role(copy, "eve", "read")
    copy.writes.clear()
    assert "only an administrator sets up" in mistake(lambda: copy.init(token="user:grace"))
    assert "@eve may not write" in mistake(lambda: copy.init(owners=("@eve",)))
    assert "@ada/none is no team" in mistake(lambda: copy.init(reviewers=("@ada/none",)))
    assert copy.writes == [] and copy.files() == {}
