"""`ml diff`: two releases or two models beside each other. What is equal is not shown."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.artifacts.model import Description, Metrics
from pipelines.artifacts.release import Release
from pipelines.artifacts.serving import Settings
from pipelines.artifacts.verdict import Verdict
from pipelines.base import git
from pipelines.base.console import aligned
from pipelines.base.errors import UserError, one_line
from pipelines.base.files import sha256
from pipelines.registry import store as stores
from pipelines.registry.ledger import Ledger

ENVIRONMENTS = ("staging", "production")
RELEASE = re.compile(r"[0-9a-f]{4,64}")
PINNED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)  # a package of a lock
LONGEST, WIDEST = 60, 40  # characters of a value, and of a column
Side = tuple[str, dict[str, dict[str, Any]]]  # where a model is from, and of each part each by its name


def diff(one: str, other: str) -> str:
    """What differs between two of: a release, by its id or the environment; a folder with models/."""
    (from_a, a), (from_b, b) = _side(one), _side(other)
    both = [part for part in a if a[part] and b[part]]
    if "params" in both:
        both.remove("settings")  # which are among them
    rows = [row for part in both for row in _rows(part, a[part], b[part])]
    head = f"A  {from_a}\nB  {from_b}\n\n"
    if lacking := [part for part in a if bool(a[part]) != bool(b[part])]:
        head += f"not compared, because one of them has none: {', '.join(lacking)}\n\n"
    return head + ("\n".join(aligned(rows, WIDEST)) or "nothing differs")


def _side(name: str) -> Side:
    if name in ENVIRONMENTS:
        release = Ledger().required(name).release
        return _of_release(stores.of().get(release), f", which {name} wants")
    if (models := (folder := Path(name)) / "models").is_dir():
        params = folder / "params.yaml"
        text = params.read_bytes() if params.is_file() else None
        facts = _facts(models, folder / "requirements" / "serve.txt", text, folder / "evidence")
        facts["model"] = {"sha256": sha256(models / "model.onnx")[:12], "api": Settings.read(models).api}
        return f"the model of {models}", facts
    if RELEASE.fullmatch(name):
        return _of_release(stores.of().get(name))
    none = f"{name!r} is neither a release's id, nor {' or '.join(ENVIRONMENTS)}, nor a folder with models/"
    raise UserError(f"{none}: `ml store list` shows the releases")


def _of_release(folder: Path, more: str = "") -> Side:
    about, evidence = Release.read(folder), folder / "evidence"
    params = git.blob(about.commit, "params.yaml")  # None where this repository does not have the commit
    facts = _facts(evidence, folder / "bento" / "src" / "requirements" / "serve.txt", params, evidence)
    facts["model"] = {"sha256": about.model.sha256[:12], "api": about.api}
    return f"release {about.id[:12]} of commit {about.commit[:12]}{more}", facts


def _facts(models: Path, lock: Path, params: bytes | None, evidence: Path) -> dict[str, dict[str, Any]]:
    """All that is compared, by its part."""
    way_out = "run `ml reproduce` there"
    about, metrics = Description.read(models, way_out), Metrics.read(models, way_out)
    columns: Any = about.request.get("properties", {})
    required: Any = about.request.get("required", ())
    verdict = Verdict.found(evidence)
    try:
        told = yaml.safe_load(params or b"{}")
    except yaml.YAMLError as error:
        raise UserError(f"a params.yaml is not valid YAML: {' '.join(str(error).split())}") from None
    packages = lock.read_text(encoding="utf-8") if lock.is_file() else ""
    return {
        "params": told if isinstance(told, dict) else {},
        "settings": about.model_dump(include={"estimator", "seed", "settings"}),
        "data": about.train.model_dump(),
        "metrics": metrics.model_dump(),
        "columns": {name: {**column, "required": name in required} for name, column in columns.items()},
        "packages of the training": about.versions,
        "packages of the service": dict(PINNED.findall(packages)),
        "gate": {"verdict": verdict and verdict.verdict, "superior": verdict and verdict.superior},
    }


def _rows(part: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """A heading, and for each name both values and, of two numbers, the difference; empty for none."""
    rows = [(f"  {one_line(name)}", _shown(x), _shown(y), _by(x, y)) for name, x, y in _changed(a, b)]
    return [(part, "A", "B", ""), *rows] if rows else []


def _changed(a: Mapping[str, Any], b: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The leaves that differ, by their dotted names; None on the side that has none."""
    for name in {**a, **b}:
        x, y = a.get(name), b.get(name)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            yield from _changed(x, y, f"{within}{name}.")
        elif x != y:
            yield f"{within}{name}", x, y


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        value = "; ".join(f"{name} {item}" for name, item in value.items())
    return one_line(value, LONGEST)


def _by(a: Any, b: Any) -> str:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    return f"{b - a:+.4g}" if numbers else ""
