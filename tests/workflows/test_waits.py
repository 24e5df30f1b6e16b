"""A job whose environment has reviewers begins when one of them agrees, as on GitHub."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_json, write_text
from pipelines.local import act, events, github, rights, waits
from pipelines.local.act import Place, Run
from pipelines.local.events import user
from pipelines.local.github import call
from pipelines.local.plans import Plan
from pipelines.setup.ledgerkey import sealed_to
from tests.workflows.conftest import Commit, git
from tests.workflows.reviewer import WORD, listener, pending, review

WORKFLOW = """
name: deploy
on: {push: }
permissions: {}
jobs:
  build:
    runs-on: ubuntu-24.04
    steps: [{run: touch "$SEEN/build"}]
  production:
    needs: build
    runs-on: ubuntu-24.04
    environment: production
    steps:
      - run: touch "$SEEN/production" && test "$KEY" = hidden
        env: {KEY: "${{ secrets.KEY }}"}
      - if: ${{ always() }}
        run: touch "$SEEN/always"
      - if: "!cancelled()"
        run: touch "$SEEN/not-cancelled"
  after:
    needs: production
    runs-on: ubuntu-24.04
    steps: [{run: touch "$SEEN/after"}]
"""
ALL = ["after", "always", "build", "not-cancelled", "production"]
OWNER = "somebody"  # of the repository, who starts its runs


@pytest.fixture
def here(place: Place, api: str, tmp_path: Path) -> Place:
    """The place, where production asks maya and its owner; each step that runs leaves a file in `seen`."""
    for login in ("maya", "ada"):
        call(f"{api}/collaborators/{login}", "PUT", {"permission": "push"})
    protect(api)
    (tmp_path / "seen").mkdir()
    there = {"SEEN": str(tmp_path / "seen")}
    return replace(place, api=api.partition("/repos/")[0], environment=there)


def protect(api: str, **more: Any) -> None:
    asked = [{"type": "User", "id": user(login)["id"]} for login in ("maya", OWNER)]
    call(f"{api}/environments/production", "PUT", {"reviewers": asked} | more)


def deploy(place: Place, commit: Commit, at_the_wait: Callable[[int], object]) -> tuple[Run, list[str]]:
    """Run the workflow; `at_the_wait` gets the run's id when a job waits. The run, and those lines."""
    sha = commit({".github/workflows/deploy.yml": WORKFLOW})
    listen, lines = listener(f"{place.api}/repos/{place.repository}", "deploy", at_the_wait)
    return act.run("deploy", events.push(place.repository, "0" * 40, sha), place, told=listen), lines


def seen(place: Place) -> list[str]:
    return sorted(path.name for path in Path(place.environment["SEEN"]).iterdir())


@pytest.fixture
def secret(here: Place, api: str) -> None:
    """Of the environment production."""
    key = call(f"{api}/environments/production/secrets/public-key")
    body = {"encrypted_value": sealed_to(key["key"], b"hidden"), "key_id": key["key_id"]}
    call(f"{api}/environments/production/secrets/KEY", "PUT", body)


@pytest.mark.slow
def test_a_job_begins_when_a_reviewer_agrees_and_its_run_waits_until_then(
    here: Place, api: str, commit: Commit, secret: None
) -> None:
    def look(run: int) -> None:
        time.sleep(1)
        assert seen(here) == ["build"], "a job that waits has begun"
        told = call(f"{api}/actions/runs/{run}")
        assert (told["status"], told["conclusion"]) == ("waiting", None)
        listed = call(f"{api}/actions/workflows/deploy.yml/runs?status=waiting")["workflow_runs"]
        assert [one["id"] for one in listed] == [run]
        (entry,) = pending(api, run, "maya")
        assert entry["environment"]["name"] == "production" and entry["current_user_can_approve"]
        assert [one["reviewer"]["login"] for one in entry["reviewers"]] == ["maya", OWNER]
        assert not pending(api, run, "ada")[0]["current_user_can_approve"]
        for login in ("ada", "eve"):
            with pytest.raises(UserError, match="422"):
                review(api, run, login)
        assert seen(here) == ["build"]
        (deployment,) = review(api, run, "maya")
        assert deployment["environment"] == "production" and pending(api, run, "maya") == []
        with pytest.raises(UserError, match="422"):  # it waits no longer
            review(api, run, "maya", environment_ids=[entry["environment"]["id"]])
        assert call(f"{api}/actions/runs/{run}")["status"] == "in_progress"

    done, told = deploy(here, commit, look)
    log = done.log.read_text()
    assert done.code == 0 and set(done.jobs.values()) == {"success"}, log
    assert seen(here) == ALL
    address = f"{api}/actions/runs/{done.id}/pending_deployments"
    said = f"waits for maya or {OWNER} to approve the environment production: {address}"
    assert told == [f"production | {said}"]
    assert "approved by maya: Ship it! ::set-env name=A::b" in log
    assert call(f"{api}/actions/runs/{done.id}")["status"] == "completed"
    assert not (done.log.parent / waits.FOLDER).exists()


@pytest.mark.slow
def test_a_job_that_is_rejected_fails_without_one_of_its_steps(
    here: Place, api: str, commit: Commit, secret: None
) -> None:
    done, _ = deploy(here, commit, lambda run: review(api, run, "maya", "rejected"))
    assert done.jobs == {"build": "success", "production": "failure", "after": "skipped"}
    assert seen(here) == ["build"]
    assert "rejected by maya" in done.log.read_text()


@pytest.mark.slow
def test_where_nobody_can_agree_the_job_fails_at_once_and_says_so(
    here: Place, api: str, commit: Commit, secret: None
) -> None:
    sha = commit({".github/workflows/deploy.yml": WORKFLOW})
    done = act.run("deploy", events.push(OWNER, sha, sha), replace(here, api=Place.api))
    assert done.jobs == {"build": "success", "production": "failure", "after": "skipped"}
    assert seen(here) == ["build"]
    said = f"nobody serves GitHub's API here, by which maya or {OWNER} could approve the environment"
    assert said in done.log.read_text()


@pytest.mark.slow
def test_where_nobody_is_asked_nothing_waits(here: Place, api: str, commit: Commit, secret: None) -> None:
    call(f"{api}/environments/production", "PUT", {"reviewers": []})
    done, told = deploy(here, commit, lambda run: None)
    assert done.code == 0 and told == [] and seen(here) == ALL, done.log.read_text()


def test_a_plan_without_reviewers_has_nobody_to_wait_for(place: Place, tmp_path: Path) -> None:
    with github.serve(place.state, place.origin, place.repository, plan=Plan.PRO_PRIVATE) as url:
        api = f"{url}/repos/{place.repository}"
        with pytest.raises(UserError, match="required reviewers protection rule"):
            protect(api)
        call(f"{api}/environments/production", "PUT", {})
    assert held(place, tmp_path, events.push(OWNER, "0" * 40, "1" * 40)) is False


def test_a_forks_job_waits_too_and_gets_no_secret(
    here: Place, api: str, tmp_path: Path, commit: Commit, secret: None
) -> None:
    commit({"a.txt": "1\n"})
    sha = commit({"a.txt": "2\n"}, "theirs")
    git(here.origin, "update-ref", "refs/forks/eve/main", sha)
    pull = call(f"{api}/pulls", "POST", {"title": "x", "head": "eve:main", "base": "main"}, "user:eve")
    assert held(here, tmp_path, events.pull_request(pull)) is True
    known = read_json(here.state / "github.json")
    assert act.environments(known, stranger=True)["production"]["secrets"] == {}
    assert act.environments(known, stranger=False)["production"]["secrets"] == {"KEY": "hidden"}


def held(place: Place, folder: Path, event: events.Event) -> bool:
    """Whether the job `production` of a run for this event would wait."""
    (folder / "w.yml").write_text(WORKFLOW)
    known = act.environments(read_json(place.state / "github.json"), rights.from_fork(event))
    rights.hand_out(folder / "w.yml", event, folder, known, "http://127.0.0.1/")
    return "waits for" in (folder / "w.yml").read_text()


# --- who may say it ---------------------------------------------------------------------------------------


@pytest.fixture
def run(here: Place) -> int:
    """A run whose job `production` waits; the repository's owner started it."""
    event = events.push(here.repository, "0" * 40, "1" * 40)
    told = Run(7, "deploy", ".github/workflows/deploy.yml", event, 0, {}, "", Path()).as_json(here.repository)
    write_json(here.state / "runs/7" / waits.FOLDER / "run.json", told)
    write_text(here.state / "runs/7" / waits.FOLDER / "production.asked", "production")
    return 7


def test_who_started_a_run_does_not_approve_it_where_that_is_prevented(api: str, run: int) -> None:
    protect(api, prevent_self_review=True)
    assert not pending(api, run, OWNER)[0]["current_user_can_approve"]
    with pytest.raises(UserError, match="422"):
        review(api, run, OWNER)
    protect(api)
    assert pending(api, run, OWNER)[0]["current_user_can_approve"]
    review(api, run, OWNER)


def test_and_another_reviewer_does(api: str, run: int, here: Place) -> None:
    protect(api, prevent_self_review=True)
    review(api, run, "maya")
    said = here.state / "runs/7" / waits.FOLDER / "production.said"
    assert said.read_text().startswith("approved by maya")


@pytest.mark.parametrize("rights_of_it", [{"contents": "write"}, {"deployments": "write"}], ids=str)
def test_no_job_approves_itself(api: str, run: int, here: Place, rights_of_it: dict[str, str]) -> None:
    token = {"production": {"token": "job-1", "permissions": rights_of_it}}
    write_json(here.state / "runs/7/tokens.json", token)
    path = f"{api}/actions/runs/{run}/pending_deployments"
    ids = [one["environment"]["id"] for one in pending(api, run, "maya")]
    body = WORD | {"state": "approved", "environment_ids": ids}
    for holder in ("job-1", rights.EVERYTHING):
        with pytest.raises(UserError, match=r"403 Resource not accessible|422 Validation Failed"):
            call(path, "POST", body, holder)
    assert pending(api, run, "maya")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"environment_ids": []}, "environment_ids"),
        ({"environment_ids": ["production"]}, "environment_ids"),
        ({"environment_ids": [0]}, "Validation Failed"),
        ({"state": "agreed"}, "state"),
        ({"comment": None}, "comment"),
    ],
    ids=str,
)
def test_a_word_that_github_does_not_take_is_refused(
    api: str, run: int, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=f"422 .*{says}"):
        review(api, run, "maya", **change)
    assert pending(api, run, "maya")


def test_a_run_that_never_was_waits_for_nobody(api: str, here: Place) -> None:
    with pytest.raises(UserError, match="404"):
        call(f"{api}/actions/runs/9/pending_deployments")
