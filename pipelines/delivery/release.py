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
from pipelines.console import step, summary
from pipelines.delivery import commit, registry
from pipelines.delivery.ledger import Entry, Ledger
from pipelines.delivery.store import Store
from pipelines.errors import Refused, UserError
from pipelines.files import read_json, sha256, sha256_of_tree, write_json
from pipelines.model import Model
from pipelines.problem.columns import CONTRACT
from pipelines.training import table, train

SAME = 1e-9  # max |Δp| on V between the reviewed model and the one rebuilt from its lock and seed
EVIDENCE = ("models/metrics.json", "models/model.json", "models/reference.json", "models/months.csv")
REVIEW = (
    "evidence/gate.json",
    "evidence/report.md",
    "evidence/report.html",
)  # of the proposal, where its build left them here


def release(env: str = "staging", store: Store | None = None, ledger: Ledger | None = None) -> str:
    """Make the release of the commit that is checked out, and write it into the ledger as what `env` wants.

    Returns its id. The same content is the same release and is not built again. UserError where a file is
    not the commit's or dvc.lock's; Refused where the rebuilt model answers otherwise on V.
    """
    store, ledger, here = store or Store(), ledger or Ledger(), Path()
    commit.check_clean(here)
    commit.check_models(here)
    head, number = commit.head(here), sha256_of_tree(here, commit.files(here))
    if built := not store.has(number):
        step(f"building release {number[:12]} of commit {head[:12]}")
        rebuilt = _rebuild(here)
        with store.put(number) as folder:
            _build_bento(here, folder / "bento", number)
            _copy_evidence(here, folder / "evidence")
            version = _register(store, env, number, head)
            write_json(folder / "release.json", _describe(here, number, head, version, rebuilt))
    else:
        step(f"release {number[:12]} lies in {store.folder} already")
        store.get(number)
        version = _register(store, env, number, head)
    entry = Entry(release=number, commit=head, model=version, evidence=_figures(here))
    written = ledger.write(env, entry)
    step(f"{env} wants {number[:12]}" if written else f"{env} wants {number[:12]} already")
    summary(_words(store, number, env, built))
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


def _copy_evidence(here: Path, out: Path) -> None:
    out.mkdir()
    for name in (*EVIDENCE, *REVIEW):
        if (here / name).is_file():
            shutil.copyfile(here / name, out / Path(name).name)


def _describe(here: Path, number: str, head: str, version: str, rebuilt: Rebuilt) -> dict[str, Any]:
    """release.json. `image` is the digest of its image, where `ml image` makes one."""
    serving = read_json(here / "models/serving.json")
    return {
        "id": number,
        "commit": head,
        "name": serving["name"],
        "api": serving["api"],
        "model": {"sha256": sha256(here / "models/model.onnx"), "version": version},
        "rebuilt": {"sha256": rebuilt.sha256, "max_dp": rebuilt.max_dp},
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
    """What the ledger says of the evidence: figures on V, and the gate's verdict where there was one."""
    metrics = read_json(here / "models/metrics.json")
    figures = {name: metrics[name] for name in ("roc_auc", "log_loss", "brier_skill") if name in metrics}
    gate = here / "evidence/gate.json"
    return {**figures, "verdict": read_json(gate).get("verdict")} if gate.is_file() else figures


def _words(store: Store, number: str, env: str, built: bool) -> str:
    about = read_json(store.folder / number / "release.json")
    rows = {
        "release": f"`{number}`",
        "commit": f"`{about['commit'][:12]}`",
        "model": f"`{about['model']['sha256'][:12]}`, MLflow version {about['model']['version']}",
        "rebuilt": f"max \\|Δp\\| {about['rebuilt']['max_dp']:.2g} on V",
        "store": f"`{store.folder}`" + ("" if built else ", where it lay already"),
        "wanted by": env,
    }
    return "### Release\n\n| | |\n| --- | --- |\n" + "\n".join(f"| {k} | {v} |" for k, v in rows.items())


def _copy(files: Iterable[Path], start: Path, to: Path) -> None:
    for path in files:
        target = to / path.relative_to(start)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
