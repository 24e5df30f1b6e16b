"""Jobs here have the rights, surroundings, artifacts and caches that a hosted runner gives them."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.files import write_json
from pipelines.local import act, events
from pipelines.local.act import Place
from pipelines.local.github import call
from tests.workflows.conftest import Commit, git

SHA = "0123456789012345678901234567890123456789"
UPLOAD = f"{{uses: actions/upload-artifact@{SHA}, with: {{name: report, path: a.txt}}}}"
STATUS = """\
python3 -c 'import http.client, os, sys; from urllib.parse import urlsplit; at = urlsplit(sys.argv[1]); \
to = http.client.HTTPConnection(at.netloc); \
to.request("POST", at.path, sys.argv[2], dict(Authorization="Bearer " + os.environ["TOKEN"])); \
print(to.getresponse().status)' "$GITHUB_API_URL/repos/$GITHUB_REPOSITORY/statuses/$(git rev-parse HEAD)" \
'{"state": "success", "context": "greenlight/gate"}' > code"""
JOBS = f"""
name: jobs
on: {{pull_request: }}
permissions: {{}}
jobs:
  status:
    name: speaks
    runs-on: ubuntu-24.04
    permissions: {{contents: read, statuses: write}}
    steps:
      - uses: actions/checkout@{SHA}
      - run: |
          {STATUS}
          test "$(cat code)" = 201
        env: {{TOKEN: "${{{{ github.token }}}}"}}
      - {UPLOAD}
  build:
    needs: status
    runs-on: ubuntu-24.04
    permissions: {{contents: read}}
    steps:
      - uses: actions/checkout@{SHA}
      - run: |
          {STATUS}
          test "$(cat code)" = 403
        env: {{TOKEN: "${{{{ secrets.GITHUB_TOKEN }}}}"}}
      - id: again
        continue-on-error: true
        {UPLOAD[1:-1].replace(", with", chr(10) + "        with")}
      - run: test "$OUTCOME" = failure
        env: {{OUTCOME: "${{{{ steps.again.outcome }}}}"}}
      - run: test "$GITHUB_RUN_ATTEMPT" = 1
"""


def proposed(api: str, commit: Commit, text: str, name: str = "jobs") -> dict[str, Any]:
    commit({"a.txt": "1\n"})
    commit({f".github/workflows/{name}.yml": text}, "proposal")
    return dict(call(f"{api}/pulls", "POST", {"title": "x", "head": "proposal", "base": "main"}))


def at(place: Place, api: str) -> Place:
    return replace(place, api=api.partition("/repos/")[0])


@pytest.mark.slow
def test_each_job_has_a_token_of_its_own_and_a_run_one_artifact_of_a_name(
    api: str, place: Place, commit: Commit
) -> None:
    pull = proposed(api, commit, JOBS)
    done = act.run("jobs", events.pull_request(pull), at(place, api))
    log = done.log.read_text()
    assert done.code == 0, log
    assert "409 Conflict" in log
    assert not (done.log.parent / "tokens.json").exists() and "job-" not in log
    assert done.checks == {"speaks": "success", "build": "success"}
    again = act.run("jobs", events.pull_request(pull), at(place, api), again=done.id)
    assert again.id == done.id and again.jobs["status"] == "failure"  # its artifact is there already
    assert call(f"{api}/actions/runs/{done.id}")["run_attempt"] == 2


@pytest.mark.slow
def test_a_forks_run_has_no_secret_and_may_write_nothing(api: str, place: Place, commit: Commit) -> None:
    sha = git(place.origin, "rev-parse", proposed(api, commit, JOBS)["head"]["sha"])
    git(place.origin, "update-ref", "refs/forks/eve/main", sha)
    pull = call(f"{api}/pulls", "POST", {"title": "x", "head": "eve:main", "base": "main"}, "user:eve")
    done = act.run("jobs", events.pull_request(pull), at(place, api), secrets={"KEY": "x"})
    assert done.jobs["status"] == "failure"
    assert not call(f"{api}/commits/{pull['merge_commit_sha']}/statuses")


def tiny(*steps: str, on: str = "pull_request") -> str:
    lines = "".join(f"      - {step}\n" for step in steps)
    return f"name: tiny\non: {{{on}: }}\njobs:\n  only:\n    runs-on: ubuntu-24.04\n    steps:\n{lines}"


@pytest.mark.slow
def test_a_step_sees_a_hosted_runner_and_nothing_of_the_user(
    api: str, place: Place, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "user"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\n\tname = The User\n")
    commit({"c.txt": "older\n"})
    pull = proposed(
        api,
        commit,
        tiny(
            f"uses: actions/checkout@{SHA}",
            "run: env > $RUNNER_TEMP/seen; cp $RUNNER_TEMP/seen $GREENLIGHT_ARTIFACTS.env",
            'run: test -z "$(git config user.name)"',
            'run: test "$(git rev-list --count HEAD)" = 1 && test "$(git rev-parse HEAD)" = "$GITHUB_SHA"',
            "run: if git symbolic-ref HEAD; then exit 1; fi",
            f"{{uses: actions/checkout@{SHA}, with: {{fetch-depth: 0, path: whole}}}}",
            'run: test "$(git -C whole rev-list --count HEAD)" -gt 2',
        ),
        "tiny",
    )
    for name, value in {"HOME": str(home), "MY_SECRET": "x", "EDITOR": "vi"}.items():
        monkeypatch.setenv(name, value)
    done = act.run("tiny", events.pull_request(pull), at(place, api))
    assert done.code == 0, done.log.read_text()
    seen = dict(
        line.split("=", 1) for line in (place.state / "artifacts.env").read_text().splitlines() if "=" in line
    )
    assert not {"MY_SECRET", "EDITOR"} & seen.keys()
    assert (
        seen["HOME"] != str(home) and seen["CI"] == "true" and seen["GITHUB_SHA"] == pull["merge_commit_sha"]
    )


CACHE = f"{{uses: actions/cache@{SHA}, with: {{path: kept, key: '%s', restore-keys: k-}}}}"


def cached(word: str, key: str, on: str) -> str:
    return tiny(
        CACHE % key, f"run: cat kept/* 2>/dev/null || true; echo {word} > kept/{word}; ls kept", on=on
    )


@pytest.mark.slow
def test_what_a_pull_request_caches_no_other_ref_restores(api: str, place: Place, commit: Commit) -> None:
    pull = proposed(api, commit, cached("forged", "k-1", "pull_request"), "tiny")
    here = at(place, api)
    assert act.run("tiny", events.pull_request(pull), here).code == 0
    sha = commit({".github/workflows/tiny.yml": cached("own", "k-1", "push")})
    main = act.run("tiny", events.push(place.repository, "0" * 40, sha), here)
    assert main.code == 0 and "forged" not in main.log.read_text()
    commit({".github/workflows/tiny.yml": cached("mine", "k-2", "pull_request")}, "other")
    other = call(f"{api}/pulls", "POST", {"title": "x", "head": "other", "base": "main"})
    third = act.run("tiny", events.pull_request(other), here).log.read_text()
    assert "own" in third and "forged" not in third  # the control: what its base has cached it does restore
    fourth = act.run("tiny", events.push(place.repository, "0" * 40, sha), here).log.read_text()
    assert "mine" not in fourth


def held(workflow: str, event: events.Event, place: Place) -> dict[str, Any]:
    """A run that waits until somebody approves it, as GitHub lists it: nothing of it has begun."""
    number, folder = act.next_run(place.state)
    path = f".github/workflows/{workflow}.yml"
    run = act.Run(number, workflow, path, event, 0, {}, "", folder / "log.txt")
    told = run.as_json(place.repository) | {"conclusion": "action_required"}
    write_json(folder / "run.json", told)
    act.remove(folder / "pid")
    return told


def test_a_run_that_waits_for_approval_is_listed_so_and_runs_once_approved(api, place, commit) -> None:
    pull = proposed(api, commit, tiny("run: echo"), "tiny")
    told = held("tiny", events.pull_request(pull), at(place, api))
    listed = call(f"{api}/actions/workflows/tiny.yml/runs?status=action_required")["workflow_runs"]
    assert [run["id"] for run in listed] == [told["id"]]
    call(f"{api}/actions/runs/{told['id']}/approve", "POST")


@pytest.mark.slow
def test_a_socket_that_act_finds_is_no_setting_of_the_users(
    place: Place, commit: Commit, tmp_path: Path
) -> None:
    """act exports DOCKER_HOST to its steps where a socket is, though no engine may answer there."""
    text = """
name: tiny
on: {push: }
permissions: {}
jobs: {only: {runs-on: ubuntu-24.04, steps: [{run: 'test -z "$DOCKER_HOST"'}]}}
"""
    sha = commit({".github/workflows/tiny.yml": text})
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(os.path.relpath(tmp_path / "docker.sock"))
        there = replace(place, environment={"XDG_RUNTIME_DIR": str(tmp_path)})
        done = act.run("tiny", events.push(place.repository, "0" * 40, sha), there)
    assert done.code == 0, done.log.read_text()
