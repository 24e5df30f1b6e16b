"""`ml release`: a commit becomes a release: checked, built once, stored, registered, wanted by staging."""

import shutil
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.artifacts.entry import Entry
from pipelines.artifacts.model import Metrics
from pipelines.artifacts.release import Other, Proposal, Release, Shipped
from pipelines.artifacts.serving import Settings
from pipelines.artifacts.verdict import Verdict
from pipelines.base import git, programs
from pipelines.base.console import step, summary
from pipelines.base.errors import UserError
from pipelines.base.files import sha256, sha256_of_tree, write_text
from pipelines.core.contract import Contract
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task
from pipelines.registry import merged
from pipelines.registry import mirror as registry
from pipelines.registry import store as stores
from pipelines.registry.ledger import Ledger
from pipelines.registry.store import Store
from pipelines.release import commit, reviewed, supply
from pipelines.release.reviewed import REVIEW
from pipelines.report import card
from pipelines.training import tracking

EVIDENCE = ("models/metrics.json", "models/model.json", "models/reference.json", "models/months.csv")
BUILD = Path("build")  # where `ml ci evidence` leaves what it found of the proposal
ENV = "staging"  # what wants each new release


def release(
    problem: Problem, store: Store | None = None, trained: Path | None = None, digest: str = ""
) -> str:
    """Make the release of the commit that is checked out, and write it into the ledger as what staging wants.

    Returns its id. The same content is the same release and is not built again. `trained` is what
    `ml ci rebuild` left, `digest` its SHA-256; without it the model is made again here. UserError where a
    file is not the commit's or dvc.lock's; Refused where the rebuilt or the judged model answers otherwise on
    the test window."""
    store, ledger, here = store or stores.of(), Ledger(), Path()
    signature = ledger.signature  # a key that cannot be used is told before the long work
    tracking.ready(problem.name)  # and so is a registry that takes no model
    commit.check_clean(here)
    reviewed.take(here, trained, digest)
    head, release_id = git.head(here), sha256_of_tree(here, commit.files(here))
    review, name = _review(here, problem.contract), problem.name
    if built := not store.has(release_id):
        step(f"building release {release_id[:12]} of commit {head[:12]}")
        rebuilt = reviewed.rebuilt(here, problem, trained)
        with store.put(release_id) as folder:
            _build_bento(here, folder / "bento", name, release_id)
            _copy_evidence(here, folder / "evidence", review)
            version = _register(store, problem.contract, release_id, head)
            if card.CARD.is_file():
                told = {"commit": head, "release": release_id, "MLflow": f"{name} version {version}"}
                made = card.complete(card.CARD.read_text(encoding="utf-8"), told)
                write_text(folder / "evidence" / card.CARD.name, made)
            _describe(release_id, head, version, rebuilt, review).write(folder)
            supply.complete(folder, ledger)
    else:
        step(f"release {release_id[:12]} is in {store.where} already")
        _require_vouched(here, store.get(release_id), ledger, review)
        version = _register(store, problem.contract, release_id, head)
        held = merged.digest(before := store.get(release_id))
        known = {one.entry.image for one in ledger.chain(ENV, known=True) if one.entry.beside == held}
        if supply.lacks(before, ledger, known):
            with store.put(release_id, replace=True) as folder:
                shutil.copytree(before, folder, dirs_exist_ok=True)
                supply.complete(folder, ledger, known)
    figures, shown = Metrics.read(here / "models").figures, (*problem.task.compared, problem.task.skill)
    evidence: dict[str, Any] = {m.key: figures[m.key] for m in shown if m.key in figures}
    evidence |= {"sha256": sha256(here / "models/model.onnx")} | review.figures
    held = merged.digest(store.folder / release_id)
    pushed = Release.read(store.folder / release_id).image
    entry = Entry(
        release=release_id,
        commit=head,
        model=version,
        evidence=evidence,
        beside=held,
        image=pushed.reference if pushed else None,
    )
    written = ledger.write(ENV, entry)
    step(f"{ENV} wants {release_id[:12]}" + ("" if written else " already"))
    summary(
        _words(store, release_id, built, problem.task)
        + f"\n| gate | {review.words} |\n{supply.words(store.folder / release_id)}\n| ledger | {signature} |"
        + "\n\nWhat of the loop is on, what is off, and how to switch it on: `ml doctor`."
    )
    return release_id


def _build_bento(here: Path, out: Path, name: str, release_id: str) -> None:
    """Build the Bento in a folder that holds exactly the release's files: nothing else can slip in."""
    with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
        source, home = Path(scratch, "source"), Path(scratch, "home")
        for path in commit.files(here):
            target = source / path.relative_to(here)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        environment = programs.environment(BENTOML_HOME=str(home), PYTHONDONTWRITEBYTECODE="1")
        environment["BENTOML_DO_NOT_TRACK"] = "True"
        environment.pop("GREENLIGHT_PREDICTIONS", None)
        command = [sys.executable, "-m", "bentoml", "build", "--version", release_id[:16], "."]
        done = programs.run(command, cwd=source, env=environment)
        built = home / "bentos" / name / release_id[:16]
        if done.returncode or not built.is_dir():
            raise UserError(f"bentoml build failed: {' '.join((done.stderr or done.stdout).split())[-600:]}")
        shutil.copytree(built, out)
        out.chmod(0o755)
        # BentoML writes its own reading of the file, with the machine's Python in it
        shutil.copyfile(source / commit.BENTOFILE, out / "src" / commit.BENTOFILE)
    if (found := sha256_of_tree(out / "src")) != release_id:
        raise RuntimeError(f"the Bento holds other files than {commit.BENTOFILE} includes: {found}")


@dataclass(frozen=True)
class Review:
    """What the gate said: its files, the ledger's part of them, in words, and the model that it judged."""

    files: tuple[Path, ...]
    figures: dict[str, Any]
    words: str
    judged: Other | None = None


def _review(here: Path, contract: Contract) -> Review:
    """The report of the proposal, where one is here; else why it is left out.

    Refused where it is of a model that answers otherwise, or of none where the model is another one."""
    if not (here / REVIEW / "gate.json").exists():
        return Review((), {}, "no evidence came with this commit")
    try:
        verdict = Verdict.read(here / REVIEW)
    except UserError as error:
        return _left_out(str(error))
    if (judged := reviewed.judged(here, verdict, contract)) is None:
        said = "says that no model changed" if verdict.verdict == "PASS" else "judged no model"
        return _left_out(f"{REVIEW}/gate.json {said}")
    brought = Proposal.found(here / BUILD)
    by = brought.override if brought else None
    figures = {"verdict": verdict.verdict, "superior": verdict.superior} | ({"override": by} if by else {})
    words = verdict.verdict + (f", let through by {by}" if by else "")
    files = (REVIEW / "gate.json", REVIEW / "report.md", REVIEW / "report.html", BUILD / Proposal.NAME)
    return Review(files, figures, words, judged)


def _left_out(reason: str) -> Review:
    step(f"the gate's report is left out: {reason}")
    return Review((), {}, f"left out: {reason}")


def _copy_evidence(here: Path, out: Path, review: Review) -> None:
    out.mkdir()
    for path in (*map(Path, EVIDENCE), *review.files):
        if (here / path).is_file() and not (here / path).is_symlink():
            shutil.copyfile(here / path, out / path.name)


def _require_vouched(here: Path, folder: Path, ledger: Ledger, review: Review) -> None:
    """UserError where the entry would sign what no known entry names, and this commit would not make."""
    held = merged.digest(folder)
    if ledger.signer is None or held in {one.entry.beside for one in ledger.chain(ENV, known=True)}:
        return
    with tempfile.TemporaryDirectory() as scratch:
        _copy_evidence(here, made := Path(scratch, "evidence"), review)
        same = merged.evidence(made) == merged.evidence(folder / "evidence", but=supply.FILES)
    if not same or Release.read(folder).model.sha256 != sha256(here / "models/model.onnx"):
        why = "evidence/ or release.json is neither what the ledger names nor what this commit has"
        way_out = "remove the release from the store, and run this again"
        raise UserError(f"{folder}: {why}, so it is not signed: {way_out}")


def _describe(release_id: str, head: str, version: str, rebuilt: Other, review: Review) -> Release:
    """release.json, each field of it given: what is not given is not written."""
    settings = Settings.read(Path("models"))
    return Release(
        version=1,
        id=release_id,
        commit=head,
        name=settings.name,
        api=settings.api,
        model=Shipped(sha256=sha256("models/model.onnx"), version=version),
        rebuilt=rebuilt,
        judged=review.judged,
        verdict=review.figures.get("verdict"),
        lock=sha256("requirements/serve.txt"),
        image=None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _register(store: Store, contract: Contract, release_id: str, head: str) -> str:
    stored = store.folder / release_id / "bento" / "src" / "models"
    version = registry.register(ENV, contract, Path("models/model.onnx"), release_id, head, stored)
    step(f"MLflow: {contract.name} version {version} has the alias {ENV}")
    return version


def _words(store: Store, release_id: str, built: bool, task: Task) -> str:
    about = Release.read(store.folder / release_id)
    rows = {
        "release": f"`{release_id}`",
        "commit": f"`{about.commit[:12]}`",
        "model": f"`{about.model.sha256[:12]}`, MLflow version {about.model.version}",
        "rebuilt": f"max \\|{task.delta}\\| {about.rebuilt.max_dp:.2g} on the test window",
        "store": store.where + ("" if built else ", where it was already"),
        "wanted by": ENV,
    }
    return "### Release\n\n| | |\n| --- | --- |\n" + "\n".join(f"| {k} | {v} |" for k, v in rows.items())
