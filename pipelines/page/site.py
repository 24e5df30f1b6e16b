"""`ml page`: a static site of what ledger, store and reports tell. It loads nothing from elsewhere and
runs no script. The same inputs give the same bytes: each date is one of the data."""

import ctypes
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.base.console import step
from pipelines.base.errors import UserError, one_line
from pipelines.base.files import write_text
from pipelines.core.contract import Contract
from pipelines.core.problem import Problem
from pipelines.page import figures, seen
from pipelines.page.chart import when
from pipelines.page.evidence import Evidence
from pipelines.page.seen import Seen
from pipelines.report import document, markdown
from pipelines.report import page as report
from pipelines.rollout.journal import shown

TEMPLATES = Path(__file__).parent / "templates"
INDEX, RELEASES = "index.html", "releases"
LONGEST = 500  # characters of a text
MARK = '<meta name="generator" content="ml page">'
SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
HERE, EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE


def write(problem: Problem, out: Path) -> Path:
    """Write the site into the folder `out`, whole or not at all; returns its first page. UserError as
    `seen.look`, and where `out` holds something else."""
    _check(out)
    found = seen.look(problem)
    pages = render(found, problem)
    _replace(out, pages)
    step(f"written: {out / INDEX}, and a page for each of {len(pages) - 1} releases")
    return out / INDEX


def render(found: Seen, problem: Problem) -> dict[str, str]:
    """The site's files, by their path in it."""
    environment, of = _environment(found.address), defaultdict[str, list[Any]](list)
    for place in found.places:
        for stay in place.stays:
            of[stay.release].append(stay)
    moves = {id: [(p, move) for p in found.places for move in p.moves if move.release == id] for id in of}
    index = environment.get_template("index.html.j2")
    pages = {
        INDEX: index.render(
            seen=found,
            task=problem.task,
            stays=of,
            moves=moves,
            **figures.of_index(found, problem.task),
            root="",
        )
    }
    one = environment.get_template("release.html.j2")
    for release in found.releases:
        pages[f"{RELEASES}/{release.id[:12]}.html"] = one.render(
            seen=found,
            task=problem.task,
            release=release,
            stays=of[release.id],
            moves=moves.get(release.id, ()),
            chart=figures.of_release(release, problem.task, found.colours[release.id]),
            report=_report(release, problem.contract),
            card=report.html(_printable(release.card), {}, deeper=2),
            root="../",
        )
    return pages


def _report(release: Evidence, contract: Contract) -> tuple[Markup, Mapping[str, Markup]] | None:
    """The gate's report, rendered anew from gate.json, with the plots of report.html by their words."""
    if release.verdict is None:
        return None
    pictures, names = release.pictures or {}, dict.fromkeys(report.PLOTS, "")
    screen, details = document.parts(
        release.verdict.model_dump(), contract, names, report.LONGEST, report.MOST_ROWS
    )
    text = "\n".join((screen, *details.values()))
    plots = {name: pictures[words] for name, words in report.PLOT.findall(text) if words in pictures}
    return report.html(screen, plots, deeper=1), {
        title: report.html(content, plots, deeper=1) for title, content in details.items()
    }


def _printable(text: str) -> str:
    """Without what is unseen, such as marks that turn the direction of what follows."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _environment(address: str) -> Environment:
    """Every value is shown as text, whatever it holds."""

    def link(kind: str, what: object, words: str) -> Markup:
        """To the repository on GitHub, where it is there and `what` is what such an address may hold."""
        fits = SHA.fullmatch(str(what)) if kind == "commit" else re.fullmatch(r"\d+", str(what))
        if not (address and fits):
            return Markup("<span>{}</span>").format(one_line(words, LONGEST))
        return Markup('<a href="{}/{}/{}">{}</a>').format(address, kind, what, one_line(words, LONGEST))

    made = Environment(
        loader=FileSystemLoader([TEMPLATES, markdown.TEMPLATES]),
        autoescape=True,
        finalize=lambda v: v if isinstance(v, Markup) else "–" if v is None else one_line(v, LONGEST),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: markdown.FIGURES[name] for name in ("number", "signed", "percent", "count")}
    made.filters |= {"when": when, "facts": shown}
    made.globals |= {"link": link, "MARK": Markup(MARK)}
    return made


def _check(out: Path) -> None:
    """UserError where the folder holds something else than a page, which would be lost."""
    index = out / INDEX
    ours = index.is_file() and MARK in index.read_text(encoding="utf-8", errors="replace")
    if (
        out.is_symlink()
        or (out.exists() and not out.is_dir())
        or (out.is_dir() and any(out.iterdir()) and not ours)
    ):
        raise UserError(f"--out {out} holds something else than a page of `ml page`: name another folder")


def _replace(out: Path, pages: Mapping[str, str]) -> None:
    """Let the folder appear with these files in one step: a run that is killed leaves the old one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        new = Path(scratch, out.name)
        for name, text in pages.items():
            write_text(new / name, text)
        if not out.exists():
            new.rename(out)
        elif ctypes.CDLL(None).renameat2(HERE, os.fsencode(new), HERE, os.fsencode(out), EXCHANGE):
            out.rename(Path(scratch, "old"))  # a file system that exchanges no two folders
            new.rename(out)
