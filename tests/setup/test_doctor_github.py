"""What `ml doctor` says of GitHub: the last runs, the host's runner, all that `ml init` sets; and of one that
refuses or is silent."""

import socket
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.base import github as client
from pipelines.base import programs
from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.base.github import NotFound
from pipelines.local import github
from pipelines.setup import beside as asking
from pipelines.setup import doctor, runs
from pipelines.setup.check import Check
from tests.project import git
from tests.setup.conftest import ADMIN, REPOSITORY, Copy
from tests.setup.test_doctor import OFF, ON, UNKNOWN, named


class Answers:
    """GitHub's answers by path; one that is not there is a 404, an exception is raised."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers

    def call(self, method: str, path: str, missing: Any = None) -> Any:
        answer = self.answers.get(path.partition("?")[0], missing)
        if answer is None:
            raise NotFound("GitHub refused it: 404", 404)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def list(self, path: str, field: str) -> Any:
        return self.call("GET", path, {field: []})[field]


def actions(days: float = 1, conclusion: str = "success", state: str = "active", **more: Any) -> Any:
    moment = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    run = {
        "created_at": moment,
        "conclusion": conclusion,
        "html_url": "https://github.com/a/b/actions/runs/1",
    }
    answers: dict[str, Any] = {}
    for name in runs.WORKFLOWS:
        answers[f"/actions/workflows/{name}.yml"] = {"state": state}
        answers[f"/actions/workflows/{name}.yml/runs"] = {"total_count": 1, "workflow_runs": [run]}
    return Answers(answers | {f"/actions/{path}": answer for path, answer in more.items()})


def test_the_last_runs_are_told_with_their_age() -> None:
    found = named(runs.checks(actions(days=3)))
    assert [found[f"runs of {name}"].says for name in runs.WORKFLOWS] == ["success, 3 days ago"] * 3
    assert {found[f"runs of {name}"].state for name in runs.WORKFLOWS} == {ON}
    assert (found["runner"].state, found["runner"].fails) == (OFF, False)


def test_a_run_that_failed_a_schedule_that_sleeps_and_a_workflow_that_is_off_are_told() -> None:
    failed = named(runs.checks(actions(conclusion="failure")))["runs of release"]
    assert failed.fails and failed.way_out.endswith("/actions/runs/1")
    old = named(runs.checks(actions(days=36)))
    assert old["runs of drift"].fails and "60 days" in old["runs of drift"].says
    assert old["runs of release"].state is ON  # nothing is due
    asleep = named(runs.checks(actions(state="disabled_inactivity")))["runs of drift"]
    assert asleep.fails and "60 days" in asleep.says and asleep.way_out == "`gh workflow enable drift`"
    by_hand = named(runs.checks(actions(state="disabled_manually")))["runs of judge"]
    assert by_hand.fails and "disabled_manually" in by_hand.says
    lost = named(runs.checks(Answers({})))["runs of judge"]  # type: ignore[arg-type]
    assert lost.fails and "judge.yml" in lost.says
    none = actions()
    none.answers["/actions/workflows/drift.yml/runs"] = {"workflow_runs": []}
    assert (
        named(runs.checks(none))["runs of drift"].state,
        named(runs.checks(none))["runs of drift"].fails,
    ) == (
        OFF,
        False,
    )


def test_a_run_that_was_cancelled_says_nothing_of_the_one_before() -> None:
    hub = actions()
    path = "/actions/workflows/judge.yml/runs"
    (good,) = hub.answers[path]["workflow_runs"]
    hub.answers[path] = {"workflow_runs": [good | {"conclusion": "cancelled"}, good]}
    assert named(runs.checks(hub))["runs of judge"].state is ON


RUNNERS = {
    "total_count": 1,
    "runners": [
        {"id": 1, "name": "box", "os": "linux", "status": "online", "busy": False, "version": "2.330.0",
         "labels": [{"name": "self-hosted"}, {"name": "host"}]}
    ],
}  # fmt: skip


def test_the_runner_that_the_variable_names_is_online_with_its_version() -> None:
    variables = {"variables": [{"name": "OTHER", "value": "x"}, {"name": runs.RUNNER, "value": "host"}]}

    def look(runners: Any) -> Check:
        hub = actions()
        hub.answers = {"/actions/variables": variables, "/actions/runners": runners}
        return named(runs.checks(hub))["runner"]

    assert (look(RUNNERS).state, look(RUNNERS).says) == (ON, "box 2.330.0 is online")
    runner: dict[str, Any] = RUNNERS["runners"][0]  # type: ignore[index]
    offline = look({"runners": [runner | {"status": "offline"}]})
    assert offline.fails and "offline" in offline.says
    assert look({"runners": []}).fails
    refused = look(UserError("GitHub refused GET /actions/runners: 403 Must have admin rights"))
    assert refused.state is UNKNOWN and "403" in refused.says and "administrator" in refused.way_out


def test_without_a_token_or_a_repository_there_github_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(programs, "find", lambda name: None)
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    assert {check.state for check in doctor._github()} == {UNKNOWN}
    git(tmp_path, "remote", "add", "origin", "https://github.com/acme/rain.git")
    (found,) = doctor._github()
    assert (found.state, found.says) == (UNKNOWN, "no token for github.com") and "gh auth" in found.way_out


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GitHub that takes calls and says nothing."""
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(client, "CALL_SECONDS", 1.0)
    monkeypatch.setenv("GITHUB_TOKEN", "x")
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/rain")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield
    for thread in threading.enumerate():  # they call again, and say so
        if thread.name.startswith("ask: "):
            thread.join(5)


def test_a_github_that_does_not_answer_holds_nobody_up(silent: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.3)
    found = doctor._github()
    assert {check.state for check in found} == {UNKNOWN}
    assert {check.says for check in found} == {"no answer within 0.3 s"}


def test_all_is_on_at_a_github_that_init_has_set_up_and_what_a_person_may_not_ask_is_unknown(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the stand-in, which enforces who may ask what."""

    def look(token: str = ADMIN) -> dict[str, Check]:
        monkeypatch.setenv("GITHUB_TOKEN", token)
        return named(doctor._once(doctor._github()))

    monkeypatch.chdir(copy.checkout)
    monkeypatch.setenv("GITHUB_API_URL", copy.api)
    monkeypatch.setenv("GITHUB_REPOSITORY", REPOSITORY)
    fresh = look()
    assert fresh["ruleset main"].fails and "ml init" in fresh["ruleset main"].way_out
    assert fresh["runs of drift"].says == "it has not run yet"
    assert fresh["runner"].state is OFF and not fresh["runner"].fails
    copy.init(variables={runs.RUNNER: "host"})
    copy.push()
    assert look()["runner"].says == "no runner has the label host"
    here = f"{copy.api}/repos/{REPOSITORY}/actions"
    github.call(f"{here}/runners/generate-jitconfig", "POST", {"name": "box", "labels": ["host"]})
    for number, name in enumerate(runs.WORKFLOWS, 1):
        run = actions().answers["/actions/workflows/judge.yml/runs"]["workflow_runs"][0]
        run |= {"id": number, "path": f".github/workflows/{name}.yml", "status": "completed"}
        write_json(copy.folder / f"state/runs/{number}/run.json", run)
    found = look()
    assert {what for what, check in found.items() if check.state is not ON} == set(), found
    assert found["runner"].says.startswith("box 2.")
    github.call(f"{here}/workflows/drift.yml/disable", "PUT")
    assert look()["runs of drift"].fails
    grace = look("user:grace")
    assert grace["runner"].state is UNKNOWN and "admin" in grace["runner"].says
    assert grace["runs of judge"].state is ON
    assert not [what for what in copy.state["unexpected"] if "variables/" not in what]


def test_a_token_that_is_nobodys_is_told_once(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", copy.api)
    monkeypatch.setenv("GITHUB_TOKEN", "of-nobody")
    (one,) = doctor._github(REPOSITORY)
    assert (one.what, one.state, one.says) == ("all of it", UNKNOWN, "the token is not valid, or expired")
    assert one.way_out == "set another GITHUB_TOKEN, or unset it and run `gh auth login`"


@pytest.mark.parametrize(
    ("status", "said"), [(403, "Resource not accessible"), (404, "Not Found"), (429, "slow"), (502, "Bad")]
)
def test_what_github_refuses_is_a_sentence(
    copy: Copy, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.checkout)
    monkeypatch.setenv("GITHUB_API_URL", copy.api)
    monkeypatch.setenv("GITHUB_TOKEN", ADMIN)
    copy.refused, copy.refusal = lambda call: True, (status, {"message": said})
    found = doctor._github(REPOSITORY)
    assert len(found) >= 5 and {check.state for check in found} <= {UNKNOWN, OFF}
    for check in found:
        assert check.says and "a bug" not in check.says and "\n" not in check.says, check
        assert check.way_out, check
    assert all(check.state is UNKNOWN for check in found) or status == 404
