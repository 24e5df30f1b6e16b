"""The champion: the model that production runs, else the base branch's; its own file, else built again."""

import configparser
import contextlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pipelines.artifacts.model import Description
from pipelines.artifacts.release import MODELS, Release
from pipelines.artifacts.serving import Golden, Settings
from pipelines.base import git, programs, venv
from pipelines.base import recorded as locks
from pipelines.base.console import step
from pipelines.base.errors import Refused, UserError, one_line
from pipelines.base.files import read_json, sha256, write_bytes, write_json, write_text
from pipelines.core import tables
from pipelines.core.model import Model
from pipelines.core.tasks.task import Task
from pipelines.judge import proposal
from pipelines.training import remote, tracked

FILES = ("models/model.onnx", "models/model.json", "models/golden.json", "models/serving.json")


@dataclass(frozen=True)
class Production:
    """The ledger's entry for production, as the caller read it."""

    release: str
    commit: str
    folder: Path | None  # the release in the store, verified; None where the store cannot give it


@dataclass(frozen=True)
class Champion:
    """A champion whose file is whole."""

    words: str  # where it comes from, for the report
    commit: str
    model: Model
    sha256: str
    size: int  # bytes of the model
    card: Description
    golden: Golden  # requests that it answers
    serving: Settings  # what its callers rely on
    base: Path
    path: Path = Path()


class ChampionUnavailable(Exception):
    """Why there is a champion but it cannot be had."""


def find(base: Path, task: Task, production: Production | None, what: str) -> Champion | None:
    """The champion of the checkout `base`; None where nothing was ever trained: the first model.
    ChampionUnavailable where there is one that can neither be read nor built again."""
    if production is not None:
        words = f"{what} {production.release[:12]}"
        # whoever writes the ledger can name any commit, and its code would run beside the gate
        if not any(production.commit in _line(base, ref) for ref in _refs(base)):
            why = f"the base branch was never at its commit {production.commit[:12]}"
            raise ChampionUnavailable(f"{words} is not to be had: {why}")
        found = _of_release(base, task, production, words) if production.folder else None
        return found or _rebuilt(base, task, production.commit, words)
    commit = git.head(base)
    words = f"the base branch's model ({commit[:12]})"
    if (recorded := recorded_in(base)) is None:
        return None
    paths = [base / name for name in FILES]
    loaded = _are(paths, recorded)
    return _load(base, task, commit, words, *paths) if loaded else _rebuilt(base, task, commit, words)


def _refs(base: Path) -> Iterator[str]:
    """Names of the base branch: as it is checked out, and as it was fetched, which may be newer."""
    yield from ("HEAD", "refs/remotes/origin/HEAD")
    with contextlib.suppress(git.Failed):  # origin does not answer
        yield f"refs/remotes/origin/{git.default_branch(at=base)[0].removeprefix('refs/heads/')}"


def _line(base: Path, ref: str) -> list[str]:
    """The commits that a branch was at."""
    found = git.tried("rev-list", "--first-parent", ref, "--", at=base)
    return found.text.split() if found.code == 0 else []


def _of_release(base: Path, task: Task, production: Production, words: str) -> Champion | None:
    assert production.folder is not None
    try:
        release = Release.read(production.folder)
        models, card = production.folder / MODELS, production.folder / "evidence" / Description.NAME
        if sha256(models / "model.onnx") != release.model.sha256:
            return None
        paths = models / "model.onnx", card, models / "golden.json", models / Settings.NAME
        return _load(base, task, production.commit, words, *paths)
    except (UserError, OSError, ChampionUnavailable):
        return None  # built again from its commit then


def _are(paths: list[Path], recorded: list[str]) -> bool:
    """Whether every file is there, with that MD5."""
    return all(path.is_file() and locks.md5(path) == md5 for path, md5 in zip(paths, recorded, strict=True))


def _load(
    base: Path, task: Task, commit: str, words: str, model: Path, card: Path, golden: Path, serving: Path
) -> Champion:
    try:
        told, answers = Description.of_file(card, extra="ignore"), Golden.of_file(golden, extra="ignore")
        size, settings = model.stat().st_size, Settings.of_file(serving, extra="ignore")
        made = (Model(model, task), sha256(model), size, told, answers, settings)
        return Champion(words, commit, *made, base, model)
    except (UserError, OSError) as error:
        raise ChampionUnavailable(f"{words} cannot be read: {error}") from None


def recorded_in(folder: Path) -> list[str] | None:
    """The MD5 of each of FILES, as `locked_in`."""
    found = locked_in(folder)
    return [found[name] for name in FILES] if found else None


def locked_in(folder: Path) -> dict[str, str] | None:
    """The MD5 of the model and of each file beside it by a checkout's dvc.lock; None where nothing was ever
    trained."""
    if not (lock := folder / "dvc.lock").is_file():
        return None
    try:
        found = proposal.shipped(proposal.recorded(lock).items())
    except Exception as error:  # a merge that went wrong leaves anything
        raise ChampionUnavailable(f"the champion's dvc.lock cannot be read: {error}") from None
    return found if found.keys() >= set(FILES) else None


def _cached(base: Path, recorded: list[str]) -> list[Path]:
    """Where DVC's cache of the base checkout keeps files of these MD5s, if it has them."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([base / ".dvc/config", base / ".dvc/config.local"])
    cache = (base / ".dvc" / config.get("cache", "dir", fallback="cache") / "files/md5").resolve()
    return [cache / name[:2] / name[2:] for name in recorded]


# --- built again -------------------------------------------------------------------------------------------


def _rebuilt(base: Path, task: Task, commit: str, words: str) -> Champion:
    """The model of `commit`, made by its own code with its own lock; what an earlier run made is kept."""
    checkout = _worktree(base, commit, words)
    if (recorded := recorded_in(checkout)) is None:
        why = "its commit has no models/model.onnx in dvc.lock"
        raise ChampionUnavailable(f"{words} is not to be had: {why}")
    paths, cached = [checkout / name for name in FILES], _cached(base, recorded)
    if not _are(cached, recorded) and (base / ".dvc").is_dir():
        step(f"looking for {words} in the DVC remote")
        try:
            if (repo := tracked.repo(base)).config["core"].get("remote"):
                remote.bring(repo, recorded)
        except Exception as error:  # of DVC, or a remote that fails: its own code would end there
            step(f"{one_line(error, 500)}; it is built again, without the remote")
            write_text(checkout / ".dvc/config.local", '[core]\n    remote = ""\n')
    if _are(cached, recorded):
        return _load(base, task, commit, words, *cached)
    made = base / ".greenlight/champion" / f"{commit[:12]}.json"  # another machine may round otherwise
    if not _are(paths, recorded) and not (made.is_file() and _are(paths, read_json(made))):
        step(f"building {words} again, from its commit")
        code, said = _run(checkout, base, "from pipelines.cli import main; main()", "reproduce")
        if code or not all(path.is_file() for path in paths):
            raise ChampionUnavailable(f"{words} could not be built again: {said}")
        write_json(made, [locks.md5(path) for path in paths])
        if _are(paths, recorded):
            for path, kept in zip(paths, cached, strict=True):
                write_bytes(kept, path.read_bytes())
    if locks.md5(paths[0]) == recorded[0]:
        words += ", built again"
    else:
        words += f", built again, not byte for byte: SHA-256 {sha256(paths[0])[:12]}"
    return _load(base, task, commit, words, *paths)


def _worktree(base: Path, commit: str, words: str) -> Path:
    folder = base / ".greenlight/champion" / commit[:12]
    if git.commit(commit, base) is None:
        why = f"its commit {commit[:12]} is not in this repository"
        raise ChampionUnavailable(f"{words} is not to be had: {why}")
    if (folder / ".git").exists():
        with contextlib.suppress(git.Failed):  # a killed run leaves anything
            git.run("checkout", "--force", "--detach", commit, at=folder)
            return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    git.run("worktree", "prune", at=base)
    git.run("worktree", "add", "--force", "--detach", str(folder.resolve()), commit, at=base)
    return folder


def _run(checkout: Path, base: Path, program: str, *arguments: str) -> tuple[int, str]:
    """Run Python code of that checkout: its exit code and the last line of what it said, which is shown."""
    python = _python(checkout, base)
    environment = programs.environment(
        PYTHONPATH=str(checkout.resolve()),  # before any installed copy of the package
        PATH=os.pathsep.join([str(python.parent), os.environ.get("PATH", "")]),
    )
    environment.pop("MLFLOW_TRACKING_URI", None)  # building a champion again is not a run of its own
    last = "no word of why"
    with programs.start(
        [python, "-c", program, *arguments],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.strip():
                last = line.strip().removeprefix("ml: ")[:300]
                print(f"          {line.rstrip()}", file=sys.stderr, flush=True)
    return run.returncode, last


def _python(checkout: Path, base: Path) -> Path:
    """The interpreter for that commit: this one, or one of its own where its lock is another."""
    lock = checkout / "requirements/train.txt"
    if not lock.is_file() or lock.read_bytes() == (base / "requirements/train.txt").read_bytes():
        return Path(sys.executable)
    step("looking for an environment of the champion's own lock")
    try:
        folder = venv.make(base / ".greenlight/venvs" / venv.name(lock), lock)
    except (Refused, UserError) as error:
        raise ChampionUnavailable(f"the champion's own lock cannot be installed: {error}") from None
    python = folder / "bin/python"
    ml = f"#!{python}\nfrom pipelines.cli import main\nmain()\n"  # the stages of its dvc.yaml call it
    if not os.access(folder / "bin/ml", os.X_OK):
        write_text(folder / "bin/ml", ml).chmod(0o755)
    return python


# --- features ----------------------------------------------------------------------------------------------


def rows(champion: Champion, periods: list[str]) -> pd.DataFrame | None:
    """The rows of `periods` with features as the champion's own code makes them in its worktree, from its own
    source and with its own history; None where its pipelines/problem is the base's."""
    base = champion.base
    here, there = (git.object_of(c, "pipelines/problem", base) for c in ("HEAD", champion.commit))
    if here == there or champion.commit == git.head(base):
        return None
    checkout = _worktree(base, champion.commit, champion.words)
    out = (checkout / "build/champion-rows.parquet").resolve()
    step("the champion's features, by its own code")
    code, said = _run(checkout, base, ROWS, str(out), *periods)
    if code:
        raise ChampionUnavailable(f"{champion.words}: its own feature code failed: {said}")
    return tables.read(out)


ROWS = textwrap.dedent("""
    import sys
    from pathlib import Path
    import pandas as pd
    from pipelines.problem import PROBLEM
    from pipelines.core import rows
    out, *periods = sys.argv[1:]
    table = pd.concat([rows.of_month(period, PROBLEM) for period in periods], ignore_index=True)
    Path(out).parent.mkdir(exist_ok=True)
    columns = (PROBLEM.contract.key, *PROBLEM.contract.features)
    table[[column.name for column in columns]].to_parquet(out, index=False)""")
