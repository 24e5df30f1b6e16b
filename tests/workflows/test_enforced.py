"""What GitHub refuses, cuts or changes by itself, the stand-in of its API does too."""

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.base.github import GitHub
from pipelines.local import events, github, pushes, rights, rules
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.local.rules import Rules
from tests.workflows.conftest import Commit, git

RIGHTS = {"contents": "read", "pull-requests": "write", "statuses": "read"}


@contextmanager
def serve(place: Place, **options: Any) -> Iterator[str]:
    with github.serve(place.state, place.origin, place.repository, **options) as url:
        yield f"{url}/repos/{place.repository}"


@pytest.fixture
def pull(api: str, commit: Commit) -> dict[str, Any]:
    commit({"a.txt": "1\n"})
    commit({"b.txt": "1\n"}, "proposal")
    return dict(call(f"{api}/pulls", "POST", {"title": "x", "head": "proposal", "base": "main"}))


@pytest.fixture
def job(place: Place) -> str:
    """The token of a job with RIGHTS."""
    write_json(place.state / "runs/1/tokens.json", {"gate": {"token": "job-1", "permissions": RIGHTS}})
    return "job-1"


def test_a_jobs_token_may_do_what_its_permissions_say(api: str, pull: dict[str, Any], job: str) -> None:
    call(f"{api}/issues/{pull['number']}/comments", "POST", {"body": "x"}, job)
    call(f"{api}/git/ref/heads/main", token=job)
    call(f"{api}/commits/{pull['head']['sha']}/status", token=job)
    call(f"{api}/pulls?state=open", token=job)  # write includes read


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/statuses/{sha}", {"state": "success", "context": "greenlight/gate"}),
        ("PUT", "/pulls/{number}/merge", {}),
        ("GET", "/actions/runs/1", None),
        ("GET", "/issues/{number}/events", None),
        ("PUT", "/collaborators/eve", {"permission": "admin"}),
        ("DELETE", "/git/refs/heads/main", None),
    ],
)
def test_and_gets_403_else(method: str, path: str, body: Any, api, pull, job) -> None:
    url = f"{api}{path.format(sha=pull['head']['sha'], number=pull['number'])}"
    with pytest.raises(UserError, match="403 Resource not accessible by integration"):
        call(url, method, body, job)


def test_a_token_that_nobody_has_is_no_token(api: str, pull: dict[str, Any], job: str, place: Place) -> None:
    with pytest.raises(UserError, match="401"):
        call(f"{api}/pulls", token="x")
    (place.state / "runs/1/tokens.json").unlink()  # the run has ended
    with pytest.raises(UserError, match="401"):
        call(f"{api}/git/ref/heads/main", token=job)


def test_what_a_workflow_does_not_say_is_none() -> None:
    push = events.push("o/r", "0" * 40, "1" * 40)
    assert rights.permissions({"contents": "write", "issues": "none"}, push) == {"contents": "write"}
    assert rights.permissions({}, push) == {}
    assert rights.permissions(None, push) == {"contents": "read"}
    assert set(rights.permissions("read-all", push).values()) == {"read"}


def test_a_forks_pull_request_is_another_repositorys_and_gets_no_write(
    api: str, commit: Commit, place: Place, tmp_path: Path
) -> None:
    commit({"a.txt": "1\n"})
    sha = commit({"a.txt": "2\n"}, "theirs")
    git(place.origin, "update-ref", "refs/forks/eve/main", sha)
    git(place.origin, "update-ref", "-d", "refs/heads/theirs")
    pull = call(f"{api}/pulls", "POST", {"title": "x", "head": "eve:main", "base": "main"}, "user:eve")
    assert pull["head"]["label"] == "eve:main" and pull["head"]["sha"] == sha
    assert (pull["head"]["repo"]["full_name"], pull["head"]["repo"]["fork"]) == ("eve/flights", True)
    assert pull["base"]["repo"]["full_name"] == place.repository and pull["user"]["login"] == "eve"
    assert git(place.origin, "rev-parse", f"refs/pull/{pull['number']}/head") == sha
    assert call(f"{api}/pulls?head=eve:main") and not call(f"{api}/pulls?head=somebody:main")
    event = events.pull_request(pull)
    assert rights.permissions({"statuses": "write", "contents": "read"}, event) == {
        "statuses": "read",
        "contents": "read",
    }


def test_lists_within_objects_have_pages_and_none_has_more_than_100(api: str, place: Place, commit) -> None:
    sha = commit({"a.txt": "1\n"})
    for number in range(1, 132):
        run = {"id": number, "path": ".github/workflows/w.yml", "head_sha": sha, "event": "push"}
        write_json(place.state / f"runs/{number}/run.json", run)
    path = "/actions/workflows/w.yml/runs?event=push"
    first = call(f"{api}{path}&per_page=1000")
    assert first["total_count"] == 131 and len(first["workflow_runs"]) == 100
    client = GitHub(api.partition("/repos/")[0], place.repository, rights.EVERYTHING)
    assert [run["id"] for run in client.list(path, "workflow_runs")] == list(range(131, 0, -1))


def failing(handler: Callable[[Any], Any], forge: Any) -> Any:
    """As `github.handler`, but every second call does nothing, and gets 502 or 429 by turns."""
    calls, whole = itertools.count(1), handler(forge)

    class Failing(whole):  # type: ignore[valid-type]
        def answer(self) -> None:
            if (turn := next(calls)) % 2:
                return super().answer()
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            late = {"Retry-After": "1"} if turn % 4 == 0 else {}
            page = b"<html><title>Unicorn!</title></html>"
            self.write(429 if late else 502, page, {"Content-Type": "text/html", **late})

        do_GET = do_POST = answer

    return Failing


def test_every_so_many_calls_fail_and_the_client_gets_its_answer(place: Place, commit, monkeypatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("pipelines.base.github.time.sleep", waits.append)
    sha = commit({"a.txt": "1\n"})
    monkeypatch.setattr(github, "handler", functools.partial(failing, github.handler))
    with serve(place) as api:
        client = GitHub(api.partition("/repos/")[0], place.repository, rights.EVERYTHING)
        for number in range(4):
            client.status(sha, f"c{number}", "success", "ok", None)
        assert len(client.list(f"/commits/{sha}/statuses")) == 4
    assert len(waits) >= 4


def branch_of_a_branch(api: str, commit: Commit) -> tuple[int, int]:
    commit({"a.txt": "1\n"})
    commit({"b.txt": "1\n"}, "release-1")
    commit({"c.txt": "1\n"}, "upon", "release-1")
    numbers = [
        call(f"{api}/pulls", "POST", {"title": "x", "head": head, "base": base})["number"]
        for head, base in (("release-1", "main"), ("upon", "release-1"))
    ]
    return numbers[0], numbers[1]


def test_a_base_branch_that_was_merged_and_deleted_leaves_its_base_behind(api: str, commit: Commit) -> None:
    first, second = branch_of_a_branch(api, commit)
    sha = call(f"{api}/pulls/{first}")["head"]["sha"]
    call(f"{api}/statuses/{sha}", "POST", {"state": "success", "context": "greenlight/gate"})
    call(f"{api}/pulls/{first}/merge", "PUT", {})
    call(f"{api}/git/refs/heads/release-1", "DELETE")
    moved = call(f"{api}/pulls/{second}")
    assert (moved["state"], moved["base"]["ref"]) == ("open", "main")
    said = [event["event"] for event in call(f"{api}/issues/{second}/events")]
    assert said == ["automatic_base_change_succeeded"]


def test_a_base_branch_that_was_deleted_unmerged_closes_what_was_proposed_into_it(api, commit) -> None:
    first, second = branch_of_a_branch(api, commit)
    call(f"{api}/git/refs/heads/release-1", "DELETE")
    assert [call(f"{api}/pulls/{number}")["state"] for number in (first, second)] == ["closed", "closed"]


def run_of(place: Place, sha: str, event: str, **checks: str) -> None:
    number = 1 + len(list(place.state.glob("runs/*")))
    run = {"id": number, "path": ".github/workflows/ci.yml", "head_sha": sha, "event": event}
    write_json(place.state / f"runs/{number}/run.json", run | {"checks": checks})


def test_a_merge_needs_the_checks_of_the_ruleset_from_runs_of_pull_requests(place, commit) -> None:
    with serve(place, rules=Rules(checks=("greenlight/gate", "lint"))) as api:
        commit({"a.txt": "1\n"})
        sha = commit({"b.txt": "1\n"}, "proposal")
        number = call(f"{api}/pulls", "POST", {"title": "x", "head": "proposal", "base": "main"})["number"]
        call(f"{api}/statuses/{sha}", "POST", {"state": "success", "context": "greenlight/gate"})
        for event, said in (("workflow_dispatch", "expected"), ("workflow_run", "expected")):
            run_of(place, sha, event, lint="success")
            with pytest.raises(UserError, match=f'405 .*check "lint" is {said}'):
                call(f"{api}/pulls/{number}/merge", "PUT", {})
        run_of(place, sha, "pull_request", lint="failure")
        with pytest.raises(UserError, match=r'405 .*check "lint" is failure'):
            call(f"{api}/pulls/{number}/merge", "PUT", {})
        run_of(place, sha, "pull_request", lint="success")
        assert call(f"{api}/pulls/{number}/merge", "PUT", {})["merged"]


def test_a_merge_needs_another_persons_approval_of_the_head_as_it_is(place: Place, commit) -> None:
    with serve(place, rules=Rules(checks=(), approvals=1)) as api:
        commit({"a.txt": "1\n"})
        commit({"b.txt": "1\n"}, "proposal")
        number = call(f"{api}/pulls", "POST", {"title": "x", "head": "proposal", "base": "main"})["number"]
        for login, role in (("eve", "read"), ("ada", "write")):
            call(f"{api}/collaborators/{login}", "PUT", {"permission": role})

        def approve(login: str) -> None:
            call(f"{api}/pulls/{number}/reviews", "POST", {"event": "APPROVE"}, f"user:{login}")

        with pytest.raises(UserError, match="422"):
            approve("somebody")  # the author
        approve("eve")
        with pytest.raises(UserError, match=r"405 .*approving review"):
            call(f"{api}/pulls/{number}/merge", "PUT", {})
        approve("ada")
        commit({"b.txt": "2\n"}, "proposal")
        with pytest.raises(UserError, match=r"405 .*approving review"):
            call(f"{api}/pulls/{number}/merge", "PUT", {})
        approve("ada")
        assert call(f"{api}/pulls/{number}/merge", "PUT", {})["merged"]


def proposed(api: str, commit: Commit, files: dict[str, str | None]) -> tuple[str, str]:
    """A pull request of these files: its address, and its head."""
    sha = commit(files, "proposal")
    body = {"title": "x", "head": "proposal", "base": "main"}
    number = call(f"{api}/pulls", "POST", body)["number"]
    return f"{api}/pulls/{number}", sha


def people(api: str, *logins: str) -> None:
    for login in logins:
        call(f"{api}/collaborators/{login}", "PUT", {"permission": "push"})


def approve(pull: str, login: str) -> None:
    call(f"{pull}/reviews", "POST", {"event": "APPROVE"}, f"user:{login}")


def held(pull: str, why: str) -> None:
    with pytest.raises(UserError, match=f"405 .*{why}"):
        call(f"{pull}/merge", "PUT", {})


@pytest.mark.parametrize("token", ["user:somebody", "app:9"])
def test_a_required_check_counts_where_its_app_said_it(place: Place, commit, job: str, token: str) -> None:
    gate = {"context": "greenlight/gate"}
    with serve(place, rules=Rules(apps={"greenlight/gate": rights.ACTIONS})) as api:
        commit({"a.txt": "1\n"})
        pull, sha = proposed(api, commit, {"b.txt": "1\n"})
        call(f"{api}/statuses/{sha}", "POST", gate | {"state": "success"}, token)
        held(pull, 'check "greenlight/gate" is expected')
        call(f"{api}/statuses/{sha}", "POST", gate | {"state": "failure"})
        call(f"{api}/statuses/{sha}", "POST", gate | {"state": "success"}, token)
        held(pull, 'check "greenlight/gate" is expected')
        call(f"{api}/statuses/{sha}", "POST", gate | {"state": "success"})
        assert call(f"{pull}/merge", "PUT", {})["merged"]


def test_without_an_app_in_the_rule_anybodys_word_counts(place: Place, commit) -> None:
    with serve(place, rules=Rules()) as api:
        commit({"a.txt": "1\n"})
        pull, sha = proposed(api, commit, {"b.txt": "1\n"})
        body = {"context": "greenlight/gate", "state": "success"}
        call(f"{api}/statuses/{sha}", "POST", body, "user:somebody")
        assert call(f"{pull}/merge", "PUT", {})["merged"]


def test_who_pushed_last_does_not_approve_what_they_pushed(place: Place, commit, tmp_path: Path) -> None:
    """A maintainer pushes to another one's proposal, and approves it."""
    with serve(place, rules=Rules(checks=(), approvals=1, by_another=True)) as api:
        commit({"a.txt": "1\n"})
        pull, _ = proposed(api, commit, {"b.txt": "1\n"})
        people(api, "ada", "maya")
        clone = tmp_path / "clone"
        git(clone, "commit", "--quiet", "--allow-empty", "--message", "and this")
        pushes.door("enter", clone, api, login="user:ada")
        git(clone, "push", "--quiet", "origin", "HEAD:proposal")
        approve(pull, "ada")
        held(pull, "someone other than the last pusher")
        approve(pull, "maya")
        assert call(f"{pull}/merge", "PUT", {})["merged"]


def test_nor_are_others_asked_where_the_author_pushed_last(place: Place, commit) -> None:
    with serve(place, rules=Rules(checks=(), approvals=1, by_another=True)) as api:
        commit({"a.txt": "1\n"})
        pull, _ = proposed(api, commit, {"b.txt": "1\n"})
        people(api, "ada")
        held(pull, "At least 1 approving review")
        approve(pull, "ada")
        assert call(f"{pull}/merge", "PUT", {})["merged"]


def test_a_changed_file_waits_for_one_of_its_owners_by_the_bases_own_list(place: Place, commit) -> None:
    listed = "* @maya @ada\n/docs/ \n/b.txt @eve @nobody  # eve may only read\n"
    with serve(place, rules=Rules(checks=(), approvals=1, owners=True)) as api:
        commit({"a.txt": "1\n", ".github/CODEOWNERS": listed})
        people(api, "ada", "maya", "zoe")
        pull, _ = proposed(api, commit, {"a.txt": "2\n", ".github/CODEOWNERS": "* @zoe\n"})
        approve(pull, "zoe")
        held(pull, "Waiting on code owner review from maya or ada")
        approve(pull, "maya")
        assert call(f"{pull}/merge", "PUT", {})["merged"]


def test_what_nobody_owns_waits_for_no_owner(place: Place, commit) -> None:
    """A line without a name, and one whose names may not write."""
    listed = "* @maya\n/docs/ \n/b.txt @eve @nobody\n"
    with serve(place, rules=Rules(checks=(), approvals=1, owners=True)) as api:
        commit({"a.txt": "1\n", ".github/CODEOWNERS": listed})
        people(api, "maya", "zoe")
        pull, _ = proposed(api, commit, {"docs/deep/a.md": "2\n", "b.txt": "2\n"})
        approve(pull, "zoe")
        assert call(f"{pull}/merge", "PUT", {})["merged"]


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["a", "b/c"], []),
        ("*.py", ["a.py", "b/c.py"], ["a.pyc"]),
        ("/a.py", ["a.py"], ["b/a.py"]),
        ("docs/*", ["docs/a"], ["docs/b/c", "b/docs/a"]),
        ("/docs/", ["docs/a", "docs/b/c"], ["docs", "b/docs/a"]),
        ("docs/", ["docs/a", "b/docs/a"], ["docs"]),
        ("/docs", ["docs", "docs/b/c"], ["docs2", "b/docs"]),
        ("**/logs", ["logs/a", "b/logs/a"], ["logs2"]),
        ("/docs/**/*.py", ["docs/a.py", "docs/b/c.py"], ["docs/a.md", "b/docs/a.py"]),
        ("/A.py", ["A.py"], ["a.py"]),
        ("!a.py", [], ["a.py"]),
        ("[ab].py", [], ["a.py", "[ab].py"]),
        ("# *", [], ["a.py"]),
    ],
)
def test_an_owners_pattern_fits_what_github_says_it_does(pattern: str, yes: list[str], no: list[str]) -> None:
    fits = {path: bool(rules.owners(f"{pattern} @ada\n", [path])) for path in yes + no}
    assert fits == dict.fromkeys(yes, True) | dict.fromkeys(no, False)


def test_the_last_line_that_fits_counts() -> None:
    text = "* @ada\n/docs/ @maya\n/docs/*.md\n/params.yaml\n"
    asked = {"Makefile": ["ada"], "docs/conf.py": ["maya"], "docs/gate.md": [], "params.yaml": []}
    assert {path: [name for line in rules.owners(text, [path]) for name in line] for path in asked} == asked


@pytest.mark.parametrize("method", ["squash", "rebase"])
def test_the_method_of_a_merge_is_honoured_and_limited(method: str, place: Place, commit: Commit) -> None:
    commit({"a.txt": "1\n"})
    for name in "bc":
        commit({f"{name}.txt": "1\n"}, "proposal")
    for methods in (("merge",), ("merge", method)):
        with serve(place, rules=Rules(checks=(), methods=methods)) as api:
            pulls = call(f"{api}/pulls") or [
                call(f"{api}/pulls", "POST", {"title": "x", "head": "proposal", "base": "main"})
            ]
            url = f"{api}/pulls/{pulls[0]['number']}/merge"
            if method not in methods:
                with pytest.raises(UserError, match=r"405 .* are not allowed on this repository"):
                    call(url, "PUT", {"merge_method": method})
                continue
            call(url, "PUT", {"merge_method": method})
    assert git(place.origin, "log", "--merges", "main") == ""
    assert len(git(place.origin, "rev-list", "main").split()) == {"squash": 2, "rebase": 3}[method]
    assert git(place.origin, "ls-tree", "--name-only", "main").split() == [
        "a.txt",
        "b.txt",
        "c.txt",
    ]


def test_the_ruleset_of_this_repository_is_what_its_file_says() -> None:
    rules = Rules.of()
    assert {"greenlight/gate", "lint", "tests"} <= set(rules.checks)
    assert rules.methods == ("merge",) and rules.strict
    assert set(rules.apps) == set(rules.checks) and set(rules.apps.values()) == {rights.ACTIONS}
    assert rules.owners and rules.by_another and len(rules.guards) == 3
