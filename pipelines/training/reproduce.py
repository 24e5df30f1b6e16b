"""`ml reproduce`: bring the data back, run the stages that something changed for, compare with the commit."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.base import git, preloaded, programs, recorded
from pipelines.base.console import step
from pipelines.base.errors import Refused, UserError, few
from pipelines.core import datafiles
from pipelines.core.problem import Problem
from pipelines.training import ingest, remote, tracked, tracking

LOCK = recorded.LOCK
Lock = Mapping[str, Any]
# What stages import, by the process in whose forks they run. That of verify, which trains again, is another
# than train's: it has another hash seed.
MAIN = "pipelines.cli:main"
TRAINS = ("pipelines.training.train", "pipelines.problem.estimators", "skl2onnx")
AHEAD = {
    "validate": ("pipelines.training.validate:great_expectations",),
    "others": (*TRAINS, "mlflow.tracking", "pipelines.training.evaluate", "pipelines.report.card"),
    "verify": TRAINS,
}
BEGIN = {"others": ("validate", "prepare", "train"), "verify": ("train",)}  # with the first of these stages


def reproduce(problem: Problem, locked: bool = False) -> None:
    """Restore data/, or track it where nothing does, run `dvc repro`, and say what differs from dvc.lock of
    HEAD.

    With `locked`, as ci runs it, a dvc.lock whose inputs (data, code, params) are not those of this commit
    is a UserError; other outputs of the same inputs are only noted, with both hashes (another CPU rounds in
    another way). So is one that names what no stage makes, before anything is removed or written.
    A stage's own UserError or Refused is raised again."""
    _repo.cache_clear()
    _lock()
    tracked.begin(datafiles.DATA)
    ingest.restore(problem)
    objects = list(_made().values())
    tracked.drop_bad(_repo(), objects)
    if _has_remote():
        remote.bring_lists(_repo(), objects)
        tracked.Folder(datafiles.DATA).keep()
    if changed := _changed():
        whole = _has_remote() and _bring(changed)
        if _changed("train"):
            tracking.current()  # before the stages that stand before training
        missing_alone = not any("changed deps" in found for found in changed.get("validate", ()))
        repro(pull=whole, validates="validate" in changed and not (missing_alone and whole))
    if wrong := _wrong_outputs():
        step(f"DVC's cache held {wrong[0]} with other bytes than recorded: dropped, all stages run again")
        repro(anew=True)
        if wrong := _wrong_outputs():
            raise UserError(f"{wrong[0]} is not what {LOCK} says: is something else writing it?")
    committed = _committed()
    if committed is None:
        step(f"{LOCK} is new: commit it with data.dvc")
        return
    difference = compare(committed, _lock())
    if difference.inputs and locked:
        raise UserError(
            f"{LOCK} is not of this commit's inputs ({', '.join(difference.inputs[:4])}): run `ml reproduce` "
            f"and commit {LOCK}"
        )
    if difference.inputs:
        step(f"{LOCK} has changed with {', '.join(difference.inputs)}: commit it with them")
    for line in difference.outputs if not difference.inputs else ():
        step(f"the same inputs gave another {line}")
    if not difference.inputs and not difference.outputs:
        step(f"everything is as {LOCK} says")


def _bring(changed: Mapping[str, Any]) -> bool:
    """From the DVC remote into the cache what `dvc repro` will ask for: the outputs of the stages that are as
    recorded, of whose data, code and params nothing has changed. False where the remote has lost some of it:
    then DVC, which would end there, is told to make what is missing."""
    made, stages = _made(), []
    for name, stage in _lock()["stages"].items():
        outs, deps = ({entry["path"] for entry in stage.get(kind) or ()} for kind in ("outs", "deps"))
        stages.append((_modified(changed.get(name, ())), outs, deps))
    stale: set[str] = set()
    while more := {out for new, outs, deps in stages if new or deps & stale for out in outs} - stale:
        stale |= more
    wanted = {path: made[path] for path in sorted(made.keys() - stale) if not Path(path).exists()}
    lost = remote.bring(_repo(), wanted.values())
    if paths := [path for path, name in wanted.items() if _lacks(name, lost)]:
        step(f"the DVC remote has not, or no longer, {few(paths)}: made again; {remote.PUT_BACK}")
    return not lost


def _modified(found: Any) -> bool:
    """Whether something else than a file that is not there yet is in what `dvc status` says of a stage."""
    if isinstance(found, Mapping):
        return any(_modified(value) for value in found.values())
    return (
        any(map(_modified, found))
        if isinstance(found, list | tuple)
        else found not in ("deleted", "not in cache")
    )


def _lacks(name: str, lost: Sequence[str]) -> bool:
    return bool({name, *(tracked.listing(_repo(), name) or {}).values()} & {*lost})


def push() -> None:
    """`ml push`: what data.dvc and dvc.lock record, from the cache to the DVC remote. UserError where
    there is none, or it fails."""
    _repo.cache_clear()
    if not _has_remote():
        raise UserError("no DVC remote is configured: docs/remotes/ shows how to make one")
    names = {"data": tracked.Folder(datafiles.DATA).name} | _made()
    count = remote.push(_repo(), names.values())
    where = _repo().config["core"]["remote"]
    step(f"{count} objects that the DVC remote {where!r} did not have are there now")
    if absent := [path for path, name in names.items() if not tracked.has(_repo(), [name])]:
        step(f"{few(absent)} cannot be pushed, for DVC's cache here does not have it: run `ml reproduce`")


def repro(anew: bool = False, pull: bool = False, validates: bool = True) -> None:
    """Run `dvc repro`, its progress on standard error. `anew`: every stage, whatever DVC remembers; `pull`:
    what a stage needs may come from the remote; `validates`: validate is known to run."""
    command = [sys.executable, "-m", "dvc", "repro"]
    if anew:
        command += ["--force", "--no-run-cache"]
    elif pull:
        command.append("--pull")
    lines = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ready:
        if validates:
            ready.enter_context(preloaded.preloaded(Path(folder, "validate"), MAIN, AHEAD["validate"]))
        run = programs.start(
            command,
            env=programs.environment(own_code=True, **{preloaded.FOLDER: folder}),  # the stages call `ml`
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert run.stdout is not None
        for line in run.stdout:
            lines.append(line.rstrip())
            if not line.startswith("ml: "):  # the sentence comes once, at the end
                print(line, end="", file=sys.stderr, flush=True)
            for process in ahead(line, folder):
                ready.enter_context(process)
    if run.wait():
        raise _failure(lines)


def ahead(line: str, folder: str, main: str = MAIN, first: Sequence[str] = ()) -> Iterator[Any]:
    """The processes that begin where `dvc repro` says this line; their sockets are in `folder`."""
    stage = line.removeprefix("> ml stage ").rstrip() if line.startswith("> ml stage ") else ""
    for name, stages in BEGIN.items():
        if stage in stages and not (place := Path(folder, name)).exists():
            yield preloaded.preloaded(place, main, [*first, *AHEAD[name]])


def _changed(*stages: str) -> dict[str, Any]:
    """What `dvc status` says of the stages that have something to do, of these or of all. What DVC cannot
    read, it says itself when it runs."""
    from dvc.exceptions import DvcException

    try:
        return dict(_repo().status(targets=stages or None, with_deps=bool(stages)))
    except DvcException:
        return {} if stages else {"unknown": []}


def _wrong_outputs() -> list[str]:
    """The outputs that hold other bytes than dvc.lock says, deleted with their like in the cache."""
    names = _made()
    wrong = [path for path, name in names.items() if tracked.md5_of_output(Path(path)) != name]
    tracked.drop_bad(_repo(), [names[path] for path in wrong])
    for path in wrong:
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink(missing_ok=True)
    return wrong


@functools.cache  # DVC takes a quarter of a second to read dvc.yaml and dvc.lock
def _repo() -> Any:
    return tracked.repo(Path.cwd())


def _lock() -> Lock:
    """The checkout's dvc.lock. UserError where it names what it may not."""
    file = Path(LOCK)
    return {"stages": recorded.stages(file.read_bytes(), at=Path()) if file.is_file() else {}}


def _made() -> dict[str, str]:
    """The outputs of dvc.lock that dvc.yaml's stages make. It may name more, such as the notes of somebody:
    those are nobody's to replace."""
    stages = (stage for stage in _repo().index.stages if Path(stage.path).name == "dvc.yaml")
    make = {os.path.relpath(out.fs_path) for stage in stages for out in stage.outs}
    return {path: name for path, name in recorded.outputs(_lock()["stages"]).items() if path in make}


def _failure(lines: list[str]) -> Exception:
    """What to raise for a failed `dvc repro`: the stage's own sentence where it left one."""
    said = [line.removeprefix("ml: ") for line in lines if line.startswith("ml: ")]
    code = next((found[1] for line in lines if (found := re.search(r"exited with (\d+)", line))), None)
    if said and code in ("2", "4"):
        return Refused(said[-1]) if code == "4" else UserError(said[-1])
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if code is None and errors:
        return UserError(f"`dvc repro` did not run: {errors[-1]}")
    return RuntimeError(errors[-1] if errors else "dvc repro failed without a word")


def _has_remote() -> bool:
    return bool(_repo().config["core"].get("remote"))


def _committed() -> Lock | None:
    content = git.blob("HEAD", f"./{LOCK}")
    return None if content is None else {"stages": recorded.stages(content)}


@dataclass(frozen=True)
class Difference:
    """Between two dvc.lock: `inputs` by name, `outputs` as lines with both hashes."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def compare(old: Lock, new: Lock) -> Difference:
    """What two dvc.lock differ in. A dependency that is another stage's output counts as output."""
    before, after = old.get("stages", {}), new.get("stages", {})
    made_before, made_after = recorded.outputs(before), recorded.outputs(after)
    made = made_before | made_after
    inputs: dict[str, None] = {}
    for stage in [*before, *(name for name in after if name not in before)]:
        one, two = _inputs(before.get(stage, {})), _inputs(after.get(stage, {}))
        inputs |= {name: None for name in [*one, *two] if one.get(name) != two.get(name) and name not in made}
    hashes = ((path, made_before.get(path), made_after.get(path)) for path in sorted(made))
    outputs = tuple(f"{path}: {old}, now {new}" for path, old, new in hashes if old != new)
    return Difference(tuple(inputs), outputs)


def _inputs(stage: Lock) -> dict[str, Any]:
    found: dict[str, Any] = {dep["path"]: dep["md5"] for dep in stage.get("deps", ())}
    for file, values in stage.get("params", {}).items():
        for key, value in values.items():
            if isinstance(value, dict):
                found |= {f"{file}: {key}.{name}": inner for name, inner in value.items()}
            else:
                found[f"{file}: {key}"] = value
    return {**found, f"the command `{stage['cmd']}`": True} if "cmd" in stage else found
