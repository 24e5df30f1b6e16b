"""Files of a build that are not what the judge makes or the commit has: each is refused, and none is run."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.artifacts.verdict import Verdict
from pipelines.base import programs
from pipelines.judge import answers, beside, changes, contained, gate, retrain, rules
from pipelines.judge.proposal import InvalidProposal, differing
from tests.model import proposals
from tests.model.proposals import (
    PARAMS,
    Made,
    commit,
    git,
    judge,
    proposed,
    refused,
    whole,
)
from tests.problems.parcels import PROBLEM

# --- what stands beside the model -------------------------------------------------------------------------


def by_hand(made: Made, name: str, change: Callable[[Any], object]) -> Made:
    """One file beside the model edited by hand, and dvc.lock with it."""
    files = copy.deepcopy(made.beside)
    change(files[name])
    return replace(made, beside=files)


EDITS = {
    "a golden answer": ("golden.json", lambda v: v["p"].__setitem__(3, v["p"][3] + 0.01)),
    "a golden request": ("golden.json", lambda v: v["rows"][3].update(distance=1.0)),
    "fewer golden rows": ("golden.json", lambda v: (v["rows"].pop(), v["p"].pop())),
    "drift that is never seen": ("reference.json", lambda v: v["features"][0].update(threshold=99.0)),
    "another training's rate": ("reference.json", lambda v: v.update(label_rate=0.5)),
    "a skill that excuses any": ("reference.json", lambda v: v["brier_skill"][0].update(brier_skill=-5.0)),
    "bins as text": ("reference.json", lambda v: v["features"][0].update(edges="none")),
    "another threshold": ("serving.json", lambda v: v.update(threshold=0.99)),
    "another interface": ("serving.json", lambda v: v.update(api=99)),
    "better figures": ("metrics.json", lambda v: v.update(roc_auc=0.99)),
    "a better month": ("months.csv", lambda v: v[2].__setitem__(4, "0.99")),
    "other settings": ("model.json", lambda v: v["settings"].update(max_iter=1)),
    "one field more": ("model.json", lambda v: v.update(more=1)),
}
MISFITS = {"bins as text": "features.0.edges: ", "one field more": "more: "}


@pytest.mark.parametrize("edit", ["a golden answer", "drift that is never seen"])
def test_a_file_beside_the_model_that_was_edited_by_hand_fails(edit, honest, judged) -> None:
    """The model is the honest one, and so would pass."""
    name, change = EDITS[edit]
    verdict, findings = judged(by_hand(honest, f"models/{name}", change))
    assert verdict == "FAIL" and refused(findings) == {"beside"}
    assert f"models/{name} is not what params.yaml and this code give (" in findings["beside"]["sentence"]


def test_what_a_proposal_s_own_code_makes_beside_the_model_is_its_word_and_is_said(honest, judged) -> None:
    """A proposal that measures more would else fail for ever."""
    name, change = EDITS["one field more"]
    made = by_hand(honest, f"models/{name}", change)
    verdict, findings = judged(made, code=("pipelines/training/evaluate.py",))
    assert verdict == "PASS" and findings["beside"]["warning"]
    assert "Trained again by the judge" in findings["reproducible"]["sentence"]
    assert "evaluate.py: what ships beside the model is its own word" in findings["beside"]["sentence"]


@pytest.mark.parametrize("edit", EDITS)
def test_each_edit_of_a_file_beside_the_model_is_named(edit, honest, tmp_path) -> None:
    name, change = EDITS[edit]
    assert differing(honest.write(tmp_path / "honest"), honest.beside) is None
    edited = by_hand(honest, f"models/{name}", change).write(tmp_path / "edited")
    if edit in MISFITS:
        with pytest.raises(InvalidProposal, match=rf"^models/{name} is not what .* writes \({MISFITS[edit]}"):
            differing(edited, honest.beside)
        return
    assert str(differing(edited, honest.beside)).startswith(f"models/{name} is not what params.yaml and this")


class Endless(dict[str, Any]):
    """What nobody may walk through: a stranger's file may be deep and wide."""

    def items(self) -> Any:
        raise AssertionError("it was walked through")

    values = __iter__ = items


def test_what_only_a_stranger_s_file_has_is_not_walked_through() -> None:
    assert beside.difference({"a": Endless()}, {"a": 1}, "x") == "a is a Endless of 0, not 1"
    assert beside.difference({"a": 1, "b": Endless()}, {"a": 1}, "x") == "b is new"
    assert beside.difference([[Endless()] * 9], [[1]], "x") == "[0] has 9 entries, not 1"


def test_what_another_processor_rounds_is_no_edit(honest, tmp_path) -> None:
    def round_otherwise(value: Any, by: float) -> None:
        value["p"][:] = [p + by for p in value["p"]]

    for by, same in ((3e-7, True), (3e-6, False)):
        made = by_hand(honest, "models/golden.json", lambda value, by=by: round_otherwise(value, by))
        assert (differing(made.write(tmp_path / f"{by}"), honest.beside) is None) == same


@pytest.mark.parametrize("content", ["", "[1]", "{" * 9999, "[" * 99999, '{"p": 1e999, "rows": []}', "\0"])
@pytest.mark.parametrize("name", ["golden.json", "model.json", "months.csv"])
def test_a_file_beside_the_model_that_is_none_is_named(name, content, honest, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate")
    (candidate / "models" / name).write_text(content)
    try:
        said = differing(candidate, honest.beside)
    except InvalidProposal as error:
        said = str(error)
    assert said is not None and said.startswith(f"models/{name} ")


def test_a_file_beside_the_model_that_is_not_left_fails(honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    (candidate / "models/reference.json").unlink()
    assert "models/reference.json is not there" in judge(candidate, base, code=())[1]["beside"]["sentence"]


@pytest.mark.parametrize("name", ["golden.json", "window.parquet"])
def test_a_lock_that_names_another_file_beside_the_model_than_was_judged_fails(
    name, honest, base, window, tmp_path
) -> None:
    """A release may find the other one in the DVC remote."""
    candidate = honest.write(tmp_path / "candidate", window)
    relock(candidate, f"models/{name}", md5="0" * 32)
    verdict, findings, _ = judge(candidate, base, code=())
    assert verdict == "FAIL" and f"dvc.lock names another models/{name}" in findings["lock"]["sentence"]


def test_the_champions_own_model_does_not_cover_another_file_beside_it(
    fitted, table, window, rows, tmp_path
) -> None:
    champion = whole(Made(fitted().model, PARAMS, rows=rows), table)
    base = commit(champion.write(tmp_path / "base"))
    same = champion.write(tmp_path / "same/candidate", window)
    assert judge(same, base, code=())[1].keys() == {"unchanged"}
    other = by_hand(champion, "models/serving.json", lambda value: value.update(threshold=0.99))
    candidate = other.write(tmp_path / "other/candidate", window)
    verdict, findings, _ = judge(candidate, base, code=())
    assert verdict == "FAIL" and "beside" in refused(findings)


def relock(candidate: Path, name: str, md5: str) -> None:
    """Let dvc.lock name this object for a file beside the model."""
    lock = yaml.safe_load((candidate / "dvc.lock").read_text())
    outs = lock["stages"]["train"]["outs"]
    outs[:] = [out for out in outs if out["path"] != name]
    outs.append({"path": name, "md5": md5})
    (candidate / "dvc.lock").write_text(yaml.safe_dump(lock))


# --- the commit, and not what a build says of it ------------------------------------------------------------


def link(base: Path, name: str, target: str) -> str:
    """A commit upon the base's in which a file is a link."""
    before = git(base, "rev-parse", "HEAD")
    (base / name).unlink(missing_ok=True)
    (base / name).symlink_to(target)
    git(base, "add", "--all")
    git(base, "commit", "--quiet", "-m", "a link")
    head = git(base, "rev-parse", "HEAD")
    git(base, "reset", "--quiet", "--hard", before)
    return head


def word(candidate: Path, base: Path, head: str) -> Verdict:
    gate.run(candidate, base, PROBLEM, candidate.parent / "evidence", head=head)
    return Verdict.read(candidate.parent / "evidence")


def test_params_yaml_as_a_link_fails_in_the_commit_and_in_the_build(honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    found = word(candidate, base, link(base, "params.yaml", "models/params.yaml"))
    assert found.verdict == "FAIL" and "params.yaml is a link" in found.reason
    head = proposed(base, candidate)
    (candidate / "params.yaml").rename(candidate / "other.yaml")
    (candidate / "params.yaml").symlink_to("other.yaml")
    found = word(candidate, base, head)
    assert found.verdict == "FAIL" and "params.yaml is a link" in found.reason


@pytest.mark.parametrize("name", ["params.yaml", "dvc.lock"])
def test_a_build_that_shows_another_file_than_the_commit_has_fails(
    name, honest, base, window, tmp_path
) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    head = proposed(base, candidate)
    (candidate / name).write_text((candidate / name).read_text() + "\n# another\n")
    found = word(candidate, base, head)
    assert found.verdict == "FAIL" and f"{name} of the build is not the one" in found.reason


def test_a_branch_that_lacks_the_bases_training_code_waits(honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    head = proposed(base, candidate)
    (base / "pipelines/training").mkdir(parents=True)
    (base / "pipelines/training/train.py").write_text("# of the base, since the branch began\n")
    git(base, "add", "--all")
    git(base, "commit", "--quiet", "-m", "the base moves on")
    found = word(candidate, base, head)
    assert found.verdict == "INCONCLUSIVE" and "lacks what the base branch changed" in found.reason


def test_a_commit_that_is_not_at_hand_never_passes(honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    found = word(candidate, base, "0" * 40)
    assert found.verdict == "INCONCLUSIVE" and "is not to be had here" in found.reason


# --- files that would run, or lead elsewhere ----------------------------------------------------------------


def test_no_file_of_a_candidate_is_imported_or_unpickled(honest, base, window, tmp_path) -> None:
    """Each of these would leave a mark if anything ran it."""
    candidate, mark = honest.write(tmp_path / "candidate", window), tmp_path / "mark"
    run = f"open({str(mark)!r}, 'w')\n"
    for name in (
        "conftest.py",
        "sitecustomize.py",
        "usercustomize.py",
        "setup.py",
        "evil.pth",
        "pipelines/__init__.py",
        "pipelines/judge.py",
        "pipelines/problem/rules/__init__.py",
        "numpy/__init__.py",
        "onnxruntime.py",
    ):
        (candidate / name).parent.mkdir(parents=True, exist_ok=True)
        (candidate / name).write_text(f"import os; {run}" if name.endswith(".pth") else run)
    (candidate / "Makefile").write_text(f"$(shell touch {mark})\n")
    verdict, _, _ = judge(candidate, base, code=())
    assert verdict == "PASS" and not mark.exists()
    exec(run)  # what would have been
    assert mark.exists()


def test_the_judges_own_code_is_the_checkouts() -> None:

    for module in (gate, rules, answers, changes, contained, retrain):
        assert Path(str(module.__file__)).is_relative_to(programs.CODE)


@pytest.mark.parametrize("fields", [{"path": "../victim"}, {"path": ".git/config"}, {"md5": "../" * 11}])
def test_a_lock_that_leads_out_of_the_repository_fails(fields, honest, base, window, tmp_path) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    lock = yaml.safe_load((candidate / "dvc.lock").read_text())
    lock["stages"]["train"]["outs"].append({"path": "models/more", "md5": "0" * 32})
    (candidate / "dvc.lock").write_text(yaml.safe_dump(lock))
    assert word(candidate, base, proposed(base, candidate)).verdict == "PASS"
    lock["stages"]["train"]["outs"][-1] |= fields
    (candidate / "dvc.lock").write_text(yaml.safe_dump(lock))
    found = word(candidate, base, proposed(base, candidate))
    assert found.verdict == "FAIL" and "dvc.lock: stages.train.outs." in found.reason


def test_a_data_dvc_that_tracks_other_folders_fails(honest, base, window, tmp_path, monkeypatch) -> None:
    candidate = honest.write(tmp_path / "candidate", window)
    monkeypatch.setattr(proposals, "OTHER_DATA", f"outs:\n- md5: {'a' * 32}.dir\n  path: ../victim\n")
    found = word(candidate, base, proposed(base, candidate, "data.dvc"))
    assert found.verdict == "FAIL" and "data.dvc: outs.path is '../victim'" in found.reason
