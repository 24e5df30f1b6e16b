"""The text of report.md and report.html, from one template."""

import re
from collections.abc import Collection
from typing import Any

from pipelines.core import tasks
from pipelines.core.contract import Contract
from pipelines.core.params import flat
from pipelines.report import findings, markdown
from pipelines.report.findings import MODELS

MOST_ROWS = 60  # of a list that a proposal can make as long as it likes


def parts(
    gate: dict[str, Any],
    contract: Contract,
    plots: Collection[str] | None = None,
    longest: int = 0,
    most: int = MOST_ROWS,
) -> tuple[str, dict[str, str]]:
    """The report's first screen, and its details by their titles, as Markdown. report.html has the `plots` of
    these names in place of charts, and room for texts of `longest` characters and lists of `most` rows."""
    task = tasks.of(contract)
    slices = sorted(gate["slices"], key=lambda part: (part["slice"], -(part.get("difference") or -9)))
    text = markdown.render(
        "report.md.j2",
        longest,
        gate=gate,
        contract=contract,
        task=task,
        find=findings,
        limits=findings.limits(gate, "slice", dict.fromkeys(("fail", "warn"), task.loss.name)),
        models={name: gate[name] for name in MODELS if gate[name]},
        most=most,
        page=plots is not None,
        plots=plots or (),
        slices=slices,
        thresholds=list(flat(gate["thresholds"] or {})),
    )
    screen, *found = re.split(r"(?ms)^<details><summary>(.*?)</summary>$(.*?)^</details>$", text)
    return screen.strip(), {title: its.strip() for title, its in zip(found[::3], found[1::3], strict=True)}
