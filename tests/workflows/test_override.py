"""`gate:override`: what a maintainer's label lets through, for which commit; what others can do with it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UserError
from pipelines.local import act, events
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.review import comment, override
from tests.workflows.conftest import ROOT, Commit
from tests.workflows.proposal import BETTER, FAIL, PASS, UNSURE, Propose

INCONCLUSIVE = {"verdict": "INCONCLUSIVE", "findings": [UNSURE]}
LET_THROUGH = ("success", "INCONCLUSIVE, let through by ada: V has 7 days, not 28")
STAYS = ("failure", "INCONCLUSIVE: V has 7 days, not 28")


def gate(told: dict[str, str]) -> tuple[str, str]:
    return told["state"], told["sentence"]


@pytest.mark.parametrize("role", ["maintain", "admin"])
def test_a_maintainers_label_lets_an_inconclusive_proposal_through(propose: Propose, role: str) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", role)
    proposal.leave(INCONCLUSIVE)
    assert gate(proposal.judge()) == STAYS
    number = proposal.pull["number"]
    assert proposal.override(proposal.label("ada")) == ("success", f"#{number} is let through by ada")
    assert gate(proposal.comment()) == LET_THROUGH
    report = (proposal.folder / "report.md").read_text()
    assert report.startswith(f"> **Let through by ada**, for `{proposal.pull['head']['sha'][:12]}`")


def test_it_does_not_matter_whether_the_label_or_the_verdict_comes_first(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    proposal.leave(INCONCLUSIVE)
    assert gate(proposal.judge()) == LET_THROUGH


@pytest.mark.parametrize("role", ["triage", "read", "write"])
def test_a_label_from_anybody_else_is_refused_with_a_sentence(propose: Propose, role: str) -> None:
    proposal = propose(BETTER)
    proposal.role("eve", role)
    proposal.leave(INCONCLUSIVE)
    state, sentence = proposal.override(proposal.label("eve")) or ("", "")
    assert state == "failure"
    assert sentence.endswith("eve may not let it through: maintainers may")
    assert gate(proposal.judge()) == STAYS
    assert "does not let" in (proposal.folder / "report.md").read_text()


def test_a_role_of_the_organizations_own_counts_by_its_rights(
    propose: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = propose(BETTER)
    answer = {"permission": "write", "role_name": "release-captain", "user": {"permissions": {}}}
    real = override.GitHub.call

    def told(github: Any, method: str, path: str, *more: Any, **named: Any) -> Any:
        return answer if path.startswith("/collaborators/") else real(github, method, path, *more, **named)

    monkeypatch.setattr(override.GitHub, "call", told)
    assert (proposal.override(proposal.label("ada")) or "")[0] == "failure"
    proposal.unlabel("ada")
    answer["user"] = {"permissions": {"push": True, "maintain": True}}
    assert (proposal.override(proposal.label("ada")) or "")[0] == "success"


def test_a_bot_is_no_maintainer(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("helper[bot]", "admin")
    assert (proposal.override(proposal.label("helper[bot]")) or "")[0] == "failure"


@pytest.mark.parametrize("first", ["label", "verdict"])
def test_a_fail_stays_a_fail(propose: Propose, first: str) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "admin")
    proposal.leave({"verdict": "FAIL", "findings": [FAIL]})
    if first == "verdict":
        proposal.judge()
    proposal.override(proposal.label("ada"))
    assert gate(proposal.judge()) == ("failure", "FAIL: log-loss is worse by 0.02")
    assert "never for a FAIL" in (proposal.folder / "report.md").read_text()


def test_no_evidence_stays_an_error(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "admin")
    proposal.override(proposal.label("ada"))
    assert proposal.judge(conclusion="failure")["state"] == "error"


def test_a_later_push_is_not_let_through_by_the_label_of_before(propose: Propose, commit: Commit) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.leave(INCONCLUSIVE)
    event = proposal.label("ada")
    proposal.override(event)
    commit({"dvc.lock": "3\n"}, "proposal")
    assert gate(proposal.judge()) == STAYS
    assert proposal.override(event) is None  # its run, run again, still speaks of the old head
    assert gate(proposal.judge()) == STAYS
    proposal.override(proposal.unlabel("ada"))
    proposal.override(proposal.label("ada"))
    assert gate(proposal.judge()) == LET_THROUGH


def test_a_push_before_the_labels_run_has_ended_takes_nothing_from_it(
    propose: Propose, commit: Commit
) -> None:
    """The event names the head that it was given to; a slow run must not give it to another one."""
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    event = proposal.label("ada")
    commit({"dvc.lock": "3\n"}, "proposal")
    assert proposal.override(event) is None
    proposal.leave(INCONCLUSIVE)
    assert gate(proposal.judge()) == STAYS


def test_taking_the_label_away_takes_back_what_it_let_through(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.leave(INCONCLUSIVE)
    proposal.override(proposal.label("ada"))
    assert gate(proposal.judge()) == LET_THROUGH
    event = proposal.unlabel("eve")  # anybody's caution counts
    assert gate(proposal.comment()) == STAYS  # also while that event's run waits
    assert (proposal.override(event) or "")[0] == "failure"
    assert gate(proposal.comment()) == STAYS


def test_a_label_given_again_by_somebody_else_does_not_bring_it_back(propose: Propose) -> None:
    """Runs end in any order: the one of an older event writes nothing."""
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.role("eve", "triage")
    proposal.leave(INCONCLUSIVE)
    given = proposal.label("ada")
    withdrawn = proposal.unlabel("ada")
    again = proposal.label("eve")
    for event in (again, given, withdrawn, given):
        proposal.override(event)
    assert gate(proposal.judge()) == STAYS


@pytest.mark.parametrize("login", ["eve", "github-actions"])
def test_a_status_that_somebody_else_made_lets_nothing_through(propose: Propose, login: str) -> None:
    proposal = propose(BETTER)
    proposal.role("eve", "write")
    sha, number = proposal.pull["head"]["sha"], proposal.pull["number"]
    proposal.label("eve")
    forged = {
        "state": "success",
        "context": override.CONTEXT,
        "description": f"#{number} is let through by ada",
    }
    call(f"{proposal.api}/statuses/{sha}", "POST", forged, token=f"user:{login}")
    proposal.leave(INCONCLUSIVE)
    assert gate(proposal.judge()) == STAYS
    call(f"{proposal.api}/statuses/{sha}", "POST", forged)  # negative control: the bot's own counts
    assert gate(proposal.comment()) == LET_THROUGH


def test_a_status_of_somebody_else_takes_nothing_away_either(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    body = {"state": "failure", "context": override.CONTEXT, "description": "no"}
    call(f"{proposal.api}/statuses/{proposal.pull['head']['sha']}", "POST", body, token="user:eve")
    proposal.leave(INCONCLUSIVE)
    assert gate(proposal.judge()) == LET_THROUGH


def test_another_pull_request_with_the_same_head_is_not_let_through(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.role("eve", "triage")
    proposal.override(proposal.label("ada"))
    call(f"{proposal.api}/pulls/{proposal.pull['number']}", "PATCH", {"state": "closed"})
    again = call(f"{proposal.api}/pulls", "POST", {"title": "x", "head": "proposal", "base": "main"})
    other = type(proposal)(proposal.api, again, proposal.state, proposal.folder, proposal.output)
    other.label("eve")
    other.leave(INCONCLUSIVE)
    assert gate(other.judge()) == STAYS


def test_another_label_lets_nothing_through(propose: Propose, tmp_path: Path) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    with pytest.raises(UserError, match="only the label gate:override"):
        override.run(proposal.label("ada", "gate:overridden"))
    (tmp_path / "other.json").write_text(json.dumps({"action": "labeled"}))
    with pytest.raises(UserError, match=r"other\.json is not the payload"):
        override.run(tmp_path / "other.json")
    proposal.leave(INCONCLUSIVE)
    assert gate(proposal.judge()) == STAYS


@pytest.mark.parametrize(
    ("files", "gate_said", "sentence"),
    [
        (
            {"dvc.yaml": "x"},
            {"verdict": "PASS", "findings": [PASS]},
            "PASS, let through by ada: it touches the judge (dvc.yaml); all 1 rules hold",
        ),
        (
            {"dvc.yaml": "x"},
            INCONCLUSIVE,
            "INCONCLUSIVE, let through by ada: it touches the judge (dvc.yaml); V has 7 days, not 28",
        ),
        (
            {".github/workflows/ci.yml": "x"},
            None,
            "PASS, let through by ada: it touches the judge (.github/workflows/ci.yml); no model changed",
        ),
    ],
    ids=["PASS", "INCONCLUSIVE", "no model"],
)
def test_the_label_lets_through_what_touches_the_judge(
    propose: Propose, files: dict[str, str | None], gate_said: Any, sentence: str
) -> None:
    proposal = propose(BETTER | files if gate_said else files)
    proposal.role("ada", "maintain")
    if gate_said:
        proposal.leave(gate_said)
    assert proposal.judge()["state"] in ("pending", "failure")
    proposal.override(proposal.label("ada"))
    assert gate(proposal.comment()) == ("success", sentence)


def test_what_let_a_merged_proposal_through_stays_on_record(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    proposal.leave(INCONCLUSIVE)
    proposal.judge()
    sha = proposal.pull["head"]["sha"]
    call(f"{proposal.api}/pulls/{proposal.pull['number']}/merge", "PUT", {"sha": sha})
    assert (proposal.override(proposal.unlabel("eve")) or "")[0] == "success"


def test_an_override_that_a_pass_does_not_need_is_not_in_its_sentence(propose: Propose) -> None:
    proposal = propose(BETTER)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    proposal.leave({"verdict": "PASS", "findings": [PASS]})
    assert gate(proposal.judge()) == ("success", "PASS: all 1 rules hold")
    assert (proposal.folder / "report.md").read_text() == "# Report\n"
    assert comment.CONTEXT != override.CONTEXT


@pytest.mark.slow
def test_the_trusted_workflow_itself_lets_through_what_a_maintainer_labels(
    propose: Propose, commit: Commit, place: Place, tmp_path: Path
) -> None:
    """The real file, by act: a verdict first, then labels of a stranger and of a maintainer."""
    for name in (".github", "pipelines", "requirements"):
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, dirs_exist_ok=True)
    for name in ("pyproject.toml", "Makefile"):
        shutil.copyfile(ROOT / name, tmp_path / "clone" / name)
    commit({".gitignore": ".venv\n__pycache__/\n"})
    proposal = propose({"docs/a.md": "a\n", ".github/dependabot.yml": "x\n"})
    proposal.role("ada", "maintain")
    place = replace(place, api=proposal.api.split("/repos/")[0])

    def run(event: events.Event) -> tuple[dict[str, str], str]:
        done = act.run("comment", event, place)
        assert done.code == 0, done.log.read_text()
        status = proposal.status(comment.CONTEXT)
        return dict(done.jobs), status["state"] if status else "none"

    ended = events.workflow_run(place.repository, proposal.run())
    assert run(ended) == ({"override": "skipped", "comment": "success"}, "pending")
    for login, name, jobs, state in (
        ("ada", "bug", "skipped", "pending"),
        ("eve", override.LABEL, "success", "pending"),
        ("ada", override.LABEL, "success", "success"),
    ):
        if state == "success":
            proposal.unlabel("eve")
        proposal.label(login, name)
        pull = call(f"{proposal.api}/pulls/{proposal.pull['number']}")
        event = events.label(pull, "labeled", name, login)
        assert run(event) == ({"override": jobs, "comment": jobs}, state)
