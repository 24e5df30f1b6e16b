"""The judge makes the dvc.lock of a proposal of values: one job trains and can write nothing, another one
looks at what came of it and commits that file, and no other, to the proposal's branch."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipelines.base import git, programs
from pipelines.base.console import output, step, summary
from pipelines.base.errors import UserError
from pipelines.base.files import read_json, write_bytes
from pipelines.core.problem import Problem
from pipelines.judge import proposal
from pipelines.judge.retrain import PATIENCE_SECONDS
from pipelines.pulls import runs, scope, values
from pipelines.pulls.scope import VALUES
from pipelines.pulls.values import LOCK, MAKE_IT
from pipelines.registry import ledger, signer
from pipelines.registry.committed import committed
from pipelines.training import reproduce

LEFT = ("models", "build/validation.json", VALUES, LOCK, "data.dvc")  # of a build, as `propose` leaves it
MESSAGE = "dvc.lock of params.yaml, made by the judge"


def build(asked: Path, out: Path, problem: Problem, patience: float = PATIENCE_SECONDS) -> None:
    """`ml ci build`: the candidate of the params.yaml in the folder `asked`, made in this checkout of the
    base by its own code, into the folder `out`. UserError where those values cannot be trained with, within
    `patience` seconds."""
    try:
        proposal.values(asked, problem.task)
    except proposal.InvalidProposal as error:
        raise UserError(f"{asked / VALUES} is not one that trains: {error}") from None
    base, wanted = Path(LOCK).read_bytes(), (asked / VALUES).read_bytes()
    if others := scope.parts((*scope.WITHHELD, "data"), Path(VALUES).read_bytes(), wanted):
        raise UserError(f"{asked / VALUES} changes more than training ({others[0]}): {MAKE_IT}")
    write_bytes(Path(VALUES), wanted)
    _reproduce(patience)
    write_bytes(Path(LOCK), _closed(base, Path(LOCK).read_bytes(), wanted))
    shutil.rmtree(out, ignore_errors=True)
    for name in LEFT:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if Path(name).is_dir() else shutil.copyfile)(name, out / name)
    step(f"{out} is what this code makes of {asked / VALUES}")


def commit(made: Path, event: Path, head: str) -> None:
    """`ml ci commit`: put the dvc.lock in the folder `made` on the branch whose newest commit is `head`, from
    this checkout of the base. Signed as the ledger is. Writes `head`, the new commit, to the step's outputs.

    UserError where the event is of another head, more than values is proposed, the file says more than a
    training may, or the branch has moved on: then nothing is written."""
    of, default = runs.head_of(event), read_json(event)["repository"]["default_branch"]
    if of.sha != head or of.repository != os.environ.get("GITHUB_REPOSITORY"):
        raise UserError(
            f"{event} is not of {head[:12]} on a branch of this repository, so nothing is written"
        )
    if of.branch in (default, ledger.BRANCH):
        raise UserError(f"the branch {of.branch} is not a proposal's, so nothing is written to it")
    if git.commit(head) is None:
        raise UserError(
            f"{head[:12]} is on no branch any more: what {of.branch} has now is judged by a run of its own"
        )
    changes = values.between("HEAD", head)
    if not (lock := values.of(changes)).by_judge or lock.waits:
        raise UserError(f"{head[:12]} is not for the judge to build ({lock.words or 'dvc.lock fits'})")
    wanted, content = (changes.read(changes.after.get(VALUES)), proposal.plain(made, LOCK))
    if _closed(changes.read(changes.before.get(LOCK)), content, wanted) != content:
        raise UserError(f"{made / LOCK} is not written as DVC writes it, so it is not committed")
    own = signer.signer(git.config)
    new = committed(head, LOCK, content.decode(), MESSAGE, own, int(time.time()), Path())
    ref = f"refs/heads/{of.branch}"
    pushed = git.tried("push", "--quiet", f"--force-with-lease={ref}:{head}", "origin", f"{new}:{ref}")
    if pushed.code:
        way_out = "its newest commit is judged by a run of its own"
        raise UserError(
            f"{of.branch} did not take {new[:12]} on top of {head[:12]} ({pushed.words}): {way_out}"
        )
    step(f"{of.branch} is at {new[:12]}: dvc.lock on top of {head[:12]}")
    summary(f"`{new[:12]}` has the dvc.lock of `{head[:12]}`'s params.yaml, {_signed(own)}.")
    output("head", new)


def _signed(own: signer.Key | signer.Person | None) -> str:
    """By whom, and what follows from it."""
    if own:
        return f"signed with {own.fingerprint}; its checks start by themselves"
    return (
        "not signed. What GITHUB_TOKEN pushed starts no `lint` and `tests` by itself: press "
        '"Approve and run" on the pull request, or close it and open it again; the secret '
        f"{signer.VARIABLE} spares that (docs/github.md)"
    )


def _reproduce(patience: float) -> None:
    """`ml reproduce`, ended with all that it started when it takes longer. Without a DVC remote: here is no
    role for one, and what the gate sees for itself comes from the source too."""
    dvc = [sys.executable, "-m", "dvc", "config", "--quiet", "--local", "core.remote", ""]
    programs.run(dvc, env=programs.environment(own_code=True))
    cli = reproduce.MAIN.partition(":")[0]  # whose other verbs are not the judge's
    command = [sys.executable, "-m", cli, "reproduce"]
    run = programs.start(command, env=programs.environment(own_code=True), start_new_session=True)
    try:
        if code := run.wait(timeout=patience):
            raise UserError(
                f"no model comes of this params.yaml: `ml reproduce` ended with {code}, as said above"
            )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"no model comes of this params.yaml within {patience:.0f} s: let it take less"
        ) from None
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def _closed(base: bytes, made: bytes, given: bytes) -> bytes:
    """A dvc.lock as DVC writes it, where it differs from the base's in values, which are those of
    params.yaml, and in hashes and sizes of what stages make. UserError else."""
    from dvc.utils.serialize import dumps_yaml

    try:
        before, whole = values.read(base), values.read(made)
        same = scope.alike(base, made) and values.recorded(before).keys() == values.recorded(whole).keys()
        inputs = reproduce.compare(before, whole).inputs
        fits = values.fits(given, made)
    except (UserError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the base's {LOCK} or the one that was made is not one that DVC wrote ({error})"
        ) from None
    if not same:
        raise UserError(f"{LOCK} names more than the base's, or less: {MAKE_IT}")
    if others := [name for name in inputs if not name.startswith(f"{VALUES}: ")]:
        raise UserError(f"{LOCK} of the base is not of its own {others[0]}: renew it there first")
    if not fits:
        raise UserError(f"{LOCK} is not of the proposed {VALUES}: {MAKE_IT}")
    return str(dumps_yaml(whole)).encode()
