"""report.html: the report with real plots, in one file that needs no network and runs no script."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.artifacts.verdict import Verdict
from pipelines.core.contract import Contract
from pipelines.problem.columns import CONTRACT
from pipelines.report import figures
from pipelines.report.details import MODELS, MOST_ROWS, explained, slice_sign
from pipelines.report.findings import WORDS, in_order, reasons, sign_of
from pipelines.report.markdown import SIGNS, flat, interval, number, plain, signed

LONGEST = 500  # characters of a text that comes from a proposal
MOST_FILES = 500
PARTS = ("importance", "dependence", "shap")


def render(given: Verdict, contract: Contract = CONTRACT) -> str:
    """The page on what gate.json holds. All its text is escaped, and made one line of printable letters."""
    gate = given.model_dump()
    limits = (gate["thresholds"] or {}).get("slice") or {}
    slices = gate["slices"][: 4 * MOST_ROWS]
    return (
        _environment()
        .get_template("page.html")
        .render(
            gate=gate,
            contract=contract,
            verdict=gate["verdict"],
            words=WORDS[gate["verdict"]],
            reasons=reasons(gate),
            findings=[(sign_of(f), f) for f in in_order(gate["findings"])][:MOST_ROWS],
            signs=SIGNS,
            slices=[(slice_sign(part, limits), part) for part in slices],
            params=gate["params"][:MOST_FILES],
            files=(gate["code"] or [])[:MOST_FILES],
            models={name: gate[name] for name in MODELS if gate[name]},
            thresholds=list(flat(gate["thresholds"] or {})),
            figures=figures.draw(gate),
            notes={part: explained(gate, part)[1] for part in PARTS},
        )
    )


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_one_line,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "signed": signed, "interval": interval}
    return made


def _one_line(value: Any) -> Any:
    """What is written into the page: nothing that changes the direction of text, and no more than fits."""
    return plain(value, LONGEST) if isinstance(value, str) and not isinstance(value, Markup) else value
