"""report.html: the report with real plots, in one file that needs no network and runs no script."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from pipelines.artifacts.verdict import Verdict
from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.report.document import parts
from pipelines.report.markdown import TEMPLATES

LONGEST = 500  # characters of a text that comes from a proposal
MOST_ROWS = 500
PLOTS = ("metrics", "slices", "curve", "calibration", "importance", "dependence", "shap")
PLOT = re.compile(r"^```plot (\w+)\n(.*)\n```$", re.MULTILINE)  # in the text: its name, and its words


def render(given: Verdict, contract: Contract) -> str:
    """The page on what gate.json holds: the report's own Markdown as HTML, with plots in place of charts."""
    from pipelines.report import figures  # matplotlib takes a second, which the rest does without

    gate = given.model_dump()
    plots = figures.draw(gate, tasks.of(contract))
    screen, details = parts(gate, contract, plots, LONGEST, MOST_ROWS)
    folded = {title: html(content, plots) for title, content in details.items()}
    return whole(given.verdict, contract.name, html(screen, plots), folded)


def whole(verdict: str, name: str, screen: Markup, details: Mapping[str, Markup]) -> str:
    """A page of these parts. `verdict`, or what else it is about, is in its title, and gives it a colour."""
    how: Any = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True}
    page = Environment(loader=FileSystemLoader(TEMPLATES), **how).get_template("page.html.j2")
    return page.render(verdict=verdict, name=name, screen=screen, details=details)


def html(text: str, plots: Mapping[str, Markup], deeper: int = 0) -> Markup:
    """Markdown as HTML: paragraphs, headings (so many levels `deeper`), tables, code, and the plots that are
    there. No HTML, link or image of the text's own."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.disable(["link", "image", "autolink", "reference"])

    def fence(_: Any, tokens: Sequence[Any], place: int, *__: Any) -> str:
        kind, _, name = tokens[place].info.strip().partition(" ")
        words = tokens[place].content.strip()
        if kind != "plot":
            return Markup("<pre><code>{}</code></pre>\n").format(words)
        uri = plots.get(name)
        return Markup('<figure><img src="{}" alt="{}"></figure>\n').format(uri, words) if uri else ""

    reader.add_render_rule("fence", fence)
    # A wide one is moved on its own, and not the page with it; also by keys.
    reader.add_render_rule("table_open", lambda *_: '<div class="wide" tabindex="0"><table>\n')
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    tokens = reader.parse(text)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = f"h{min(6, int(token.tag[1]) + deeper)}"
    return Markup(reader.renderer.render(tokens, reader.options, {}).replace("\N{WORD JOINER}", ""))
