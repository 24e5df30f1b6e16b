"""`ml comment` and `ml scope`: whose verdict counts, for which commit; what a hostile artifact cannot do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import verdict as verdicts
from pipelines.errors import UserError
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.review import comment, scope
from tests.workflows.conftest import Commit, git
from tests.workflows.proposal import BETTER, FAIL, PARAMS, PASS, UNSURE, Propose


@pytest.mark.parametrize(
    ("gate", "state", "sentence"),
    [
        ({"verdict": "PASS", "findings": [PASS, PASS]}, "success", "PASS: all 2 rules hold"),
        ({"verdict": "FAIL", "findings": [PASS, UNSURE, FAIL]}, "failure", "FAIL: log-loss is worse by 0.02"),
        ({"verdict": "INCONCLUSIVE", "findings": [UNSURE]}, "failure", "INCONCLUSIVE: V has 7 days, not 28"),
    ],
)
def test_the_verdict_becomes_the_status_of_the_head(
    propose: Propose, gate: Any, state: str, sentence: str
) -> None:
    proposal = propose(BETTER)
    proposal.leave(gate)
    told = proposal.judge()
    assert (told["state"], told["sentence"]) == (state, sentence)
    assert (told["number"], told["report"]) == (str(proposal.pull["number"]), "true")


def test_no_evidence_is_an_error_not_a_pass(propose: Propose) -> None:
    told = propose(BETTER).judge(conclusion="failure")
    assert told["state"] == "error" and "the run ended (failure) before the gate did" in told["sentence"]
    assert told["report"] == "false"


def test_no_model_changed_is_success_without_evidence(propose: Propose) -> None:
    told = propose({"README.md": "y\n", "docs/a/b.txt": "x\n"}).judge()
    assert (told["state"], told["sentence"], told["report"]) == ("success", "no model changed", "false")


def test_a_pull_request_without_files_is_not_one_without_a_model(propose: Propose) -> None:
    proposal = propose({})
    proposal.leave({"verdict": "PASS", "findings": [PASS]})
    assert proposal.judge()["state"] == "error"


@pytest.mark.parametrize(
    "files",
    [
        {".github/workflows/ci.yml": "x"},
        {"pipelines/review/rules.py": "x"},
        {"pipelines/stats.py": "a = 2\n"},
        {"pipelines/stats.py": None, "pipelines/sums.py": "a = 1\n" * 9},  # moved away
        {"dvc.yaml": "x"},
        {"pyproject.toml": "x"},
        {"requirements/train.txt": "x"},
        {"params.yaml": PARAMS.replace("days: 28", "days: 1")},
        {"params.yaml": "gate: [\n"},
        {"params.yaml": None},
    ],
    ids=lambda files: next(iter(files)),
)
def test_a_proposal_that_touches_the_judge_gets_no_success(
    propose: Propose, files: dict[str, str | None]
) -> None:
    proposal = propose(BETTER | files)
    proposal.leave({"verdict": "PASS", "findings": [PASS]})
    told = proposal.judge()
    assert told["state"] == "pending" and "a maintainer decides: it touches the judge (" in told["sentence"]
    proposal.leave({"verdict": "FAIL", "findings": [FAIL]})
    assert proposal.judge()["state"] == "failure"


HOSTILE = {
    "no JSON": "{",
    "deep JSON": "[" * 100_000,
    "a list": [],
    "another verdict": {"verdict": "SUCCESS", "findings": [PASS]},
    "a verdict of another type": {"verdict": ["PASS"], "findings": [PASS]},
    "no findings": {"verdict": "PASS"},
    "PASS without a finding": {"verdict": "PASS", "findings": []},
    "FAIL without its finding": {"verdict": "FAIL", "findings": [PASS]},
    "findings of text": {"verdict": "PASS", "findings": ["x"]},
    "a sentence of another type": {"verdict": "FAIL", "findings": [FAIL | {"sentence": 3}]},
    "too large": {"verdict": "PASS", "findings": [PASS], "more": "x" * verdicts.LARGEST},
}


@pytest.mark.parametrize("gate", HOSTILE.values(), ids=HOSTILE)
def test_an_artifact_of_the_wrong_shape_is_no_evidence(propose: Propose, gate: Any) -> None:
    proposal = propose(BETTER)
    proposal.leave(gate)
    told = proposal.judge()
    assert told["state"] == "error" and told["report"] == "false"
    assert "no evidence: the artifact is not a report" in told["sentence"]


def test_a_hostile_sentence_is_cut_and_cleaned(propose: Propose) -> None:
    proposal = propose(BETTER)
    sentence = "worse\n::set-output name=number::1\x1b[2J\u202e" + "x" * 500
    proposal.leave({"verdict": "FAIL", "findings": [FAIL | {"sentence": sentence}]})
    told = proposal.judge()
    assert len(told["sentence"]) == 140 and told["sentence"].isprintable()
    assert told["number"] == str(proposal.pull["number"])


def test_a_report_is_a_plain_file_of_a_comments_size_and_notifies_nobody(
    propose: Propose, tmp_path: Path
) -> None:
    proposal = propose(BETTER)
    gate = {"verdict": "PASS", "findings": [PASS]}
    proposal.leave(gate, "hello @everyone and @a/team \0 a @ b")
    assert proposal.judge()["report"] == "true"
    report = (proposal.folder / "report.md").read_text()
    assert "@e" not in report and "@a" not in report and "\0" not in report and "a @ b" in report
    proposal.leave(gate, "x" * (comment.REPORT_LIMIT + 1))
    assert proposal.judge()["state"] == "error"
    secret = tmp_path / "secret"
    secret.write_text("host's own")
    for link in (proposal.folder / "report.md", proposal.folder / "gate.json"):
        proposal.leave(gate)
        link.unlink()
        link.symlink_to(secret)
        assert re.search("is a link|is not a plain file", proposal.judge()["sentence"])
    proposal.leave(gate)
    (proposal.folder / "report.md").write_bytes(b"\xff\xfe")
    assert proposal.judge()["state"] == "error"


def test_the_artifact_cannot_name_the_pull_request(propose: Propose) -> None:
    other = propose({"README.md": "z\n"}, "other")
    proposal = propose(BETTER)
    proposal.leave({"verdict": "PASS", "findings": [PASS], "number": other.pull["number"]})
    assert proposal.judge()["number"] == str(proposal.pull["number"])
    assert call(f"{proposal.api}/commits/{other.pull['head']['sha']}/status")["total_count"] == 0


def test_a_head_that_moved_on_or_was_closed_gets_no_status(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    proposal.leave({"verdict": "PASS", "findings": [PASS]})
    proposal.run()
    commit({"dvc.lock": "3\n"}, "proposal")
    assert proposal.comment() == {}


def test_one_verdict_does_not_serve_two_pull_requests_nor_another_base(
    propose: Propose, commit: Commit
) -> None:
    commit({"dvc.lock": "easy\n"}, "easy")
    proposal = propose(BETTER, base="easy")
    proposal.leave({"verdict": "PASS", "findings": [PASS]})
    told = proposal.judge()
    assert told["state"] == "error" and "not for easy" in told["sentence"]
    call(f"{proposal.api}/pulls", "POST", {"title": "x", "head": "proposal", "base": "main"})
    told = proposal.judge()
    assert told["state"] == "error" and "have the same head" in told["sentence"]


def test_another_branch_with_the_same_head_is_another_proposal(propose: Propose, place: Place) -> None:
    proposal = propose(BETTER)
    git(place.origin, "branch", "twin", "proposal")
    proposal.leave({"verdict": "PASS", "findings": [PASS]})
    assert proposal.judge(head_branch="twin") == {}


@pytest.mark.parametrize(
    "change",
    [{"event": "push"}, {"path": ".github/workflows/ci.yml"}, {"head_sha": "main"}],
    ids=lambda change: next(iter(change)),
)
def test_only_runs_of_propose_for_a_pull_request_are_heard(propose: Propose, change: dict[str, str]) -> None:
    proposal = propose(BETTER)
    with pytest.raises(UserError, match="run 1: "):
        proposal.judge(**change)


def test_without_its_token_or_github_it_says_so(propose: Propose, monkeypatch: pytest.MonkeyPatch) -> None:
    proposal = propose(BETTER)
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="GitHub does not answer"):
        proposal.judge()
    monkeypatch.delenv("GITHUB_TOKEN")
    with pytest.raises(UserError, match="GITHUB_TOKEN is not set"):
        proposal.judge()


# --- ml scope ---------------------------------------------------------------------------------------------


@contextmanager
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GITHUB_OUTPUT", str(folder.parent / "out.txt"))
        patch.setenv("GITHUB_STEP_SUMMARY", str(folder.parent / "sum.txt"))
        yield folder.parent


@pytest.mark.parametrize(
    ("files", "model"),
    [
        ({"README.md": "y"}, False),
        ({"docs/x.png": "y", "tests/code/test_x.py": "", ".github/workflows/ci.yml": "y"}, False),
        ({"params.yaml": "y"}, True),
        ({"README.md": "y", "dvc.lock": "y"}, True),
        ({"something/new": "y"}, True),
        ({"docs": "y"}, True),
        ({"docs/moved.py": "a = 1\n" * 9, "pipelines/stats.py": None}, True),
    ],
)
def test_scope_says_whether_a_change_can_make_another_model(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, Any], model: bool
) -> None:
    base = commit({"pipelines/stats.py": "a = 1\n" * 9, "README.md": "x"})
    head = commit(files)
    with inside(tmp_path / "clone", monkeypatch) as told:
        assert scope.run(base, head) == 0
        commit_said = f"commit={head}\n" if model else ""
        assert (told / "out.txt").read_text() == f"model={str(model).lower()}\n{commit_said}"
        assert (told / "sum.txt").exists() is not model  # a run that does nothing says so


def test_scope_takes_an_unknown_base_for_a_change(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit({"README.md": "x"})
    with inside(tmp_path / "clone", monkeypatch) as told:
        scope.run("0" * 40, head)
        assert (told / "out.txt").read_text().startswith("model=true\n")
        with pytest.raises(UserError, match="git diff failed"):
            scope.run(head, "none")


def test_scope_names_the_commit_that_brought_the_model_though_others_came_after(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run of the merge was replaced by that of a later push of documentation, or it failed."""
    released = commit({"params.yaml": "a: 1\n"})
    commit({"params.yaml": "a: 2\n"}, "proposal")
    commit({"README.md": "in between"}, "proposal")
    clone = tmp_path / "clone"
    git(clone, "checkout", "--quiet", "main")
    git(clone, "merge", "--quiet", "--no-ff", "--message", "merge", "proposal")
    git(clone, "push", "--quiet", "origin", "main")
    merged = git(clone, "rev-parse", "HEAD")
    head = commit({"docs/a.md": "x"})
    with inside(clone, monkeypatch) as told:
        scope.run(released, head)
        assert (told / "out.txt").read_text() == f"model=true\ncommit={merged}\n"
        (told / "out.txt").unlink()
        scope.run(merged, head)
        assert (told / "out.txt").read_text() == "model=false\n"


def test_scope_takes_the_same_commit_for_a_run_that_is_run_again(
    commit: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit({"README.md": "x"})
    with inside(tmp_path / "clone", monkeypatch) as told:
        scope.run(head, head)
        assert (told / "out.txt").read_text() == f"model=true\ncommit={head}\n"
