"""Who may push what: by the right of the login, and by the rulesets. The pushes are real."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.local import act, events, github, pushes, rights
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.local.rules import Push, Rules
from tests.workflows.conftest import Commit, git

LEDGER = "environments"
KEY = asyncssh.generate_private_key("ssh-ed25519")
Pushing = Callable[..., str]


@pytest.fixture
def ruled(place: Place) -> Iterator[str]:
    """The address of the stand-in with this repository's rulesets, and a deploy key."""
    with github.serve(place.state, place.origin, place.repository, Rules.of()) as url:
        api = f"{url}/repos/{place.repository}"
        call(f"{api}/keys", "POST", {"title": "ledger", "key": KEY.export_public_key().decode()})
        yield api


@pytest.fixture
def push(place: Place, commit: Commit, ruled: str, tmp_path: Path) -> Pushing:
    """push(login, refspec): what git says of it; empty where it went well."""
    commit({"a.txt": "1\n"})
    commit({"production.json": "{}\n"}, LEDGER)
    git(tmp_path, "clone", "--quiet", str(place.origin), "pusher")
    folder = tmp_path / "pusher"
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "x")

    def put(login: str, *refs: str) -> str:
        pushes.door("enter", folder, ruled, login=login)
        command = ["git", "-C", str(folder), "push", "--quiet", "origin", *refs]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode == 0) == (done.stderr == ""), done.stderr
        return done.stderr

    return put


def key(of: asyncssh.SSHKey) -> str:
    return f"key:{of.get_fingerprint()}"


def job(place: Place, **permissions: str) -> str:
    write_json(place.state / "runs/1/tokens.json", {"x": {"token": "job-1", "permissions": permissions}})
    return "job-1"


def test_a_jobs_token_pushes_with_the_right_to_write_contents_alone(push: Pushing, place: Place) -> None:
    for permissions in ({"contents": "read"}, {"pull-requests": "write"}, {}):
        said = push(job(place, **permissions), "HEAD:refs/heads/retrain")
        assert "Permission to somebody/flights.git denied to github-actions[bot]" in said
    assert push(job(place, contents="write"), "HEAD:refs/heads/retrain") == ""
    (place.state / "runs/1/tokens.json").unlink()  # the run has ended
    assert "Bad credentials" in push("job-1", "HEAD:refs/heads/later")
    assert "Requires authentication" in push("", "HEAD:refs/heads/later")
    assert git(place.origin, "branch", "--list", "later") == ""


def test_a_person_pushes_as_their_role_allows(push: Pushing, ruled: str) -> None:
    assert "denied to eve" in push("user:eve", "HEAD:refs/heads/theirs")
    call(f"{ruled}/collaborators/eve", "PUT", {"permission": "push"})
    assert push("user:eve", "HEAD:refs/heads/theirs") == ""


@pytest.mark.parametrize(
    ("refs", "why"),
    [
        ("HEAD:refs/heads/main", "Changes must be made through a pull request"),
        ("HEAD:refs/heads/main", "3 of 3 required status checks are expected"),
        (":refs/heads/main", "Cannot delete this protected ref"),
        (f"+HEAD:refs/heads/{LEDGER}", "Cannot update this protected ref"),
        (f"+HEAD:refs/heads/{LEDGER}", "Cannot force-push to this branch"),
        (f":refs/heads/{LEDGER}", "Cannot delete this protected ref"),
    ],
)
@pytest.mark.parametrize("who", ["user:somebody", "job"])
def test_the_rulesets_let_nobody_push_to_main_nor_to_the_ledger(
    push: Pushing, place: Place, who: str, refs: str, why: str
) -> None:
    before = git(place.origin, "for-each-ref")
    git(place.origin, "config", "receive.denyDeleteCurrent", "ignore")
    login = job(place, contents="write") if who == "job" else who
    said = push(login, refs)
    assert "GH013: Repository rule violations found for refs/heads/" in said and why in said
    assert git(place.origin, "for-each-ref") == before


def test_the_deploy_key_writes_the_ledger_and_not_main(push: Pushing, ruled: str) -> None:
    assert push(key(KEY), f"+HEAD:refs/heads/{LEDGER}") == ""
    assert "Changes must be made through a pull request" in push(key(KEY), "HEAD:refs/heads/main")
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    assert "Bad credentials" in push(key(stranger), f"+HEAD~1:refs/heads/{LEDGER}")
    public = stranger.export_public_key().decode()
    call(f"{ruled}/keys", "POST", {"title": "reads", "key": public, "read_only": True})
    assert "marked as read only" in push(key(stranger), f"+HEAD~1:refs/heads/{LEDGER}")
    with pytest.raises(UserError, match="401"):
        call(f"{ruled}/pulls", token=key(KEY))  # it opens git's door alone
    with pytest.raises(UserError, match=r"422 .*Validation Failed"):
        call(f"{ruled}/keys", "POST", {"title": "x", "key": "rubbish"})


def test_a_release_may_be_tagged_and_its_tag_stays(push: Pushing, place: Place) -> None:
    bot, tag = job(place, contents="write"), "refs/tags/greenlight-1"
    assert push(bot, f"HEAD:{tag}") == ""
    assert "Cannot update this protected ref" in push(bot, f"+HEAD~1:{tag}")
    assert "Cannot delete this protected ref" in push(bot, f":{tag}")
    assert push(bot, "HEAD:refs/tags/other") == "" == push(bot, "+HEAD~1:refs/tags/other")


def test_one_update_that_may_not_be_lets_none_in(push: Pushing, place: Place) -> None:
    assert "GH013" in push("user:somebody", "HEAD:refs/heads/fine", "HEAD:refs/heads/main")
    assert git(place.origin, "branch", "--list", "fine") == ""
    assert push("user:somebody", "HEAD:refs/heads/fine") == ""


def test_the_api_is_no_way_around(push: Pushing, ruled: str, place: Place) -> None:
    for branch in (LEDGER, "main"):
        with pytest.raises(UserError, match="Cannot delete this protected ref"):
            call(f"{ruled}/git/refs/heads/{branch}", "DELETE")
    push("user:somebody", "HEAD:refs/heads/proposal")
    git(place.origin, "update-ref", f"refs/heads/{LEDGER}", "main")
    pull = call(f"{ruled}/pulls", "POST", {"title": "x", "head": "proposal", "base": LEDGER})
    with pytest.raises(UserError, match="Cannot update this protected ref"):
        call(f"{ruled}/pulls/{pull['number']}/merge", "PUT", {})
    call(f"{ruled}/git/refs/heads/proposal", "DELETE")


def test_a_rulesets_names_are_patterns_and_only_active_ones_count(tmp_path: Path) -> None:
    def rules(include: str, enforcement: str = "active", exclude: str = "refs/heads/no") -> Rules:
        names = {"include": [include], "exclude": [exclude]}
        ruleset = {"enforcement": enforcement, "conditions": {"ref_name": names}, "bypass_actors": []}
        write_json(tmp_path / "main.json", ruleset | {"rules": [{"type": "update"}]})
        return Rules.of(tmp_path / "main.json")

    def refused(rules: Rules, ref: str) -> bool:
        return bool(rules.broken(Push(f"refs/heads/{ref}", "1" * 40, "2" * 40)))

    assert refused(rules("refs/heads/a-*"), "a-1") and not refused(rules("refs/heads/a-*"), "a-1/b")
    assert refused(rules("refs/heads/**"), "a/b") and not refused(rules("refs/heads/**"), "no")
    assert refused(rules("~ALL"), "a/b") and refused(rules("~DEFAULT_BRANCH"), "main")
    assert not refused(rules("~DEFAULT_BRANCH"), "mainly") and not refused(rules("~ALL", "disabled"), "a")


WORKFLOW = """
name: w
on: {push: }
permissions: {}
jobs:
  block:
    runs-on: ubuntu-24.04
    permissions: {contents: write}
    steps:
      - uses: actions/checkout@v7 # a comment
      - uses: actions/checkout@v7
        with:
          path: deeper
      - uses: actions/checkout@v7
        with: {}
      - uses: actions/checkout@v7
        with:
  flow:
    runs-on: ubuntu-24.04
    steps:
      - {uses: actions/checkout@v7}
      - {uses: actions/checkout@v7, with: {path: deeper}}
      - uses: actions/checkout@v7
        with: {token: "${{ secrets.OTHER }}"}
      - uses: actions/cache@v6
        with: {path: x}
"""


def test_each_checkout_is_given_the_token_of_its_job_unless_it_names_one(tmp_path: Path) -> None:
    file = tmp_path / "w.yml"
    file.write_text(WORKFLOW)
    rights.hand_out(file, events.push("o/r", "0" * 40, "1" * 40), tmp_path, {})
    made, before = yaml.safe_load(file.read_text()), yaml.safe_load(WORKFLOW)
    given = {
        name: [(step.get("with") or {}).pop("token", None) for step in job["steps"]]
        for name, job in made["jobs"].items()
    }
    own = {name: f"${{{{ secrets.TOKEN_OF_{name.upper()} }}}}" for name in made["jobs"]}
    assert given["block"] == [own["block"]] * 4
    assert given["flow"] == [own["flow"], own["flow"], "${{ secrets.OTHER }}", None]
    for jobs in (made["jobs"], before["jobs"]):
        for step in (step for job in jobs.values() for step in job["steps"]):
            (step.get("with") or {}).pop("token", None)
            if not step.get("with"):
                step.pop("with", None)
    assert made == before


PUSHES = """
name: pushes
on: {push: }
permissions: {}
jobs:
  reads:
    runs-on: ubuntu-24.04
    permissions: {contents: read}
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - run: git push origin "HEAD:refs/heads/of-$GITHUB_JOB"
  writes:
    runs-on: ubuntu-24.04
    permissions: {contents: write}
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
      - run: git push origin "HEAD:refs/heads/of-$GITHUB_JOB"
"""


@pytest.mark.slow
def test_in_a_run_each_job_pushes_with_its_own_right(ruled: str, place: Place, commit: Commit) -> None:
    sha = commit({".github/workflows/pushes.yml": PUSHES})
    place = replace(place, api=ruled.partition("/repos/")[0])
    done = act.run("pushes", events.push(place.repository, "0" * 40, sha), place)
    assert done.jobs == {"reads": "failure", "writes": "success"}, done.log.read_text()
    assert "denied to github-actions[bot]" in done.log.read_text()
    assert git(place.origin, "branch", "--list", "of-*").split() == ["of-writes"]


ANOTHER = """
name: another
on: {push: }
permissions: {contents: write}
jobs:
  told:
    runs-on: ubuntu-24.04
    steps:
      - run: git clone "$GREENLIGHT_ORIGIN" . && git push origin "HEAD:refs/heads/of-$GITHUB_JOB"
        env: {GITHUB_TOKEN: "${{ github.token }}"}
  untold:
    runs-on: ubuntu-24.04
    steps:
      - run: git clone "$GREENLIGHT_ORIGIN" . && git push origin "HEAD:refs/heads/of-$GITHUB_JOB"
  reads:
    runs-on: ubuntu-24.04
    permissions: {contents: read}
    steps:
      - run: git clone "$GREENLIGHT_ORIGIN" . && git push origin "HEAD:refs/heads/of-$GITHUB_JOB"
        env: {GH_TOKEN: "${{ github.token }}"}
  rules:
    runs-on: ubuntu-24.04
    steps:
      - run: git clone "$GREENLIGHT_ORIGIN" . && git push origin "HEAD:refs/heads/environments"
        env: {GH_TOKEN: "${{ github.token }}"}
"""


@pytest.mark.slow
def test_and_with_its_steps_token_from_any_other_clone(ruled: str, place: Place, commit: Commit) -> None:
    """As `ml ci retrain`, which pushes from a clone of its own."""
    sha = commit({".github/workflows/another.yml": ANOTHER})
    place = replace(place, api=ruled.partition("/repos/")[0])
    done = act.run("another", events.push(place.repository, "0" * 40, sha), place)
    failed = {"untold": "failure", "reads": "failure", "rules": "failure"}
    assert done.jobs == {"told": "success"} | failed, done.log.read_text()
    for words in ("Requires authentication", "denied to github-actions[bot]", "creations being restricted"):
        assert words in done.log.read_text()
    assert git(place.origin, "branch", "--list", "of-*", LEDGER).split() == ["of-told"]
