"""Markdown as GitHub renders it, from templates whose values may be hostile; on a terminal, too."""

import math
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.base.errors import one_line

TEMPLATES = Path(__file__).parent / "templates"
LONGEST = 120  # characters of a text that comes from a proposal
SIGNS = {"FAIL": "❌", "INCONCLUSIVE": "🟡", "WARNING": "⚠️", "PASS": "✅"}  # as they are read
COLOURS = {"PASS": "green", "INCONCLUSIVE": "yellow", "FAIL": "red"}
# Blue, orange and grey of Okabe & Ito's palette, which people with any colour vision tell apart.
PALETTE = {"candidate": ("blue", "#0072B2"), "champion": ("orange", "#E69F00"), "": ("grey", "#999999")}
BAR = 12  # characters of the longest bar in a table


def render(name: str, longest: int = 0, **values: Any) -> str:
    """A template's Markdown, with one blank line between its blocks. Every value is shown as text, whatever
    it holds: only what the filters below and the template's own macros make is Markdown. `longest`:
    characters of a text, where its place allows fewer."""
    text = _environment(longest).get_template(name).render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(longest: int) -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # makes Markup of what a macro returns, so that it is not escaped again
        finalize=lambda v: v if isinstance(v, Markup) else Markup(text(v, max(LONGEST, longest))),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {name: lambda *given, make=make: Markup(make(*given)) for name, make in FIGURES.items()}
    made.filters |= {
        "label": lambda value, most=16: Markup(f'"{label(value, most)}"'),
        "text": lambda value, most: Markup(text(value, max(most, longest))),
        "code": lambda value, most=LONGEST: Markup(f"`{code(value, max(most, longest))}`"),
        "yaml": lambda v: Markup(f"```yaml\n{yaml.safe_dump(v, sort_keys=False, allow_unicode=True)}```"),
        "colour": lambda name: Markup(PALETTE.get(name, PALETTE[""])[1]),
    }
    made.globals |= {"bar": bar, "signs": SIGNS}
    return made


def text(value: Any, longest: int = LONGEST) -> str:
    """A text that may be hostile, as Markdown that shows it: no markup, link, mention, HTML or line break."""
    shown = one_line(value, longest)
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = re.sub(r"([\\`*_{}\[\]|~$!])", r"\\\1", shown)
    # no link of its own accord
    shown = re.sub(r"(?i)\b(https?|ftp|www)(?=[:.])", "\\1\N{WORD JOINER}", shown)
    return re.sub(r"[@#]", "\\g<0>\N{WORD JOINER}", shown)  # nobody is notified, no issue referred to


def code(value: Any, longest: int = LONGEST) -> str:
    """The same for the inside of a code span in a table."""
    return one_line(value, longest).replace("`", "'").replace("|", "\\|") or " "


def number(value: float | None, digits: int = 4, sign: str = "") -> str:
    """A figure (a difference with the `sign` "+"), or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:{sign}.{digits}f}"


def interval(value: Sequence[float | None] | None, digits: int = 4) -> str:
    """[point, low, high] as text."""
    return "{} [{}, {}]".format(*(number(n, digits) for n in value)) if value else "–"


def difference(value: Sequence[float | None] | None) -> str:
    """The same of a difference, as Markdown: with signs, and the point stands out."""
    return "**{}** [{}, {}]".format(*(number(n, sign="+") for n in value)) if value else "–"


FIGURES: dict[str, Callable[..., str]] = {
    "number": number,
    "signed": partial(number, sign="+"),
    "interval": interval,
    "difference": difference,
    "percent": lambda value, digits=1: "–" if value is None else f"{value:.{digits}%}",
    "count": lambda value: f"{value:,}",
    "g": lambda value: f"{value:g}",
    "said": lambda value: value if isinstance(value, str) else f"{value:.3g}",
}


def bar(value: float, greatest: float) -> str:
    """A bar of block characters for a table's cell."""
    return "█" * round(BAR * max(0.0, value) / greatest) if greatest > 0 else ""


def label(value: Any, longest: int = 16) -> str:
    """A text for the inside of a chart's quotes: nothing that Mermaid reads as anything else."""
    return re.sub("%+", "%", re.sub(r"[^\w .,:()=/+°%-]", "·", one_line(value, longest))) or "·"


def show(path: Path, details: bool = True) -> None:
    """Print a report on the terminal: charts as bars, hashes left out; without `details` the first screen."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    content = path.read_text(encoding="utf-8")
    verdict = next((word for word in COLOURS if f" {word}\n" in content[:40]), "FAIL")
    theme = Theme({"markdown.h2": f"bold {COLOURS[verdict]}", "markdown.code": "cyan"})
    console = Console(theme=theme, highlight=False, width=None if os.isatty(1) else 118)
    for part in re.split(r"(?m)(?=^<details>)", content):
        if title := re.match(r"<details><summary>(.*?)</summary>", part):
            if not details or title[1] == "Hashes and days":
                continue
            part = f"### {title[1]}\n" + part[title.end() :].replace("</details>", "")
        part = re.sub(
            r"```mermaid\n(.*?)```", lambda found: f"```text\n{_bars(found[1])}\n```", part, flags=re.DOTALL
        )
        console.print(Markdown(part.replace("\N{WORD JOINER}", "")))


def _bars(drawn: str) -> str:
    """A Mermaid xychart as text: a row for each place on the x-axis, a bar for its first series."""
    title = re.search(r'title "(.*)"', drawn)
    places = re.findall(r'"(.*?)"', (re.search(r"x-axis \[(.*)\]", drawn) or [""])[0])
    series = [[float(n) for n in found.split(", ")] for found in re.findall(r"(?:bar|line) \[(.*)\]", drawn)]
    wide = max(5, *(len(place) for place in places))
    lines = [title[1] if title else ""]
    for index, place in enumerate(places):
        values = [values[index] for values in series]
        figures = "  ".join(f"{value:.3f}" for value in values)
        lines.append(f"{place:>{wide}} {'█' * round(values[0] * 40):40} {figures}")
    return "\n".join(lines)
