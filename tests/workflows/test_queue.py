"""A merge queue: what it is about to merge is built and judged as it will be, onto the default branch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import read_json
from pipelines.local import act, events
from pipelines.local.act import Place, Run
from pipelines.local.forge import Forge
from pipelines.local.github import call
from pipelines.local.rules import Rules
from pipelines.pulls import runs, status
from pipelines.pulls.proposals import GATE
from tests.problems.parcels import PROBLEM
from tests.workflows.conftest import Commit, git
from tests.workflows.proposal import BETTER, GOOD, PARAMS, REPOSITORY, UNDECIDED, Proposal, Propose, lock
from tests.workflows.test_judge import whole  # noqa: F401 (a fixture)

PAGE: dict[str, str | None] = {"docs/a.md": "x\n"}


@pytest.fixture
def ruled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ruleset of `main` has a merge queue."""
    monkeypatch.setattr(Forge, "rules", property(lambda forge: Rules(queue=True, strict=False)))


@pytest.fixture
def queue(ruled: None, propose: Propose) -> Propose:
    """`propose` where `main` has a merge queue; what is proposed may join it."""

    def put(files: dict[str, str | None], branch: str = "proposal", base: str = "main") -> Proposal:
        made = propose(files, branch, base)
        state = {"state": "success", "context": GATE}
        call(f"{made.api}/statuses/{made.pull['head']['sha']}", "POST", state)
        return made

    return put


def join(proposal: Proposal, **changes: Any) -> tuple[dict[str, Any], Path]:
    """Its group, and the event that the run of `propose` for that has ended."""
    group = call(f"{proposal.api}/pulls/{proposal.pull['number']}/queue", "PUT")
    number = 1 + max((int(path.name) for path in proposal.state.glob("runs/*")), default=0)
    event = events.merge_group(REPOSITORY, group)
    told = Run(number, "propose", runs.PROPOSE, event, 0, {}, "", Path()).as_json(REPOSITORY) | changes
    (proposal.state / f"runs/{number}").mkdir(parents=True)
    (proposal.state / f"runs/{number}/run.json").write_text(json.dumps(told))
    proposal.keep("candidate", number)
    path = proposal.folder.parent / f"group-{number}.json"
    path.write_text(json.dumps(events.workflow_run(REPOSITORY, told).payload))
    return group, path


def ask(proposal: Proposal, event: Path) -> dict[str, str]:
    proposal.output.write_text("")
    runs.of_event(event)
    return proposal.outputs()


def speak(proposal: Proposal, group: dict[str, Any], event: Path, gate: Any = None) -> tuple[str, str]:
    """State and sentence of the group's commit, after the gate said `gate` of it."""
    if gate is not None:
        proposal.leave(gate, head=group["head_sha"], base=proposal.tip())
    proposal.output.write_text("")
    status.run(event, proposal.folder, PROBLEM.contract)
    found = call(f"{proposal.api}/commits/{group['head_sha']}/status")["statuses"]
    return next(((one["state"], one["description"]) for one in found if one["context"] == GATE), ("none", ""))


def merge(proposal: Proposal) -> dict[str, Any]:
    return dict(call(f"{proposal.api}/pulls/{proposal.pull['number']}/queue/merge", "PUT"))


def test_a_group_is_judged_by_itself_and_merges_with_its_own_status(queue: Propose, place: Place) -> None:
    proposal = queue(BETTER)
    group, event = join(proposal)
    assert (
        group["head_ref"]
        == f"refs/heads/gh-readonly-queue/main/pr-{proposal.pull['number']}-{proposal.tip()}"
    )
    found = ask(proposal, event)
    assert (found["run"], found["head"], found["base"]) == ("1", group["head_sha"], proposal.tip())
    with pytest.raises(UserError, match=f'405 .*"{GATE}" is expected'):
        merge(proposal)  # the pull request's own status is not the group's
    assert speak(proposal, group, event, UNDECIDED)[0] == "failure"
    with pytest.raises(UserError, match=f'405 .*"{GATE}" is failure'):
        merge(proposal)
    assert speak(proposal, group, event, GOOD) == ("success", "PASS: all 1 rules hold")
    assert proposal.outputs() == {"number": "", "report": "true"}  # kept for the release, posted nowhere
    assert merge(proposal)["sha"] == group["head_sha"] == git(place.origin, "rev-parse", "main")
    assert proposal.now()["merge_commit_sha"] == group["head_sha"] and proposal.now()["merged"]


def test_a_verdict_of_the_pull_request_is_none_of_the_group(queue: Propose) -> None:
    proposal = queue(BETTER)
    group, event = join(proposal)
    proposal.leave(GOOD)  # of its head
    assert speak(proposal, group, event)[0] == "pending"


def test_without_a_build_of_the_group_there_is_no_evidence(queue: Propose) -> None:
    proposal = queue(BETTER)
    group, event = join(proposal, conclusion="failure")
    (proposal.state / "artifacts/1/candidate").rmdir()
    assert ask(proposal, event)["run"] == ""
    assert speak(proposal, group, event)[0] == "error"


def test_two_models_in_a_row_are_not_both_judged_against_the_same_champion(queue: Propose) -> None:
    first, second = queue(BETTER), queue({"params.yaml": PARAMS.replace("trials: 30", "trials: 9")}, "second")
    ahead, behind = join(first), join(second)
    assert behind[0]["base_sha"] == ahead[0]["head_sha"]
    assert ask(second, behind[1])["run"] == ""
    said = "the group before it changes the model: add it to the queue again when that is merged"
    assert speak(second, *behind, GOOD) == ("failure", said)
    with pytest.raises(UserError, match="is before it in the queue"):
        merge(second)
    assert speak(first, *ahead, GOOD)[0] == "success"
    merge(first)
    call(f"{second.api}/pulls/{second.pull['number']}/queue", "DELETE")
    again = join(second)  # it is the first now
    assert ask(second, again[1])["run"] == "3"
    assert speak(second, *again, GOOD)[0] == "success"


def test_a_model_behind_pages_is_judged_and_pages_behind_a_model_wait_for_it(queue: Propose) -> None:
    pages, model, more = queue(PAGE), queue(BETTER, "model"), queue({"docs/b.md": "x\n"}, "more")
    first, second, third = join(pages), join(model), join(more)
    assert speak(pages, *first) == ("success", "no model changed")
    assert ask(model, second[1])["base"] == model.tip()
    assert speak(model, *second, GOOD)[0] == "success"
    (model.folder / "gate.json").unlink()
    assert speak(more, *third)[0] == "failure"  # a queue may ask of the newest group alone
    assert [merge(one)["merged"] for one in (pages, model)] == [True] * 2
    call(f"{more.api}/pulls/{more.pull['number']}/queue", "DELETE")
    assert speak(more, *join(more)) == ("success", "no model changed")
    assert merge(more)["merged"]


def test_a_group_that_the_queue_made_anew_gets_no_status(queue: Propose) -> None:
    proposal = queue(BETTER)
    group, event = join(proposal)
    call(f"{proposal.api}/pulls/{proposal.pull['number']}/queue", "DELETE")
    assert ask(proposal, event) == {"run": "", "build": "false", "head": "", "base": ""}
    assert speak(proposal, group, event, GOOD) == ("none", "")


def test_a_base_that_moved_on_past_the_queue_leaves_no_success(queue: Propose, commit: Commit) -> None:
    proposal = queue(BETTER)
    group, event = join(proposal)
    proposal.leave(GOOD, head=group["head_sha"], base=proposal.tip())
    commit({"docs/o.md": "x\n"})
    assert speak(proposal, group, event)[0] != "success"


def test_a_maintainers_word_counts_for_what_it_was_given_to(queue: Propose, commit: Commit) -> None:
    """Code in a group: the label was given to the pull request's head, onto what the group merged it into."""
    proposal = queue(BETTER | {"pipelines/core/stats.py": "b = 1\n"})
    group, event = join(proposal)
    waits = "a maintainer decides: it changes pipelines/core/stats.py; PASS: all 1 rules hold"
    assert speak(proposal, group, event, GOOD) == ("pending", waits)
    proposal.role("ada", "maintain")
    proposal.override(proposal.label("ada"))
    state, said = speak(proposal, group, event, GOOD)
    assert state == "success" and said.startswith("PASS, let through by ada")
    call(f"{proposal.api}/pulls/{proposal.pull['number']}/queue", "DELETE")
    commit({"docs/o.md": "x\n"})  # another base: the word was not for that
    group, event = join(proposal)
    assert speak(proposal, group, event, GOOD)[0] == "pending"


def test_values_without_their_lock_are_not_built_in_a_queue(queue: Propose) -> None:
    proposal = queue({"params.yaml": PARAMS.replace("seed: 7", "seed: 8"), "dvc.lock": lock("2", seed=7)})
    group, event = join(proposal, conclusion="failure")
    (proposal.state / "artifacts/1/candidate").rmdir()
    assert ask(proposal, event)["build"] == "false"
    assert "this is a merge queue's group: run `ml reproduce`" in speak(proposal, group, event)[1]


def test_a_forks_branch_of_that_name_is_a_branch(queue: Propose, commit: Commit, place: Place) -> None:
    api = queue(PAGE, "here").api
    sha, name = commit(BETTER, "theirs"), f"gh-readonly-queue/main/pr-1-{'1' * 40}"
    git(place.origin, "update-ref", f"refs/forks/eve/{name}", sha)
    body = {"title": "x", "head": f"eve:{name}", "base": "main"}
    pull = call(f"{api}/pulls", "POST", body, "user:eve")
    folder = place.state.parent
    proposal = Proposal(api, pull, place.state, folder / "evidence", folder / "output")
    found = ask(proposal, proposal.ended(proposal.run()))
    assert (found["run"], found["head"]) == ("1", sha)  # judged as any pull request


def test_no_pull_request_passes_the_queue_by(queue: Propose) -> None:
    proposal = queue(PAGE)
    with pytest.raises(UserError, match="Changes must be made through the merge queue"):
        call(f"{proposal.api}/pulls/{proposal.pull['number']}/merge", "PUT", {})


def test_without_the_rule_there_is_no_queue(propose: Propose) -> None:
    proposal = propose(PAGE)
    with pytest.raises(UserError, match="422 This branch has no merge queue"):
        join(proposal)


def test_the_release_finds_the_run_that_judged_the_group(
    queue: Propose, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = queue(BETTER)
    group, event = join(proposal)
    told = proposal.run(candidate=False, path=runs.JUDGE, event="workflow_run")
    monkeypatch.setenv("GITHUB_RUN_ID", str(told["id"]))
    proposal.keep("report", told["id"])
    assert speak(proposal, group, event, GOOD)[0] == "success"
    out = proposal.folder.parent / "build"
    proposal.output.write_text("")
    runs.of_commit(merge(proposal)["sha"], out)
    assert proposal.outputs() == {"run": str(told["id"]), "report": "true"}
    assert read_json(out / "proposal.json")["number"] == proposal.pull["number"]


@pytest.mark.slow
def test_the_workflows_themselves_hear_of_a_group(ruled: None, whole: Propose, place: Place) -> None:  # noqa: F811
    proposal = whole(PAGE)
    place = replace(place, api=proposal.api.split("/repos/")[0])
    state = {"state": "success", "context": GATE}
    call(f"{proposal.api}/statuses/{proposal.pull['head']['sha']}", "POST", state)
    group = call(f"{proposal.api}/pulls/{proposal.pull['number']}/queue", "PUT")
    built = act.run("propose", events.merge_group(REPOSITORY, group), place)
    assert built.code == 0 and built.as_json(REPOSITORY)["event"] == "merge_group", built.log.read_text()
    judged = act.run("judge", events.workflow_run(REPOSITORY, built.as_json(REPOSITORY)), place)
    assert {job for job, result in judged.jobs.items() if result == "success"} == {"find", "status"}
    assert merge(proposal)["sha"] == group["head_sha"]
