"""Proposals on real, small models, written as the pipeline leaves them, and the gate's word on each."""

import hashlib
import json
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pandas as pd
import yaml
from onnx import TensorProto, helper

from pipelines.artifacts.serving import Settings
from pipelines.base.files import write_bytes
from pipelines.core import params as parameters
from pipelines.core.model import Model
from pipelines.core.schema import request_schema
from pipelines.core.tasks.binary import BINARY
from pipelines.judge import beside, gate
from pipelines.judge.champion import Production
from pipelines.training import evaluate, prepare
from tests.months import in_order
from tests.problems.parcels import PARAMS_FILE, PROBLEM, source
from tests.problems.parcels.columns import CONTRACT
from tests.releases import NONE, described

LABEL = CONTRACT.label.name
GOLDEN, SERVING = "models/golden.json", f"models/{Settings.NAME}"
PARAMS: dict[str, Any] = yaml.safe_load(PARAMS_FILE.read_text()) | {
    "data": {"first": "2013-04", "through": "2013-06"},
    "train": {
        "first": "2013-04",
        "last": "2013-05",
        "seed": 7,
        "estimator": "hist_gradient_boosting",
        "settings": {"max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 15, "min_samples_leaf": 300},
    },
}


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    return PARAMS | {name: PARAMS[name] | values for name, values in sections.items()}


def settings(**values: Any) -> dict[str, Any]:
    return changed(train={"settings": PARAMS["train"]["settings"] | values})


HONEST = settings(learning_rate=0.098)  # other bytes than the champion's, and as good


DESCRIPTION = {
    **{"name": "made", "estimator": "made", "settings": {}, "seed": 7, "features": [], "parity": 0.0},
    **{"versions": {}, "train": {"days": 61, "label_rate": 0.2}},
}


@dataclass
class Made:
    """A model with what stands around it, as the pipeline would leave it."""

    model: bytes
    params: dict[str, Any] = field(default_factory=lambda: PARAMS)
    first: str = "2013-04-01"
    last: str = "2013-05-31"
    rows: int = 54321  # that it says it was trained on
    lock: str | None = None  # the MD5 in dvc.lock, where it is not the model's
    again: bytes = b""  # trained once more, where that is another model
    shuffled: float | None = 0.501
    schema: dict[str, Any] = field(default_factory=lambda: request_schema(CONTRACT))
    beside: dict[str, Any] = field(default_factory=dict)  # the other files that the pipeline would leave

    def write(self, folder: Path, window: pd.DataFrame | None = None) -> Path:
        models = folder / "models"
        models.mkdir(parents=True, exist_ok=True)
        (models / "model.onnx").write_bytes(self.model)
        card = DESCRIPTION | self.beside.get("models/model.json", {})
        trained = {"first": self.first, "last": self.last, "rows": self.rows}
        card |= {"schema": self.schema, "train": card["train"] | trained}
        (folder / "params.yaml").write_text(yaml.safe_dump(self.params))
        api, batch = self.params["serving"]["api"], self.params["serving"]["batch"]
        served = Settings(name="made", api=api, threshold=0.5, batch=batch).value
        left = {GOLDEN: golden(), SERVING: served} | self.beside | {"models/model.json": card}
        for name, value in left.items():
            lines = "".join(f"{','.join(line)}\n" for line in value) if name.endswith(".csv") else ""
            (folder / name).write_text(lines or json.dumps(value))
        (models / "verification").mkdir(exist_ok=True)
        (models / "verification/again.onnx").write_bytes(self.again or self.model)
        (models / "verification/shuffled.json").write_text(json.dumps({"roc_auc": self.shuffled}))
        outs = [
            {"path": f"models/{name}", "md5": hashlib.md5((models / name).read_bytes()).hexdigest()}
            for name in sorted(path.name for path in models.glob("*.*") if path.suffix in (".json", ".csv"))
        ]
        outs.append({"path": "models/model.onnx", "md5": self.lock or hashlib.md5(self.model).hexdigest()})
        (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"train": {"outs": outs}}}))
        if window is not None:
            window.to_parquet(models / "window.parquet")
        return folder


def whole(made: Made, rows: pd.DataFrame) -> Made:
    """With all that the pipeline leaves of this model and these rows, its label rate and settings too."""
    months = made.params["data"]
    month = rows[CONTRACT.time.name].dt.strftime("%Y-%m")
    its = in_order(rows[(month >= months["first"]) & (month <= months["through"])])
    with tempfile.TemporaryDirectory() as folder:
        model = Model(write_bytes(Path(folder) / "model.onnx", made.model), BINARY)
        params = parameters.parse(made.params)
        files = beside.of(params, its, model, beside.of_the_past(params, its, PROBLEM), CONTRACT)
    return replace(made, beside=files)


@cache
def golden() -> dict[str, Any]:
    """Requests as callers send them; the answers are another check's business."""
    rows = prepare.prepare(source.read("2013-06").iloc[:20], PROBLEM)
    return {
        "rows": [evaluate.as_request(row, CONTRACT) for row in rows.to_dict("records")],
        "p": [0.2] * len(rows),
    }


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("models/\n.greenlight/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "base")
    return folder


OTHER_DATA = f"outs:\n- md5: {'a' * 32}.dir\n  hash: md5\n  path: data\n"
OWN_CODE = ("pipelines/problem/features.py", "pipelines/problem/estimators.py")


def proposed(base: Path, candidate: Path, *code: str) -> str:
    """A commit upon the base's, with the candidate's params.yaml and dvc.lock, and other `code` than the
    base's; the checkout stays as it is."""
    before = git(base, "rev-parse", "HEAD")
    files = [name for name in ("params.yaml", "dvc.lock") if (candidate / name).is_file()]
    for name in files:
        (base / name).write_bytes((candidate / name).read_bytes())
    for name in code:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(OTHER_DATA if name == "data.dvc" else f"# {name}, of the proposal\n")
    git(base, "add", "--", *files, *code)
    git(base, "commit", "--quiet", "--allow-empty", "-m", "proposal")
    head = git(base, "rev-parse", "HEAD")
    git(base, "reset", "--quiet", "--hard", before)
    return head


def judge(
    candidate: Path, base: Path, production: Production | None = None, code: tuple[str, ...] = OWN_CODE
) -> tuple[str, dict[str, dict[str, Any]], dict[str, Any]]:
    """Verdict, findings by rule, gate.json. The models here are made by hand, so by default the proposal's
    own code makes rows and model; with `code=()` the base's does."""
    head = proposed(base, candidate, *code)
    code_ = gate.run(candidate, base, PROBLEM, candidate.parent / "evidence", production, head=head)
    written = json.loads((candidate.parent / "evidence/gate.json").read_text())
    assert code_ == {"PASS": 0, "INCONCLUSIVE": 3, "FAIL": 4}[written["verdict"]]
    return written["verdict"], {finding["rule"]: finding for finding in written["findings"]}, written


def refused(findings: dict[str, dict[str, Any]]) -> set[str]:
    return {rule for rule, finding in findings.items() if finding["verdict"] == "FAIL"}


def onnx_model(inputs: list[str], nodes: list[onnx.NodeProto]) -> bytes:
    """A graph from float columns to `probabilities`, whose first input is called x."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [inputs[0]], ["x"]), *nodes],
        "made",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in inputs],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    return bytes(model.SerializeToString())


def linear(name: str, slope: float, intercept: float) -> bytes:
    """p = sigmoid(intercept + slope * column)."""
    scalar = [
        helper.make_node("Constant", [], [n], value=helper.make_tensor(n, TensorProto.FLOAT, [1], [v]))
        for n, v in (("slope", slope), ("intercept", intercept), ("one", 1.0))
    ]
    steps = [
        helper.make_node("Mul", ["x", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "intercept"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    return onnx_model([name], scalar + steps)


def not_a_number() -> bytes:
    nodes = [
        helper.make_node("Sub", ["x", "x"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["nan"]),
        helper.make_node("Concat", ["nan", "nan"], ["probabilities"], axis=1),
    ]
    return onnx_model(["distance"], nodes)


def released(made: Made, folder: Path) -> Path:
    """A release in the store, as `ml release` leaves it."""
    made.write(folder)
    (folder / "bento/src").mkdir(parents=True)
    (folder / "models").rename(folder / "bento/src/models")
    (folder / "evidence").mkdir()
    (folder / "bento/src/models/model.json").rename(folder / "evidence/model.json")
    return described(folder, NONE, hashlib.sha256(made.model).hexdigest())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
