"""A proposal of values without their dvc.lock: whether the judge makes it, what it commits, what it says
else."""

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import psutil
import pytest
from dvc.utils.serialize import dumps_yaml, loads_yaml
from ruamel.yaml.error import YAMLError

from pipelines.base import programs
from pipelines.base.errors import UserError
from pipelines.local import events
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.pulls import making, runs, status, values
from pipelines.registry.signer import VARIABLE
from pipelines.registry.signing import Key, public_of
from tests.delivery import waiting
from tests.problems.parcels import PROBLEM
from tests.workflows.conftest import Commit, git
from tests.workflows.proposal import GOOD, PARAMS, REPOSITORY, Proposal, Propose, data, lock
from tests.workflows.test_scope import LOCKS

SEED = PARAMS.replace("seed: 7", "seed: 8")


def canonical(text: str) -> str:
    return str(dumps_yaml(loads_yaml(text)))


BASE, NEW = (canonical(lock(word, seed=seed)) for word, seed in (("1", 7), ("5", 8)))


@pytest.fixture
def edited(propose: Propose, commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Propose:
    """edited(files): a pull request onto a base whose dvc.lock is of its params.yaml."""
    propose({}, "nothing")
    commit({"dvc.lock": BASE})
    monkeypatch.chdir(tmp_path / "clone")
    return propose


def ask(proposal: Proposal, event: Path | None = None) -> dict[str, str]:
    proposal.output.write_text("")
    runs.of_event(event or proposal.ended(proposal.run(candidate=False)))
    return proposal.outputs()


def test_an_edit_of_values_alone_is_for_the_judge_to_build_once_propose_has_ended(edited: Propose) -> None:
    proposal = edited({"params.yaml": SEED, "docs/why.md": "x\n"})
    waits = proposal.ended(proposal.run(candidate=False, status="in_progress", conclusion=None))
    assert ask(proposal, waits)["build"] == "false"
    assert proposal.speak(waits) == ("pending", "is being built")
    found = ask(proposal)
    assert (found["build"], found["run"], found["head"]) == ("true", "", proposal.pull["head"]["sha"])
    assert proposal.speak()[1] == (
        "no evidence: the judge could make no model of this params.yaml; its run says why"
    )


def test_a_draft_of_values_is_not_built_by_the_judge_until_it_is_ready(edited: Propose) -> None:
    proposal = edited({"params.yaml": SEED})
    proposal.draft(True)
    told = proposal.ended(proposal.run(candidate=False))
    assert ask(proposal, told)["build"] == "false"
    assert ask(proposal, proposal.draft(False))["build"] == "true"


def test_a_lock_that_fits_is_built_by_propose(edited: Propose) -> None:
    proposal = edited({"params.yaml": SEED, "dvc.lock": NEW})
    assert ask(proposal)["build"] == "false"
    assert proposal.judge(GOOD)[0] == "success"


@pytest.mark.parametrize(
    ("lock", "values", "fit"),
    [
        ("train.share: 1e-05", "train: {share: 0.00001}", True),  # which YAML 1.1 takes for a text
        ("train: {first: 2013-01}", "train: {first: 2013-01}", True),
        ("train: {first: 2013-01}", "train: {first: 2013-01, last: 2013-02}", False),
        ("train.seed: 7", "train: 7", False),
        ("train.seed: null", "train: {}", False),
    ],
)
def test_values_are_read_as_dvc_reads_them(lock: str, values: str, fit: bool) -> None:
    text = f"stages: {{train: {{params: {{params.yaml: {{{lock}}}}}}}}}"
    assert making.values.fits(values.encode(), text.encode()) is fit


# --- what the judge does not build, and what it says ------------------------------------------------------

WITH = {
    "code": ({"pipelines/core/stats.py": "x\n"}, "pipelines/core/stats.py changes too: run `ml reproduce`"),
    "its gate": (
        {"params.yaml": SEED.replace("days: 28 #", "days: 7 #")},
        "params.yaml: gate changes too: run `ml reproduce`",
    ),
    "its data": (
        {"params.yaml": SEED.replace("through: 2013-06", "through: 2013-07")},
        "params.yaml: data changes too: run `ml ingest`, `dvc add data`",
    ),
    "other data": ({"data.dvc": data("2")}, "data.dvc changes too: run `ml reproduce`"),
    "a crafted lock": (
        {"dvc.lock": BASE.replace("ml stage train", "sh")},
        "dvc.lock changes too: run `ml reproduce`",
    ),
    "an unknown key": ({"params.yaml": SEED + "more: 1\n"}, "params.yaml changes too: run `ml reproduce`"),
}


@pytest.mark.parametrize(("files", "said"), WITH.values(), ids=WITH)
def test_with_anything_else_its_author_is_told_what_to_run(
    edited: Propose, files: dict[str, str | None], said: str
) -> None:
    proposal = edited({"params.yaml": SEED} | files)
    assert ask(proposal)["build"] == "false"
    state, sentence = proposal.speak()
    assert state == "error" and f"dvc.lock is not of this params.yaml, and {said}" in sentence


def test_a_fork_is_told_too(edited: Propose, commit: Commit, place: Place) -> None:
    api = edited({"docs/a.md": "x\n"}, "here").api
    sha = commit({"params.yaml": SEED}, "theirs")
    git(place.origin, "update-ref", "refs/forks/eve/main", sha)
    pull = call(f"{api}/pulls", "POST", {"title": "x", "head": "eve:main", "base": "main"}, "user:eve")
    evidence = place.state.parent
    proposal = Proposal(api, pull, place.state, evidence / "evidence", evidence / "output")
    assert ask(proposal)["build"] == "false"
    said = "no evidence: dvc.lock is not of this params.yaml, and this is a fork: run `ml reproduce`, commit "
    assert proposal.speak() == ("error", f"{said}params.yaml and dvc.lock")


def test_a_branch_that_is_behind_waits_until_it_is_up_to_date(edited: Propose, commit: Commit) -> None:
    proposal = edited({"params.yaml": SEED})
    commit({"pipelines/core/stats.py": "b = 1\n"})
    assert ask(proposal)["build"] == "false"
    assert proposal.speak() == ("pending", "bring the branch up to date, and the judge makes dvc.lock")


def test_a_link_in_place_of_values_is_not_built(edited: Propose, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    edited({"docs/a.md": "x\n"}, "other")
    git(clone, "checkout", "--quiet", "-B", "odd", "origin/main")
    (clone / "params.yaml").unlink()
    (clone / "params.yaml").symlink_to("/etc/passwd")
    git(clone, "commit", "--quiet", "--all", "--message", "odd")
    git(clone, "push", "--quiet", "origin", "odd")
    proposal = edited({}, "odd")
    assert ask(proposal)["build"] == "false"
    assert proposal.speak()[0] == "error"
    assert values.of(values.between("origin/main", "odd")) == values.Lock()


def test_two_edits_in_a_row_are_one_build(edited: Propose, commit: Commit) -> None:
    proposal = edited({"params.yaml": SEED})
    old = proposal.ended(proposal.run(candidate=False))
    commit({"params.yaml": PARAMS.replace("seed: 7", "seed: 9")}, "proposal")
    assert ask(proposal, old) == {"run": "", "build": "false", "head": "", "base": ""}
    assert ask(proposal)["build"] == "true"


def test_propose_leaves_it_to_the_judge_and_is_not_red(
    edited: Propose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    proposal = edited({"params.yaml": SEED})
    for repository, said in ((REPOSITORY, "true"), ("eve/flights", "false")):
        proposal.output.write_text("")
        values.run(git(tmp_path / "clone", "rev-parse", "origin/main"), "proposal", repository)
        assert proposal.outputs() == {"judge": said}
    assert (tmp_path / "summary.md").read_text().count("Nothing is built here") == 1


# --- what the judge commits -------------------------------------------------------------------------------


def event(proposal: Proposal, **changes: Any) -> Path:
    """The event that a run of `propose` for this head has ended."""
    told = proposal.run(candidate=False, **changes)
    path = proposal.folder.parent / "ended.json"
    path.write_text(json.dumps(events.workflow_run(REPOSITORY, told).payload))
    return path


def commit_made(proposal: Proposal, text: str = NEW, told: Path | None = None, head: str = "") -> str:
    """`ml ci commit` of such a dvc.lock in a checkout of the base: the new commit."""
    made = proposal.folder.parent / "made"
    made.mkdir(exist_ok=True)
    (made / "dvc.lock").write_text(text)
    git(Path(), "fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*")
    git(Path(), "checkout", "--quiet", "--detach", "origin/main")
    proposal.output.write_text("")
    making.commit(made, told or event(proposal), head or proposal.pull["head"]["sha"])
    return proposal.outputs()["head"]


@pytest.mark.parametrize("branch", ["proposal", "a'b;$(touch${IFS}x)`y`", "-f", "\N{SNOWMAN}/main"])
def test_the_lock_comes_on_top_of_the_head_and_nothing_else_does(
    edited: Propose, place: Place, branch: str
) -> None:
    first = edited({"params.yaml": SEED, "docs/\N{LINE SEPARATOR}a.md": "x\n"}, "first")
    head = first.pull["head"]["sha"]
    git(place.origin, "update-ref", f"refs/heads/{branch}", head)
    pull = call(f"{first.api}/pulls", "POST", {"title": "x", "head": branch, "base": "main"})
    new = commit_made(replace(first, pull=pull))
    assert git(place.origin, "rev-parse", f"refs/heads/{branch}") == new
    assert git(place.origin, "diff", "--name-only", head, new) == "dvc.lock"
    assert git(place.origin, "rev-parse", f"{new}^") == head
    assert git(place.origin, "show", f"{new}:dvc.lock") == NEW.strip()
    assert public_of(content_of(new)) is None


def content_of(commit: str) -> bytes:
    return subprocess.run(["git", "cat-file", "commit", commit], capture_output=True, check=True).stdout


def test_it_is_signed_where_there_is_a_key_and_fits_then(
    edited: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    monkeypatch.setenv(VARIABLE, key)
    proposal = edited({"params.yaml": SEED})
    new = commit_made(proposal)
    assert Key.parse(key, VARIABLE).signed(content_of(new))
    made = replace(proposal, pull=proposal.now())
    assert made.pull["head"]["sha"] == new
    assert ask(made)["build"] == "false"  # nothing loops
    with pytest.raises(UserError, match=r"is not for the judge to build \(dvc\.lock fits\)"):
        commit_made(made)


def test_a_verdict_on_the_commit_that_the_judge_made_is_its_status(
    edited: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub starts no run for what GITHUB_TOKEN pushed: the run that made the commit speaks, and later ones
    take the candidate from it."""
    proposal = edited({"params.yaml": SEED})
    told = event(proposal)
    new = commit_made(proposal, told=told)
    made = replace(proposal, pull=proposal.now())
    made.leave(GOOD)
    number = made.run(candidate=False, path=runs.JUDGE, event="workflow_run")["id"]
    monkeypatch.setenv("GITHUB_RUN_ID", str(number))
    made.output.write_text("")
    status.run(told, made.folder, PROBLEM.contract, new)
    assert (made.status() or {})["description"] == "PASS: all 1 rules hold"
    assert (
        f"**The judge made `dvc.lock`** of this `params.yaml`, and committed it as `{new[:12]}`"
        in made.report()
    )
    label = made.label("ada")
    assert ask(made, label)["run"] == ""  # negative control: the run has left no candidate
    made.keep("candidate", number)
    assert ask(made, label)["run"] == str(number)


def test_without_a_verdict_on_it_the_status_says_so(edited: Propose) -> None:
    proposal = edited({"params.yaml": SEED})
    told = event(proposal)
    new = commit_made(proposal, told=told)
    status.run(told, proposal.folder, PROBLEM.contract, new)
    found = replace(proposal, pull=proposal.now()).status() or {}
    assert (found["state"], found["description"][:36]) == ("error", "no evidence: the gate did not end; s")


CRAFTED = LOCKS | {
    "a comment": "# see elsewhere\n" + NEW,
    "other values": canonical(lock("5", seed=9)),
    "a value less": canonical(lock("5", last="2013-05")),
    "other code": NEW.replace("6f1ed", "0f1ed"),
}


@pytest.mark.parametrize("text", CRAFTED.values(), ids=CRAFTED)
def test_a_lock_that_says_more_than_a_training_may_is_not_committed(
    edited: Propose, text: str, place: Place
) -> None:
    proposal = edited({"params.yaml": SEED})
    text = text.replace('"train.last": "2013-05"', '"train.seed": 8')
    with contextlib.suppress(YAMLError, AttributeError):
        text = text if "&" in text or text.startswith("#") else canonical(text)
    with pytest.raises(UserError, match=r"dvc\.lock") as refused:
        commit_made(proposal, text)
    assert ("is not written as DVC writes it" in str(refused.value)) == text.startswith("#")
    assert git(place.origin, "rev-parse", "proposal") == proposal.pull["head"]["sha"]


def test_a_link_in_its_place_is_not_followed(edited: Propose, tmp_path: Path) -> None:
    proposal = edited({"params.yaml": SEED})
    (tmp_path / "made").mkdir()
    (tmp_path / "made/dvc.lock").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text(NEW)
    with pytest.raises(UserError, match="is a link"):
        commit_made(proposal)


def test_a_branch_that_moved_on_keeps_what_it_has(edited: Propose, commit: Commit, place: Place) -> None:
    proposal = edited({"params.yaml": SEED})
    told, head = event(proposal), proposal.pull["head"]["sha"]
    newer = commit({"docs/a.md": "x\n"}, "proposal")
    with pytest.raises(UserError, match=r"did not take .* its newest commit is judged by a run of its own"):
        commit_made(proposal, told=told, head=head)
    assert git(place.origin, "rev-parse", "proposal") == newer


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"head_branch": "main"}, "the branch main is not a proposal's"),
        ({"head_branch": "environments"}, "the branch environments is not a proposal's"),
        ({"head_repository": {"full_name": "eve/flights"}}, "is not of .* on a branch of this repository"),
        ({"head_repository": None}, "is not of .* on a branch of this repository"),
        ({"head_sha": "1" * 40}, "is not of .* on a branch of this repository"),
    ],
    ids=str,
)
def test_nothing_is_written_for_another_branch_or_head(
    edited: Propose, change: dict[str, Any], said: str
) -> None:
    proposal = edited({"params.yaml": SEED})
    with pytest.raises(UserError, match=said):
        commit_made(proposal, told=event(proposal, **change))


def test_nothing_is_written_where_more_than_values_is_proposed(edited: Propose) -> None:
    """Whatever the job that asks GitHub said: the commit itself is looked at again."""
    proposal = edited({"params.yaml": SEED, "pipelines/core/stats.py": "x\n"})
    with pytest.raises(
        UserError, match=r"not for the judge to build \(dvc\.lock is not of this params\.yaml, and pip"
    ):
        commit_made(proposal)


# --- what the judge builds --------------------------------------------------------------------------------


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of a base, in which `ml reproduce` writes NEW."""
    for name, text in {"params.yaml": PARAMS, "dvc.lock": BASE, "data.dvc": data("1")}.items():
        (tmp_path / name).write_text(text)
    for name in ("models/model.onnx", "build/validation.json", "asked/params.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(SEED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(making, "_reproduce", lambda patience: (tmp_path / "dvc.lock").write_text(NEW))
    return tmp_path


def test_a_build_leaves_what_propose_would(training: Path) -> None:
    making.build(training / "asked", training / "out", PROBLEM)
    left = {
        str(path.relative_to(training / "out")) for path in (training / "out").rglob("*") if path.is_file()
    }
    assert left == {"models/model.onnx", "build/validation.json", "params.yaml", "dvc.lock", "data.dvc"}
    assert (training / "out/params.yaml").read_text() == SEED
    assert (training / "out/dvc.lock").read_text() == NEW


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SEED.replace("days: 28 #", "days: 7 #"), "changes more than training"),
        (SEED.replace("through: 2013-06", "through: 2013-07"), "changes more than training"),
        (SEED + "more: 1\n", "is not one that trains"),
        (SEED.replace("max_iter: 100", "max_iter: {__class__: x}"), "is not one that trains"),
        ("!!python/object/apply:os.system [touch x]\n", "is not one that trains"),
        ("a: &a [x]\nb: *a\n", "is not one that trains"),
    ],
    ids=["gate", "data", "unknown", "no setting", "code", "alias"],
)
def test_values_that_do_more_than_train_are_not_built(training: Path, text: str, said: str) -> None:
    (training / "asked/params.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        making.build(training / "asked", training / "out", PROBLEM)
    assert not (training / "x").exists() and (training / "params.yaml").read_text() == PARAMS


def test_a_training_that_does_not_end_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    real = programs.start

    def start(command: list[str], **options: Any) -> Any:
        child = "import subprocess; subprocess.run(['sleep', '600'])"
        started.append(real([sys.executable, "-c", child], **options))
        return started[-1]

    monkeypatch.setattr(programs, "start", start)
    with pytest.raises(UserError, match=r"no model comes of this params\.yaml within 1 s"):
        making._reproduce(1.0)
    waiting.until(lambda: not alive(started[0].pid))  # who was killed takes a moment to end


def alive(group: int) -> list[psutil.Process]:
    """The processes of a group that live, and are no zombies."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) == group and waiting.runs(process):
                found.append(process)
    return found


def test_a_training_that_fails_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no repository
    with pytest.raises(UserError, match="`ml reproduce` ended with 2, as said above"):
        making._reproduce(60.0)
