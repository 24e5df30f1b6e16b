"""Markdown as GitHub renders it, of text that may be hostile: tables, Mermaid charts; on a terminal, too."""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST = 120  # characters of a text that comes from a proposal
SIGNS = {"FAIL": "❌", "INCONCLUSIVE": "🟡", "WARNING": "⚠️", "PASS": "✅"}  # as they are read
COLOURS = {"PASS": "green", "INCONCLUSIVE": "yellow", "FAIL": "red"}
# Blue, orange and grey of Okabe & Ito's palette, which people with any colour vision tell apart.
PALETTE = {"candidate": ("blue", "#0072B2"), "champion": ("orange", "#E69F00"), "": ("grey", "#999999")}
BAR = 12  # characters of the longest bar in a table


def text(value: Any, longest: int = LONGEST) -> str:
    """A text that may be hostile, as Markdown that shows it: no markup, link, mention, HTML or line break."""
    shown = plain(value, longest)
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = re.sub(r"([\\`*_{}\[\]|~$!])", r"\\\1", shown)
    shown = re.sub(
        r"(?i)\b(https?|ftp|www)(?=[:.])", "\\1\N{WORD JOINER}", shown
    )  # no link of its own accord
    return re.sub(r"[@#]", "\\g<0>\N{WORD JOINER}", shown)  # nobody is notified, no issue referred to


def code(value: Any, longest: int = LONGEST) -> str:
    """The same for the inside of a code span in a table."""
    return plain(value, longest).replace("`", "'").replace("|", "\\|") or " "


def plain(value: Any, longest: int = LONGEST) -> str:
    """One short line of printable characters; what markup makes of it is the caller's business."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(value)[: 10 * longest]).split())
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def table(head: Sequence[str], lines: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """A table of cells that are Markdown already; the columns `right` are aligned to the right."""
    numbers = set(right)
    rule = ["---:" if place in numbers else "---" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ([*head], rule, *lines))


def number(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """A difference, or a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:+.{digits}f}"


def interval(value: Sequence[float | None] | None, difference: bool = False) -> str:
    """[point, low, high] as text; a difference has its signs."""
    if not value:
        return "–"
    point, low, high = (signed(n) if difference else number(n) for n in value)
    return f"{point} [{low}, {high}]"


def flat(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Nested settings as `margin.roc_auc` with their values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def bar(value: float, greatest: float) -> str:
    """A bar of block characters for a table's cell."""
    return "█" * round(BAR * max(0.0, value) / greatest) if greatest > 0 else ""


def chart(title: str, axis: Sequence[str], unit: str, **series: tuple[str, Sequence[float]]) -> str:
    """A Mermaid chart of `series`, each ("bar" or "line", values) and named after its model, whose colour it
    gets; any other name is grey. The labels may be hostile."""
    colours = ", ".join(PALETTE.get(name, PALETTE[""])[1] for name in series)
    lines = [values for _, values in series.values()]
    highest = min(1.0, max(max(values) for values in lines) * 1.1)
    places = ", ".join(f'"{label(place)}"' for place in axis)
    head = [
        "```mermaid",
        '%%{init: {"themeVariables": {"xyChart": {"plotColorPalette": "' + colours + '"}}}}%%',
        "xychart-beta",
        f'    title "{label(title, 100)}"',
        f"    x-axis [{places}]",
        f'    y-axis "{label(unit)}" 0 --> {highest:.2f}',
    ]
    drawn = [
        f"    {kind} [{', '.join(f'{value:.4f}' for value in values)}]" for kind, values in series.values()
    ]
    return "\n".join([*head, *drawn, "```"])


def label(value: Any, longest: int = 16) -> str:
    """A text for the inside of a chart's quotes: nothing that Mermaid reads as anything else."""
    return re.sub("%+", "%", re.sub(r"[^\w .,:()=/+°%-]", "·", plain(value, longest))) or "·"


# --- the terminal ------------------------------------------------------------------------------------------


def show(path: Path, details: bool = True) -> None:
    """Print a report on the terminal: charts as bars, hashes left out; without `details` the first screen."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    content = path.read_text(encoding="utf-8")
    verdict = next((word for word in COLOURS if f" {word}\n" in content[:40]), "FAIL")
    theme = Theme({"markdown.h2": f"bold {COLOURS[verdict]}", "markdown.code": "cyan"})
    console = Console(theme=theme, highlight=False, width=None if os.isatty(1) else 118)
    for part in re.split(r"(?=<details>)", content):
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
