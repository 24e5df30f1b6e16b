"""What a release keeps of how it came about, as far as it can be read."""

import csv
import html
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from markupsafe import Markup

from pipelines.artifacts.file import MEGABYTE
from pipelines.artifacts.model import Description, Metrics
from pipelines.artifacts.release import Proposal, Release
from pipelines.artifacts.verdict import Verdict
from pipelines.base import git
from pipelines.base.errors import UserError, one_line
from pipelines.base.files import sha256
from pipelines.core.problem import Problem
from pipelines.core.tasks.task import Task
from pipelines.registry.store import Store

CARD, MONTHS, REPORT = "card.md", "months.csv", "report.html"
LARGEST = 16 * MEGABYTE
PICTURE = re.compile(r'<img src="(data:image/svg\+xml;base64,[A-Za-z0-9+/=]+)" alt="([^"<>]*)">')
T = TypeVar("T")


@dataclass(frozen=True)
class Month:
    """A month as months.csv has it; the model has seen those that it was `trained` on."""

    name: str
    trained: bool
    rows: int
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class Evidence:
    """A release; with its id alone where the store does not have it."""

    id: str
    about: Release | None = None
    data: str = ""  # the MD5 of data/
    card: str = ""
    verdict: Verdict | None = None
    proposal: Proposal | None = None
    model: Description | None = None
    metrics: Metrics | None = None
    months: Sequence[Month] = ()
    pictures: Mapping[str, Markup] | None = None  # of report.html, by their words
    files: Sequence[tuple[str, int, str]] = ()  # in evidence/: name, bytes, SHA-256
    faults: Sequence[str] = ()  # what cannot be read of it


def read(about: Release, store: Store, problem: Problem) -> Evidence:
    """The release's evidence. What cannot be read of it is among its faults, each a sentence."""
    faults: list[str] = []

    def tried(read: Callable[[], T], none: T) -> T:
        try:
            return read()
        except (UserError, OSError, ValueError) as error:
            faults.append(one_line(str(error).replace(f"{store.folder / about.id}/", ""), 400))
            return none

    folder = tried(lambda: store.get(about.id), None)
    if folder is None:
        return Evidence(about.id, about, faults=faults)
    kept = folder / "evidence"
    verdict = tried(lambda: _verdict(kept, problem.task), None)
    return Evidence(
        about.id,
        about,
        data=tried(lambda: _data(about.commit), ""),
        card=tried(lambda: _text(kept / CARD), ""),
        verdict=verdict,
        proposal=tried(lambda: Proposal.found(kept), None),
        model=tried(lambda: Description.found(kept), None),
        metrics=tried(lambda: Metrics.found(kept), None),
        months=tried(lambda: _months(kept / MONTHS), ()),
        pictures=tried(lambda: _pictures(kept / REPORT), None) if verdict else None,
        files=[
            (path.name, path.stat().st_size, sha256(path))
            for path in sorted(kept.iterdir())
            if path.is_file()
        ],
        faults=faults,
    )


def _verdict(folder: Path, task: Task) -> Verdict | None:
    found = Verdict.found(folder)
    return found.of(task) if found else None


def _data(commit: str) -> str:
    """By data.dvc of the commit; empty where this checkout does not have it."""
    try:
        told: Any = yaml.safe_load(git.blob(commit, "data.dvc") or b"")
        return str(told["outs"][0]["md5"]) if told else ""
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        raise UserError(f"data.dvc of {commit[:12]} does not name the data") from None


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} is larger than what is shown")
    return path.read_text(encoding="utf-8", errors="replace")


def _months(path: Path) -> list[Month]:
    found = []
    for line in csv.DictReader(io.StringIO(_text(path))):
        name, trained, rows = (line.pop(key, None) or "" for key in ("month", "trained", "rows"))
        if not (re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", name) and rows.isdecimal() and None not in line):
            raise UserError(f"{path} is not what `ml stage evaluate` writes")
        figures = {key: float(value) if value else None for key, value in line.items()}
        finite = {
            key: value if value is not None and math.isfinite(value) else None
            for key, value in figures.items()
        }
        found.append(Month(name, trained == "true", int(rows), finite))
    return sorted(found, key=lambda month: month.name)


def _pictures(path: Path) -> dict[str, Markup]:
    """The plots alone are taken of the file: as an image, an SVG neither runs a script nor loads anything."""
    return {html.unescape(words): Markup(uri) for uri, words in PICTURE.findall(_text(path))}
