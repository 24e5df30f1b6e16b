"""The stand-in of GitHub's API held to the documented contract."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from pipelines.base import loopback
from pipelines.base.errors import UserError
from pipelines.local import github
from pipelines.local.act import Place
from pipelines.local.forge import Forge
from pipelines.local.github import call
from pipelines.local.rules import Rules
from tests.workflows.conftest import ROOT, Commit, git


@pytest.fixture
def pull(api: str, commit: Commit) -> dict[str, Any]:
    commit({"params.yaml": "a: 1\n", "old name.txt": "same\n" * 20})
    commit({"params.yaml": "a: 2\n", "new.txt": "x\n"}, "proposal")
    commit({"old name.txt": None, "moved ü.txt": "same\n" * 20}, "proposal")
    made: dict[str, Any] = call(f"{api}/pulls", "POST", {"title": "Two", "head": "proposal", "base": "main"})
    return made


def answer(
    url: str, method: str = "GET", body: bytes | None = None, token: str = "local-token"
) -> tuple[int, Any, Any]:
    """Status, JSON and headers, whatever the status is."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with loopback.ask(request, timeout=60) as got:
            return got.status, json.loads(got.read() or b"null"), got.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def succeed(api: str, sha: str) -> None:
    call(f"{api}/statuses/{sha}", "POST", {"state": "success", "context": "greenlight/gate"})


def test_a_pull_request_has_the_documented_fields(api: str, pull: dict[str, Any], place: Place) -> None:
    assert {"number", "state", "title", "body", "user", "html_url", "draft", "merged", "mergeable"} <= set(
        pull
    )
    assert pull["head"]["ref"] == "proposal" and pull["base"]["ref"] == "main"
    assert pull["head"]["label"] == "somebody:proposal"
    assert pull["head"]["repo"]["full_name"] == pull["base"]["repo"]["full_name"] == place.repository
    assert pull["base"]["repo"]["default_branch"] == "main"
    assert (pull["state"], pull["merged"], pull["mergeable"]) == ("open", False, True)
    parents = git(place.origin, "log", "-1", "--format=%P", f"refs/pull/{pull['number']}/merge").split()
    assert parents == [pull["base"]["sha"], pull["head"]["sha"]]
    assert git(place.origin, "rev-parse", f"refs/pull/{pull['number']}/merge") == pull["merge_commit_sha"]


def test_files_are_listed_with_the_old_name_of_a_moved_one(place: Place, pull: dict[str, Any]) -> None:
    forge = Forge(place.state, place.origin, place.repository, Rules())
    files = {file["filename"]: file for file in forge.changes(forge.record(pull["number"]))}
    assert {name: file["status"] for name, file in files.items()} == {
        "params.yaml": "modified",
        "new.txt": "added",
        "moved ü.txt": "renamed",
    }
    assert files["moved ü.txt"]["previous_filename"] == "old name.txt"


def test_pull_requests_are_found_by_state_head_base_and_commit(
    api: str, pull: dict[str, Any], commit: Commit
) -> None:
    def numbers(query: str) -> list[int]:
        return [found["number"] for found in call(f"{api}/{query}")]

    mine = [pull["number"]]
    assert numbers("pulls") == numbers("pulls?state=all&head=somebody:proposal&base=main") == mine
    assert numbers(f"commits/{pull['head']['sha']}/pulls") == mine
    assert numbers("pulls?head=somebody:other") == numbers("pulls?state=closed") == []
    newer = commit({"new.txt": "y\n"}, "proposal")
    assert call(f"{api}/pulls/{pull['number']}")["head"]["sha"] == newer
    assert numbers(f"commits/{pull['head']['sha']}/pulls") == []
    call(f"{api}/pulls/{pull['number']}", "PATCH", {"state": "closed"})
    assert numbers("pulls") == [] and numbers("pulls?state=closed") == mine


def test_a_pull_request_that_cannot_be_is_refused_with_422(api: str, pull: dict[str, Any]) -> None:
    for body in ({"head": "proposal"}, {"head": "main"}, {"head": "none"}, {"title": "", "head": "proposal"}):
        whole = {"title": "x", "base": "main", **body}
        status, told, _ = answer(f"{api}/pulls", "POST", json.dumps(whole).encode())
        assert (status, set(told) >= {"message", "documentation_url"}) == (422, True), body


def test_comments_are_made_listed_in_pages_and_changed(api: str, pull: dict[str, Any]) -> None:
    url = f"{api}/issues/{pull['number']}/comments"
    made = [call(url, "POST", {"body": f"no {n}"}) for n in range(32)]
    assert {"id", "body", "user", "created_at", "updated_at", "html_url", "issue_url"} <= set(made[0])
    status, first, headers = answer(url)
    assert (status, len(first)) == (200, 30)  # 30 a page unless told
    following = re.match(r'<(.*)>; rel="next"', headers["Link"])
    assert following and [c["body"] for c in call(following[1])] == ["no 30", "no 31"]
    assert len(call(f"{url}?per_page=100")) == 32
    call(f"{api}/issues/comments/{made[0]['id']}", "PATCH", {"body": "changed"})
    assert call(url)[0]["body"] == "changed"
    assert answer(f"{api}/issues/comments/999", "PATCH", b'{"body": "x"}')[0] == 404
    assert answer(url, "POST", json.dumps({"body": "x" * 65537}).encode())[0] == 422


def test_issues_are_opened_changed_closed_and_listed_with_the_pull_requests(
    api: str, pull: dict[str, Any]
) -> None:
    first, second = (call(f"{api}/issues", "POST", {"title": title}) for title in ("One", "Two"))
    found = call(f"{api}/issues?state=open")
    assert [one["number"] for one in found] == [second["number"], first["number"], pull["number"]]
    assert ["pull_request" in one for one in found] == [False, False, True]
    page = f"{api}/issues/{first['number']}"
    closed = call(page, "PATCH", {"body": "done", "state": "closed", "state_reason": "completed"})
    assert (closed["title"], closed["body"], closed["state"]) == ("One", "done", "closed")
    assert [one["title"] for one in call(f"{api}/issues?state=closed")] == ["One"]
    assert answer(page, "PATCH", b'{"state": "away"}')[0] == 422
    assert answer(f"{api}/issues/{pull['number'] + 99}", "PATCH", b"{}")[0] == 404


def test_the_newest_status_of_each_context_makes_the_combined_one(api: str, pull: dict[str, Any]) -> None:
    sha = pull["head"]["sha"]

    def combined() -> tuple[str, int]:
        got = call(f"{api}/commits/{sha}/status")
        return got["state"], got["total_count"]

    assert combined() == ("pending", 0)
    call(f"{api}/statuses/{sha}", "POST", {"state": "failure", "context": "a", "description": "why"})
    assert combined() == ("failure", 1)
    call(f"{api}/statuses/{sha}", "POST", {"state": "success", "context": "a"})
    assert combined() == ("success", 1)
    call(f"{api}/statuses/{sha}", "POST", {"state": "pending", "context": "b"})
    assert combined() == ("pending", 2)
    assert [s["state"] for s in call(f"{api}/commits/{sha}/statuses")] == ["pending", "success", "failure"]
    for wrong in ({"state": "green"}, {"state": "success", "description": "x" * 141}, {}):
        assert answer(f"{api}/statuses/{sha}", "POST", json.dumps(wrong).encode())[0] == 422
    assert answer(f"{api}/statuses/{'0' * 40}", "POST", b'{"state": "success"}')[0] == 422


def test_a_merge_needs_the_required_status_on_the_head(
    api: str, pull: dict[str, Any], commit: Commit, place: Place
) -> None:
    merge = f"{api}/pulls/{pull['number']}/merge"
    status, told, _ = answer(merge, "PUT", b"{}")
    assert (status, "greenlight/gate" in told["message"]) == (405, True)
    succeed(api, pull["base"]["sha"])
    assert answer(merge, "PUT", b"{}")[0] == 405  # on another commit
    succeed(api, pull["head"]["sha"])
    assert answer(merge, "PUT", b'{"sha": "%s"}' % (b"0" * 40))[0] == 409
    status, told, _ = answer(merge, "PUT", b"{}")
    assert (status, told["merged"]) == (200, True)
    assert git(place.origin, "rev-parse", "main") == told["sha"]
    parents = git(place.origin, "log", "-1", "--format=%P", "main").split()
    assert parents == [pull["base"]["sha"], pull["head"]["sha"]]
    after = call(f"{api}/pulls/{pull['number']}")
    assert (after["state"], after["merged"], after["merge_commit_sha"]) == ("closed", True, told["sha"])
    assert after["changed_files"] == 3
    assert answer(merge, "PUT", b"{}")[0] == 405


def test_a_branch_that_is_behind_or_in_conflict_is_not_merged(
    api: str, pull: dict[str, Any], commit: Commit
) -> None:
    succeed(api, pull["head"]["sha"])
    commit({"other.txt": "x"})
    status, told, _ = answer(f"{api}/pulls/{pull['number']}/merge", "PUT", b"{}")
    assert (status, "up to date" in told["message"]) == (405, True)
    commit({"params.yaml": "a: 3\n"})
    assert call(f"{api}/pulls/{pull['number']}")["mergeable"] is False
    assert answer(f"{api}/pulls/{pull['number']}/merge", "PUT", b"{}")[0] == 405


def test_labels_leave_events_with_who_gave_them(api: str, pull: dict[str, Any]) -> None:
    labels = f"{api}/issues/{pull['number']}/labels"
    for _ in range(2):  # a label that is there already makes no event
        call(labels, "POST", {"labels": ["gate:override"]}, token="user:ada")
    assert [label["name"] for label in call(f"{api}/pulls/{pull['number']}")["labels"]] == ["gate:override"]
    call(f"{labels}/gate:override", "DELETE", token="user:eve")
    assert answer(f"{labels}/gate:override", "DELETE")[0] == 404
    found = call(f"{api}/issues/{pull['number']}/events")  # the oldest first
    assert [(e["event"], e["actor"]["login"], e["label"]) for e in found] == [
        ("labeled", "ada", {"name": "gate:override"}),
        ("unlabeled", "eve", {"name": "gate:override"}),
    ]
    assert found[0]["created_at"].endswith("Z")


def test_a_changed_base_is_an_event_too(api: str, pull: dict[str, Any], commit: Commit) -> None:
    commit({"a": "1"}, "other")
    changed = call(f"{api}/pulls/{pull['number']}", "PATCH", {"base": "other"})
    assert changed["base"]["ref"] == "other"
    (event,) = call(f"{api}/issues/{pull['number']}/events")
    assert event["event"] == "base_ref_changed"


@pytest.mark.parametrize(
    ("role", "permission", "maintain"),
    [
        ("read", "read", False),
        ("triage", "read", False),
        ("push", "write", False),
        ("maintain", "write", True),
        ("admin", "admin", True),
    ],
)
def test_a_permission_calls_maintain_write_and_triage_read(
    api: str, commit: Commit, role: str, permission: str, maintain: bool
) -> None:
    assert answer(f"{api}/collaborators/ada", "PUT", json.dumps({"permission": role}).encode())[0] == 204
    told = call(f"{api}/collaborators/ada/permission")
    assert (told["permission"], told["role_name"]) == (permission, {"push": "write"}.get(role, role))
    assert told["user"]["permissions"]["maintain"] is maintain
    assert call(f"{api}/collaborators/stranger/permission")["role_name"] == "read"
    assert answer(f"{api}/collaborators/ada", "PUT", b'{"permission": "king"}')[0] == 422


def test_runs_are_found_by_workflow_and_head_with_their_artifacts(
    api: str, pull: dict[str, Any], place: Place
) -> None:
    for number, (file, sha) in enumerate((("a", "1"), ("a", "2"), ("b", "1"), ("a", "1")), 1):
        run = {"id": number, "path": f".github/workflows/{file}.yml", "head_sha": sha, "event": "push"}
        (place.state / f"runs/{number}").mkdir(parents=True)
        (place.state / f"runs/{number}/run.json").write_text(json.dumps(run))
    (place.state / "runs/5").mkdir()  # not yet ended
    (place.state / "artifacts/4/report").mkdir(parents=True)

    def found(query: str) -> list[int]:
        told = call(f"{api}/actions/workflows/a.yml/runs{query}")
        assert told["total_count"] == len(told["workflow_runs"])
        return [run["id"] for run in told["workflow_runs"]]

    assert (found(""), found("?head_sha=1"), found("?head_sha=1&event=push")) == ([4, 2, 1], [4, 1], [4, 1])
    assert found("?event=pull_request") == []
    assert call(f"{api}/actions/runs/2")["head_sha"] == "2"
    assert answer(f"{api}/actions/runs/9")[0] == answer(f"{api}/actions/runs/9/artifacts")[0] == 404
    (artifact,) = call(f"{api}/actions/runs/4/artifacts?name=report")["artifacts"]
    assert (artifact["name"], artifact["expired"]) == ("report", False)
    assert call(f"{api}/actions/runs/4/artifacts?name=other")["artifacts"] == []


def test_what_is_not_there_is_404_and_written_down(api: str, pull: dict[str, Any], place: Place) -> None:
    assert answer(f"{api}/hooks")[0] == 404
    assert answer(api.replace("flights", "other") + "/pulls")[0] == 404
    assert answer(f"{api}/pulls/77")[0] == answer(f"{api}/pulls/x")[0] == 404
    state = json.loads((place.state / "github.json").read_text())
    assert state["unexpected"] == ["GET /repos/somebody/flights/hooks", "GET /repos/somebody/other/pulls"]


def test_writing_needs_a_token_and_json(api: str, pull: dict[str, Any]) -> None:
    url = f"{api}/issues/{pull['number']}/comments"
    assert answer(url, "POST", b'{"body": "x"}', token="")[0] == 401
    assert answer(url, "POST", b"{")[0] == 400
    with pytest.raises(UserError, match="404 Not Found"):
        call(f"{api}/hooks")


def test_state_outlives_the_server(place: Place, commit: Commit, tmp_path: Path) -> None:
    commit({"a": "1"})
    commit({"a": "2"}, "proposal")
    for expected in (0, 1):
        with github.serve(tmp_path / "api", place.origin, place.repository) as url:
            pulls = f"{url}/repos/{place.repository}/pulls"
            assert len(call(pulls)) == expected
            if not expected:
                call(pulls, "POST", {"title": "x", "head": "proposal", "base": "main"})


def test_the_ruleset_requires_what_the_workflows_report() -> None:
    rules = json.loads((ROOT / ".github/rulesets/main.json").read_text())["rules"]
    (checks,) = [rule["parameters"] for rule in rules if rule["type"] == "required_status_checks"]
    contexts = {check["context"] for check in checks["required_status_checks"]}
    assert contexts == {"greenlight/gate", "lint", "tests"}
    assert checks["strict_required_status_checks_policy"] is True


def test_each_required_check_is_demanded_from_actions_and_the_ledger_from_a_deploy_key() -> None:
    rules = {file.stem: json.loads(file.read_text()) for file in (ROOT / ".github/rulesets").glob("*.json")}
    assert set(rules) == {"main", "ledger", "releases"}
    (checks,) = [r["parameters"] for r in rules["main"]["rules"] if r["type"] == "required_status_checks"]
    assert {check["integration_id"] for check in checks["required_status_checks"]} == {15368}
    for name, ref in (("ledger", "refs/heads/environments"), ("releases", "refs/tags/greenlight-*")):
        assert rules[name]["conditions"]["ref_name"]["include"] == [ref]
        assert [actor["actor_type"] for actor in rules[name]["bypass_actors"]] == ["DeployKey"]
        assert {rule["type"] for rule in rules[name]["rules"]} >= {"update", "deletion"}
    made_by = {name: "creation" not in {rule["type"] for rule in rules[name]["rules"]} for name in rules}
    assert made_by["releases"] and not made_by["ledger"]  # `release` makes its tag with GITHUB_TOKEN
