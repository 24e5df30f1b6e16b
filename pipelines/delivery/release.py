"""`ml release`: a commit becomes a release: checked, built once, stored, registered, wanted by staging."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines import params
from pipelines.artifacts import verdict as verdicts
from pipelines.console import step, summary
from pipelines.delivery import commit, registry
from pipelines.delivery import store as stores
from pipelines.delivery.ledger import Entry, Ledger
from pipelines.delivery.store import Store
from pipelines.errors import Refused, UserError
from pipelines.files import read_json, sha256, sha256_of_tree, write_json, write_text
from pipelines.model import Model
from pipelines.problem.columns import CONTRACT
from pipelines.review import card
from pipelines.training import table, train

SAME = 1e-9  # max |Δp| on V between the reviewed model and the one rebuilt from its lock and seed
EVIDENCE = ("models/metrics.json", "models/model.json", "models/reference.json", "models/months.csv")
REVIEW = Path("evidence")  # the report of the proposal's run, where a workflow has brought it here
PROPOSAL = Path("build/proposal.json")  # what `ml evidence` found of it


def release(env: str = "staging", store: Store | None = None, ledger: Ledger | None = None) -> str:
    """Make the release of the commit that is checked out, and write it into the ledger as what `env` wants.

    Returns its id. The same content is the same release and is not built again. UserError where a file is
    not the commit's or dvc.lock's; Refused where the rebuilt model answers otherwise on V.
    """
    store, ledger, here = store or stores.of(), ledger or Ledger(), Path()
    commit.check_clean(here)
    commit.check_models(here)
    head, number = commit.head(here), sha256_of_tree(here, commit.files(here))
    review = _review(here)
    if built := not store.has(number):
        step(f"building release {number[:12]} of commit {head[:12]}")
        rebuilt = _rebuild(here)
        with store.put(number) as folder:
            _build_bento(here, folder / "bento", number)
            _copy_evidence(here, folder / "evidence", review)
            version = _register(store, env, number, head)
            _complete_card(here, folder / "evidence", head, number, version)
            write_json(folder / "release.json", _describe(here, number, head, version, rebuilt, review))
    else:
        step(f"release {number[:12]} lies in {store.where} already")
        store.get(number)
        version = _register(store, env, number, head)
    entry = Entry(release=number, commit=head, model=version, evidence=_figures(here) | review.figures)
    written = ledger.write(env, entry)
    step(f"{env} wants {number[:12]}" if written else f"{env} wants {number[:12]} already")
    summary(_words(store, number, env, built) + f"\n| gate | {review.words} |")
    return number


@dataclass(frozen=True)
class Rebuilt:
    """The model made again from its lock and seed: its hash, and max |Δp| on V."""

    sha256: str
    max_dp: float


def _rebuild(here: Path) -> Rebuilt:
    step("rebuilding the model from its lock and seed")
    content = train.fit(params.load(here / "params.yaml"), table.load(here / table.PREPARED))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        path.write_bytes(content)
        again = Model(path)
    window = pd.read_parquet(here / "models/window.parquet")
    inputs = table.inputs(window)
    reviewed = Model(here / "models/model.onnx")
    difference = float(np.max(np.abs(reviewed.predict(inputs) - again.predict(inputs)), initial=0.0))
    if len(window) == 0 or not difference <= SAME:
        raise Refused(
            "models/model.onnx is not what dvc.lock and its seed give: the model rebuilt from them answers "
            f"otherwise (max |Δp| is {difference:.2g} on V's {len(window):,} rows; at most {SAME:g} passes)"
        )
    step(f"it answers as the reviewed one: max |Δp| is {difference:.2g} on V's {len(window):,} rows")
    return Rebuilt(hashlib.sha256(content).hexdigest(), difference)


def _build_bento(here: Path, out: Path, number: str) -> None:
    """Build the Bento in a folder that holds exactly the release's files: nothing else can slip in."""
    with tempfile.TemporaryDirectory(prefix="greenlight-") as scratch:
        source, home = Path(scratch, "source"), Path(scratch, "home")
        _copy(commit.files(here), here, source)
        environment = {
            **os.environ,
            "BENTOML_HOME": str(home),
            "BENTOML_DO_NOT_TRACK": "True",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        environment.pop("GREENLIGHT_PREDICTIONS", None)
        command = [sys.executable, "-m", "bentoml", "build", "--version", number[:16], "."]
        done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
        built = home / "bentos" / CONTRACT.name / number[:16]
        if done.returncode or not built.is_dir():
            raise UserError(f"bentoml build failed: {' '.join((done.stderr or done.stdout).split())[-600:]}")
        shutil.copytree(built, out)
        out.chmod(0o755)
        # BentoML writes its own reading of the file, with the machine's Python in it
        shutil.copyfile(source / commit.BENTOFILE, out / "src" / commit.BENTOFILE)
    if (found := sha256_of_tree(out / "src")) != number:
        raise RuntimeError(f"the Bento holds other files than {commit.BENTOFILE} includes: {found}")


@dataclass(frozen=True)
class Review:
    """What the gate said of the very model that ships: its files, the ledger's part of them, in words."""

    files: tuple[Path, ...]
    figures: dict[str, Any]
    words: str


def _review(here: Path) -> Review:
    """The report of the proposal, where it lies here and is of this model; else why it is left out."""
    if not (here / REVIEW / "gate.json").exists():
        return Review((), {}, "no evidence came with this commit")
    try:
        verdict = verdicts.read(here / REVIEW)
    except UserError as error:
        return _left_out(str(error))
    judged = verdict.candidate.sha256 if verdict.candidate else "none"
    if judged != (ships := sha256(here / "models/model.onnx")):
        return _left_out(f"{REVIEW}/gate.json judged another model ({judged[:12]}) than ships ({ships[:12]})")
    by = read_json(here / PROPOSAL).get("override") if (here / PROPOSAL).is_file() else None
    figures = {"verdict": verdict.verdict, "superior": verdict.superior} | ({"override": by} if by else {})
    words = verdict.verdict + (f", let through by {by}" if by else "")
    return Review(
        (REVIEW / "gate.json", REVIEW / "report.md", REVIEW / "report.html", PROPOSAL), figures, words
    )


def _left_out(reason: str) -> Review:
    step(f"the gate's report is left out: {reason}")
    return Review((), {}, f"left out: {reason}")


def _copy_evidence(here: Path, out: Path, review: Review) -> None:
    out.mkdir()
    for path in (*map(Path, EVIDENCE), *review.files):
        if (here / path).is_file() and not (here / path).is_symlink():
            shutil.copyfile(here / path, out / path.name)


def _complete_card(here: Path, out: Path, head: str, number: str, version: str) -> None:
    if (here / card.CARD).is_file():
        told = {"commit": head, "release": number, "MLflow": f"{CONTRACT.name} version {version}"}
        made = (here / card.CARD).read_text(encoding="utf-8")
        write_text(out / card.CARD.name, card.complete(made, told))


def _describe(
    here: Path, number: str, head: str, version: str, rebuilt: Rebuilt, review: Review
) -> dict[str, Any]:
    """release.json. `image` is the digest of its image, where `ml image` makes one."""
    serving = read_json(here / "models/serving.json")
    return {
        "id": number,
        "commit": head,
        "name": serving["name"],
        "api": serving["api"],
        "model": {"sha256": sha256(here / "models/model.onnx"), "version": version},
        "rebuilt": {"sha256": rebuilt.sha256, "max_dp": rebuilt.max_dp},
        "verdict": review.figures.get("verdict"),
        "lock": sha256(here / "requirements/serve.txt"),
        "image": None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _register(store: Store, env: str, number: str, head: str) -> str:
    stored = store.folder / number / "bento" / "src" / "models"
    version = registry.register(env, Path("models/model.onnx"), number, head, stored)
    step(f"MLflow: {CONTRACT.name} version {version} has the alias {env}")
    return version


def _figures(here: Path) -> dict[str, Any]:
    """What the ledger says of the model: its figures on V."""
    metrics = read_json(here / "models/metrics.json")
    return {name: metrics[name] for name in ("roc_auc", "log_loss", "brier_skill") if name in metrics}


def _words(store: Store, number: str, env: str, built: bool) -> str:
    about = read_json(store.folder / number / "release.json")
    rows = {
        "release": f"`{number}`",
        "commit": f"`{about['commit'][:12]}`",
        "model": f"`{about['model']['sha256'][:12]}`, MLflow version {about['model']['version']}",
        "rebuilt": f"max \\|Δp\\| {about['rebuilt']['max_dp']:.2g} on V",
        "store": store.where + ("" if built else ", where it lay already"),
        "wanted by": env,
    }
    return "### Release\n\n| | |\n| --- | --- |\n" + "\n".join(f"| {k} | {v} |" for k, v in rows.items())


def _copy(files: Iterable[Path], start: Path, to: Path) -> None:
    for path in files:
        target = to / path.relative_to(start)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
