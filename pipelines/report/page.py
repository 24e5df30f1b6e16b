"""report.html: the report with real plots, in one file that needs no network and runs no script."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from pipelines.artifacts.verdict import Verdict
from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.report import figures
from pipelines.report.document import parts
from pipelines.report.markdown import TEMPLATES

LONGEST = 500  # characters of a text that comes from a proposal
MOST_ROWS = 500


def render(given: Verdict, contract: Contract) -> str:
    """The page on what gate.json holds: the report's own Markdown as HTML, with plots in place of charts."""
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


def html(text: str, plots: Mapping[str, Markup]) -> Markup:
    """Markdown as HTML: paragraphs, headings, tables and plots. No HTML, link or image of the text's own."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.disable(["link", "image", "autolink", "reference"])

    def plot(_: Any, tokens: Sequence[Any], place: int, *__: Any) -> str:
        uri, words = plots[tokens[place].info.split()[-1]], tokens[place].content.strip()
        return Markup('<figure><img src="{}" alt="{}"></figure>\n').format(uri, words)

    reader.add_render_rule("fence", plot)
    return Markup(reader.render(text).replace("\N{WORD JOINER}", ""))
