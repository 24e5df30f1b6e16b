"""Which bytes ship: the reviewed ones where they are to be had, else others that answer the same.

A processor rounds in its own way, so the same inputs may give another model.onnx than dvc.lock names. The
judged run's file of the locked MD5 takes its place; where there is none, what was made here ships only if it
answers as the judged model does. Both hashes are recorded."""

import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts.release import Other
from pipelines.artifacts.verdict import Verdict
from pipelines.base import git, recorded
from pipelines.base.console import output, step
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import sha256, sha256_of_tree, write_bytes
from pipelines.core import params, tables, tasks
from pipelines.core.contract import Contract
from pipelines.core.model import Model
from pipelines.core.problem import Problem
from pipelines.judge import proposal
from pipelines.judge.evidence import SAME
from pipelines.release import commit
from pipelines.training import reproduce, table, train

MODEL = "models/model.onnx"
WINDOW = "models/window.parquet"  # the test window
REVIEW = Path("evidence")  # the report of the proposal, where a workflow has brought it here
REBUILT = "rebuilt.onnx"  # what a job that trains leaves
CANDIDATE = Path("candidate")  # what was judged, as the proposal's run left it


def take(here: Path, trained: Path | None = None, digest: str = "") -> None:
    """Put the models of this commit into models/: the locked bytes, else the judged, else those made.

    `trained` is what `ml ci rebuild` left on another machine, `digest` its SHA-256. dvc.lock stays the
    commit's. UserError where `trained` is another one, and where the models are not of this commit's inputs.
    """
    if trained and sha256_of_tree(trained) != digest:
        raise UserError(f"{trained} is not what was trained: its SHA-256 is not {digest or 'given'}")
    made_by = (trained or here) / commit.LOCK
    try:
        made = recorded.stages(made_by.read_bytes())
    except OSError:
        raise UserError(f"{made_by} is not one that DVC wrote: {commit.WAY_OUT}") from None
    wanted = recorded.stages(committed := commit.locked(here))
    if changed := ", ".join(reproduce.compare({"stages": wanted}, {"stages": made}).inputs[:4]):
        wrong = f"{made_by} is not of this commit's inputs ({changed})"
        raise UserError(f"{wrong}, and a release is a commit: {commit.WAY_OUT}")
    if trained:
        for name, md5 in _files(made).items():
            _put(trained / name, md5, here / name)
    for name, md5 in _files(wanted).items():
        _put(here / CANDIDATE / name, md5, here / name)
    also = dict(recorded.files(made))
    if _md5(here / MODEL) != _files(wanted).get(MODEL):
        with contextlib.suppress(UserError):  # a report that is no report takes no model in
            if file := _judged_file(here, Verdict.read(here / REVIEW)):
                _put(here / CANDIDATE / MODEL, file, here / MODEL)
                also[MODEL] = file
    commit.check_models(here, also, prepared=trained is None)
    if made != wanted and trained is None:
        step(f"the same inputs gave other bytes than {commit.LOCK} names; it stays as the commit has it")
        write_bytes(here / commit.LOCK, committed)


def _put(source: Path, md5: str, target: Path) -> None:
    """Copy a file that has this MD5, unless it is there already."""
    if _md5(source) == md5 != _md5(target):
        write_bytes(target, source.read_bytes())


def _md5(path: Path) -> str | None:
    return None if path.is_symlink() or not path.is_file() else recorded.md5(path)


def _judged_file(here: Path, verdict: Verdict) -> str | None:
    """The MD5 of the candidate's model, where it is the very file that was judged."""
    file = here / CANDIDATE / MODEL
    if verdict.candidate is None or (md5 := _md5(file)) is None:
        return None
    return md5 if sha256(file) == verdict.candidate.sha256 else None


def judged(here: Path, verdict: Verdict, contract: Contract) -> Other | None:
    """The model that the gate judged. Refused where it is another one than ships and answers otherwise.

    None where the verdict names no model: none was judged, or none changed, which is held against dvc.lock.
    """
    if verdict.candidate is None:
        _require_unchanged(here, verdict)
        return None
    named, ships, file = verdict.candidate.sha256, sha256(here / MODEL), here / CANDIDATE / MODEL
    if named == ships:
        return Other(sha256=named, max_dp=0.0)
    said = f"{REVIEW}/{Verdict.NAME} judged another model ({named[:12]}) than ships ({ships[:12]})"
    if _judged_file(here, verdict) is None:
        raise Refused(f"{said}, and {CANDIDATE}/{MODEL} is not the judged one: propose this commit again")
    if _md5(here / WINDOW) != _files(recorded.stages(commit.locked(here))).get(WINDOW):
        raise Refused(f"{said}, and {WINDOW} is not the one of {commit.LOCK}: propose this commit again")
    max_dp = _difference(here, Model(file, task := tasks.of(contract)), contract)
    if not max_dp <= SAME:
        found = f"max |{task.delta}| on the test window is {max_dp:.2g}, at most {SAME:g} passes"
        raise Refused(f"{said}, which answers otherwise ({found}): propose this commit again")
    step(f"it has other bytes than the judged model ({named[:12]}) and answers as it does")
    return Other(sha256=named, max_dp=max_dp)


def _require_unchanged(here: Path, verdict: Verdict) -> None:
    """Refused where the gate passed a proposal that changed no model, and what ships is another one.

    What was judged then is nothing: it speaks for no model but the one that was there, by the dvc.lock of the
    base that was judged against, or of the commit that this one was merged onto."""
    if verdict.verdict != "PASS":
        return  # nothing was judged, and nothing is claimed
    now = proposal.shipped(recorded.files(recorded.stages(commit.locked(here))))
    bases = [base for base in (verdict.base, "HEAD~1") if base and git.commit(base, here)]
    locks = [found for base in bases if (found := git.blob(base, commit.LOCK, here)) is not None]
    if not any(proposal.shipped(recorded.files(recorded.stages(lock))) == now for lock in locks):
        raise Refused(
            f"{REVIEW}/{Verdict.NAME} says that no model changed, and {commit.LOCK} names another model "
            f"than the base did ({(verdict.base or 'none')[:12]}): propose this commit again"
        )


def rebuilt(here: Path, problem: Problem, trained: Path | None = None) -> Other:
    """The model made again from its lock and seed. Refused where it answers otherwise on the test window."""
    content = (trained / REBUILT).read_bytes() if trained else _again(here, problem)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(content)
        max_dp = _difference(here, Model(path, problem.task), problem.contract)
    rows = f"{len(tables.read(here / WINDOW)):,} rows"
    found = f"max |{problem.task.delta}| is {max_dp:.2g} on the test window's {rows}"
    if not max_dp <= SAME:
        why = f"the model rebuilt from them answers otherwise ({found}; at most {SAME:g} passes)"
        raise Refused(f"{MODEL} is not what {commit.LOCK} and its seed give: {why}")
    step(f"it answers as the reviewed one: {found}")
    return Other(sha256=hashlib.sha256(content).hexdigest(), max_dp=max_dp)


def _again(here: Path, problem: Problem) -> bytes:
    """The model as ONNX, fitted again on the prepared data."""
    step("rebuilding the model from its lock and seed")
    return train.fit(
        problem.task.suited(params.load(here / "params.yaml")), table.load(here / table.PREPARED), problem
    )


def _difference(here: Path, other: Model, contract: Contract) -> float:
    """The largest difference on the test window of the model that ships and another; NaN without rows."""
    inputs = table.inputs(window := tables.read(here / WINDOW), contract)
    if window.empty:
        return float("nan")
    ships = Model(here / MODEL, other.task).predict(inputs)
    return float(other.task.difference(ships, other.predict(inputs)).max())


def leave(out: Path, problem: Problem) -> None:
    """`ml ci rebuild`: write into `out` the rebuilt model, models/ and the dvc.lock that says how they were
    made. Training runs a team's code, so on GitHub its job can write nothing, and leaves this to the job that
    releases, which trains nothing.

    Writes `sha256`, that of the whole folder, to the step's outputs. UserError where `out` exists, or where
    dvc.lock names what it may not."""
    here = Path()
    locked = (here / commit.LOCK).read_bytes()
    made = _files(recorded.stages(locked, at=here))
    if out.exists():
        raise UserError(f"{out} exists already: name another folder, or remove it")
    write_bytes(out / REBUILT, _again(here, problem))
    write_bytes(out / commit.LOCK, locked)
    for name in made:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(here / name, out / name)
    output("sha256", digest := sha256_of_tree(out))
    step(f"{out}/ holds what a release is made of: SHA-256 {digest}")


def _files(stages: Mapping[str, Any]) -> dict[str, str]:
    """Each file in models/ that a dvc.lock names, with its MD5; its folders are not part of a release."""
    return {path: md5 for path, md5 in recorded.files(stages) if path.startswith("models/")}
