"""The real `infra`, by act with real Terraform: what is checked, planned and applied, and what is not."""

import base64
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import Refused, UserError
from pipelines.base.files import write_text
from pipelines.host import infra
from pipelines.local import act, events, github
from pipelines.local.act import Place, Run
from pipelines.local.github import call
from pipelines.local.rules import Rules
from tests.problems.yours import commit, copy_tracked
from tests.project import git
from tests.workflows import people  # noqa: F401 (its routes)

pytestmark = pytest.mark.slow
REPOSITORY, ROOT, SECRET = "you/flights", Path("infra/small"), "correct horse"
KEY = base64.b64encode(bytes(range(32))).decode()
MODULE = """
terraform {
  backend "local" { path = "STATE" }
}

variable "password" { type = string }

resource "terraform_data" "note" {
  input = "SIZE, ${var.password}"
}

output "size" { value = "SIZE" }
"""
TESTS = """
run "has_a_size" {
  command = plan
  variables { password = "none" }
  assert {
    condition     = output.size != "huge"
    error_message = "nothing here is huge"
  }
}
"""


@dataclass
class Team:
    """A repository whose root module infra/small has its state in a folder of this machine."""

    api: str
    place: Place
    main: Path
    state: Path

    def module(self, size: str) -> dict[str, str]:
        text = MODULE.replace("STATE", str(self.state)).replace("SIZE", size)
        return {"infra/small/main.tf": text, "infra/small/tests/size.tftest.hcl": TESTS}

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.main / name).parent.mkdir(parents=True, exist_ok=True)
            (self.main / name).write_text(text)

    def propose(self, branch: str, files: dict[str, str]) -> dict[str, Any]:
        git(self.main, "fetch", "--quiet", "origin")
        git(self.main, "checkout", "--quiet", "-B", branch, "origin/main")
        self.write(files)
        commit(self.main, branch)
        git(self.main, "push", "--quiet", "--force", "origin", branch)
        return dict(call(f"{self.api}/pulls", "POST", {"title": branch, "head": branch, "base": "main"}))

    def run(self, event: events.Event, **options: Any) -> Run:
        secrets = {
            "GREENLIGHT_PLAN_KEY": KEY,
            "GREENLIGHT_INFRA_VARIABLES": json.dumps({"password": SECRET}),
        }
        return act.run("infra", event, self.place, secrets=secrets, **options)

    def merge(self, pull: dict[str, Any]) -> events.Event:
        before = git(self.main, "ls-remote", "origin", "refs/heads/main").split()[0]
        merged = call(f"{self.api}/pulls/{pull['number']}/merge", "PUT", {})
        return events.push(REPOSITORY, before, merged["sha"])

    def size(self) -> str:
        state = json.loads(self.state.read_text())
        return str(state["outputs"]["size"]["value"])

    def issues(self) -> list[dict[str, Any]]:
        return [one for one in call(f"{self.api}/issues?state=all") if "pull_request" not in one]

    def comments(self, pull: dict[str, Any]) -> list[str]:
        return [one["body"] for one in call(f"{self.api}/issues/{pull['number']}/comments")]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("infra")
    origin, main = folder / f"{REPOSITORY}.git", folder / "main"
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    main.mkdir()
    copy_tracked(main)
    git(main, "remote", "add", "origin", str(origin))
    with github.serve(folder / "state", origin, REPOSITORY, Rules(checks=())) as api:
        variables = {infra.ROOT: str(ROOT)}
        home = {"GREENLIGHT_HOME": str(folder / "home")}
        place = Place(origin, folder / "state", REPOSITORY, api, variables, home)
        made = Team(f"{api}/repos/{REPOSITORY}", place, main, folder / "terraform.tfstate")
        commit(main, "the template")
        git(main, "push", "--quiet", "origin", "HEAD:refs/heads/main")
        yield made


@pytest.fixture(scope="module")
def planned(team: Team) -> tuple[dict[str, Any], Run]:
    pull = team.propose("small", team.module("small"))
    return pull, team.run(events.pull_request(pull))


@pytest.fixture
def here(team: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Team:
    """This process is a step of a job that may plan and apply, with a state of its own."""
    monkeypatch.chdir(team.main)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv(infra.ROOT, str(ROOT))
    monkeypatch.setenv("GREENLIGHT_HOME", team.place.environment["GREENLIGHT_HOME"])
    monkeypatch.setenv(infra.VARIABLES, json.dumps({"password": SECRET}))
    monkeypatch.setattr(team, "state", tmp_path / "terraform.tfstate")
    git(team.main, "checkout", "--quiet", "--detach", "origin/main")
    return team


def test_what_is_approved_is_in_one_comment_without_secrets_and_on_merge_exactly_that_is_applied(
    team: Team, planned: tuple[dict[str, Any], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull, run = planned
    assert run.code == 0, run.log.read_text()
    done = {job for job, result in run.jobs.items() if result == "success"}
    assert done == {"check", "plan", "comment"}
    (said,) = team.comments(pull)
    assert said.startswith(infra.MARK) and "1 to add" in said and 'small, ***"' in said
    assert SECRET not in said and SECRET not in run.log.read_text() and SECRET not in run.summary
    left = team.place.state / f"artifacts/{run.id}/plan/plan.sealed"
    assert SECRET.encode() not in left.read_bytes() and not team.state.exists()

    job(team, monkeypatch)
    infra.comment(pull["number"], write_text(tmp_path / "plan.md", f"{infra.MARK}\nanother plan"))
    assert team.comments(pull) == [f"{infra.MARK}\nanother plan"]
    with pytest.raises(UserError, match="is not the text of"):
        infra.comment(pull["number"], write_text(tmp_path / "plan.md", "no plan of ours"))
    applied = team.run(team.merge(pull))
    assert applied.code == 0, applied.log.read_text()
    assert {job for job, result in applied.jobs.items() if result == "success"} == {"find", "apply"}
    assert team.size() == "small"
    night = team.run(events.schedule(REPOSITORY))
    assert night.code == 0 and night.jobs["drift"] == "success", night.log.read_text()


def test_drift_opens_one_issue_and_its_end_closes_it(
    here: Team, planned: tuple[dict[str, Any], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(here, monkeypatch)
    here.write(here.module("small"))
    sealed(here, "small", tmp_path / "plan", monkeypatch)
    infra.apply(ROOT, tmp_path / "plan")
    assert infra.drift(ROOT) == 0 and not here.issues()
    found = json.loads(state := here.state.read_text())
    found["outputs"]["size"]["value"] = "changed by hand"
    here.state.write_text(json.dumps(found))
    assert infra.drift(ROOT) == 4
    assert infra.drift(ROOT) == 4
    (issue,) = here.issues()
    assert issue["state"] == "open" and "drifted" in issue["title"] and SECRET not in issue["body"]
    here.state.write_text(state)
    assert infra.drift(ROOT) == 0
    assert [one["state"] for one in here.issues()] == ["closed"]


def test_a_fork_gets_checks_and_no_plan(team: Team) -> None:
    pull = team.propose("theirs", {"infra/small/note.txt": "mine\n"})
    fork = json.loads(json.dumps(pull))
    fork["head"]["repo"]["full_name"] = "eve/flights"
    run = team.run(events.pull_request(fork))
    assert run.jobs["check"] == "success", run.log.read_text()
    assert {run.jobs[job] for job in set(run.jobs) - {"check"}} == {"skipped"}
    assert not team.comments(pull)


def test_a_merge_queues_group_gets_checks_and_no_plan(team: Team) -> None:
    team.propose("queued", {"infra/small/note.txt": "queued\n"})
    base, head = (git(team.main, "rev-parse", name) for name in ("origin/main", "queued"))
    branch = f"refs/heads/gh-readonly-queue/main/pr-1-{base}"
    git(team.main, "push", "--quiet", "origin", f"{head}:{branch}")
    group = {"head_ref": branch, "head_sha": head, "base_ref": "refs/heads/main", "base_sha": base}
    run = team.run(events.merge_group(REPOSITORY, group))
    assert run.jobs["check"] == "success", run.log.read_text()
    assert {run.jobs[job] for job in set(run.jobs) - {"check"}} == {"skipped"}


def test_what_does_not_touch_infra_is_green_at_once(here: Team, capsys: pytest.CaptureFixture[str]) -> None:
    head = git(here.main, "rev-parse", "HEAD")
    infra.check(head, head)
    assert "nothing to check" in capsys.readouterr().err
    assert Path(os.environ["GITHUB_OUTPUT"]).read_text() == "infra=false\n"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: text.replace('  input = "', '  input ="'), "small/main.tf.*terraform fmt -recursive"),
        (lambda text: text.replace('value = "small"', 'value = "huge"'), "nothing here is huge"),
        (lambda text: text.replace("var.password}", "var.pasword}"), "undeclared input variable"),
        (
            lambda text: text + '\nresource "aws_s3_bucket" "data" { bucket = "open" }\n',
            "checkov: .*aws_s3_bucket.data: Ensure",
        ),
    ],
    ids=["fmt", "terraform test", "validate", "checkov"],
)
def test_a_finding_is_red_and_named(
    here: Team, monkeypatch: pytest.MonkeyPatch, change: Any, why: str
) -> None:
    files = here.module("small")
    files["infra/small/main.tf"] = change(files["infra/small/main.tf"])
    here.write(files)
    if "aws_s3" in files["infra/small/main.tf"]:  # its provider is not here
        with pytest.raises(Refused, match=why):
            infra._checkov()
    else:
        monkeypatch.setattr(infra, "_checkov", lambda: None)
        with pytest.raises((Refused, UserError), match=why):
            infra.check("0" * 40, "HEAD")
    git(here.main, "checkout", "--quiet", "--force", "HEAD")


def job(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may ask GitHub."""
    for name, value in {"REPOSITORY": REPOSITORY, "TOKEN": "local-token", "API_URL": team.place.api}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)


def sealed(team: Team, size: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan as the environment `plan` leaves it, of a commit that has this size."""
    team.write(team.module(size))
    commit(team.main, size)
    monkeypatch.setenv(infra.KEY, KEY)
    infra.plan(ROOT, out)
    assert infra.KEY not in os.environ  # Terraform's providers do not see it
    monkeypatch.setenv(infra.KEY, KEY)


def test_a_plan_that_was_changed_or_is_anothers_is_refused(
    here: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed(here, "large", tmp_path / "plan", monkeypatch)
    file = tmp_path / "plan" / infra.SEALED
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    with pytest.raises(Refused, match="is not a plan that the environment `plan` sealed"):
        infra.apply(ROOT, tmp_path / "plan")

    sealed(here, "larger", tmp_path / "plan", monkeypatch)
    here.write({"infra/small/more.tf": ""})
    commit(here.main, "somebody else's, merged in between")
    with pytest.raises(Refused, match="out of date: it is of another infra/"):
        infra.apply(ROOT, tmp_path / "plan")
    file.unlink()
    monkeypatch.setenv(infra.KEY, KEY)
    with pytest.raises(Refused, match="no plan was kept"):
        infra.apply(ROOT, tmp_path / "plan")
    assert not here.state.exists()


def test_no_line_and_no_spelling_of_a_secret_is_shown_and_the_log_hides_it_before_terraform_speaks(
    here: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told = ["first of it", 'a "quoted" \\ word, caf\u00e9', "${not} 100 %{ either", "last 25%"]
    monkeypatch.setenv(infra.VARIABLES, json.dumps({"password": "\n".join(told)}))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    parts = ("first of", "quoted", "caf", "not}", "either", "last 25")
    sealed(here, "large", tmp_path / "plan", monkeypatch)
    shown = (tmp_path / "plan" / infra.TEXT).read_text()
    assert "large, ***" in shown and not [part for part in parts if part in shown], shown
    lines = capfd.readouterr().out.splitlines()
    hidden = [line.removeprefix("::add-mask::") for line in lines if line.startswith("::add-mask::")]
    assert {line.replace("%", "%25") for line in told} <= set(hidden)
    assert not [line for line in lines if not line.startswith("::add-mask::") and any(map(line.count, parts))]

    monkeypatch.setenv(infra.VARIABLES, "{}")
    infra.apply(ROOT, tmp_path / "plan")  # whose job is not given the secrets: the sealed plan tells them
    assert {line.replace("%", "%25") for line in told} <= {
        line.removeprefix("::add-mask::") for line in capfd.readouterr().out.splitlines()
    }

    monkeypatch.setenv(infra.VARIABLES, json.dumps({"password": SECRET}))
    here.write(
        {"infra/small/main.tf": here.module("large")["infra/small/main.tf"].replace("input =", "unknown =")}
    )
    with pytest.raises((Refused, UserError)):
        infra.plan(ROOT, tmp_path / "plan")
    assert f"::add-mask::{SECRET}" in capfd.readouterr().out
    git(here.main, "checkout", "--quiet", "--force", "HEAD")


def test_a_stale_plan_is_out_of_date(here: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed(here, "large", tmp_path / "one", monkeypatch)
    infra.plan(ROOT, tmp_path / "two")
    monkeypatch.setenv(infra.KEY, KEY)
    infra.apply(ROOT, tmp_path / "one")
    assert here.size() == "large"
    monkeypatch.setenv(infra.KEY, KEY)
    with pytest.raises(Refused, match="out of date: what it changes has changed since: open a pull request"):
        infra.apply(ROOT, tmp_path / "two")


def test_a_merge_without_a_plan_says_so(here: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    pull = here.propose("unplanned", {"infra/small/note.txt": "unplanned\n"})
    event = here.merge(pull)
    git(here.main, "fetch", "--quiet", "origin")
    job(here, monkeypatch)
    with pytest.raises(Refused, match=r"#\d+ was merged without an approved plan"):
        infra.find(event.payload["before"], event.payload["after"])


def test_a_long_plan_is_cut_and_its_text_ends_no_block() -> None:
    shown = infra._shown("a ``` b\n" * 20_000)
    assert len(shown) < 60_000 and "characters more" in shown
    assert len(re.findall("^````$", shown, re.MULTILINE)) == 2


def test_what_is_no_root_module_or_no_key_is_named(here: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    for root in (Path("infra"), Path("infra/../docs"), Path("infra/none")):
        with pytest.raises(UserError, match="which is not a folder of infra/"):
            infra.plan(root, Path("plan"))
    monkeypatch.setenv(infra.KEY, "short")
    with pytest.raises(UserError, match="must be 32 random bytes as base64"):
        infra._box("short")
    monkeypatch.setenv(infra.VARIABLES, "[1]")
    with pytest.raises(UserError, match="must be a JSON mapping"):
        infra.plan(Path("infra/local"), Path("plan"))
