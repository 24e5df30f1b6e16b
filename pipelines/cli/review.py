"""The verbs that judge a proposal and tell of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.arguments import finish

if TYPE_CHECKING:
    from pipelines.artifacts.entry import Entry
    from pipelines.judge.champion import Production

PANEL = "Review"

verbs = typer.Typer()


@verbs.command(rich_help_panel=PANEL)
def scope(
    base: Annotated[str, typer.Option(help="The commit before; `ledger` is the one that was released last.")],
    head: Annotated[str, typer.Option(help="The commit after.")],
) -> None:
    """Say whether the commits from base to head change what makes a model or a release."""
    from pipelines.pulls import scope

    if base == "ledger":
        from pipelines.registry import ledger

        entry = ledger.released("staging")
        base = entry.commit if entry else "0" * 40
    finish(scope.run(base, head))


@verbs.command(rich_help_panel=PANEL)
def gate(
    candidate: Annotated[
        Path, typer.Option(help="What the proposal's build left: models/, params.yaml, dvc.lock.")
    ],
    base: Annotated[Path, typer.Option(help="The checkout that judges: its code, its thresholds.")] = Path(),
    head: Annotated[
        str | None, typer.Option(help="The proposal's commit, for the list of changed files.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where gate.json goes.")] = Path("evidence"),
) -> None:
    """Judge a proposal: exits with 0 for PASS, 3 for INCONCLUSIVE, 4 for FAIL."""
    from pipelines.judge import gate
    from pipelines.registry import ledger

    production, anchor = (
        _production(entry) for entry in (ledger.wanted("production"), ledger.anchor("production"))
    )
    finish(gate.run(candidate, base, out, production, anchor, head))


def _production(entry: "Entry | None") -> "Production | None":
    """What the ledger says of a release, and its files where the store has them."""
    from pipelines.judge.champion import Production
    from pipelines.registry import store as stores

    if entry is None:
        return None
    store = stores.of()
    folder = store.get(entry.release) if store.has(entry.release) else None
    return Production(entry.release, entry.commit, folder)


@verbs.command(rich_help_panel=PANEL)
def report(
    evidence: Annotated[Path, typer.Argument(help="The folder of gate.json.")] = Path("evidence"),
    show: Annotated[bool, typer.Option("--show", help="Print it here as well.")] = False,
) -> None:
    """Write the pull request's report from gate.json: report.md, and report.html with plots."""
    from pipelines.report import markdown, report

    path = report.run(evidence)
    if show:
        markdown.show(path)


@verbs.command(rich_help_panel=PANEL)
def evidence(
    commit: Annotated[str, typer.Option(help="A commit of the main branch, which a pull request brought.")],
    out: Annotated[Path, typer.Option(help="Where proposal.json goes.")] = Path("build"),
) -> None:
    """Find the run of the workflow `judge` that let a merged commit through, and whether it left a report."""
    from pipelines.pulls import runs

    finish(runs.of_commit(commit, out))


Event = Annotated[
    Path, typer.Option(help="The payload of a workflow_run, or of a pull_request_target event.")
]


@verbs.command(rich_help_panel=PANEL)
def proposal(event: Event) -> None:
    """Find the pull request that an event is about, and the run that built the candidate to judge."""
    from pipelines.pulls import runs

    finish(runs.of_event(event))


@verbs.command(rich_help_panel=PANEL)
def candidate(
    folder: Annotated[Path, typer.Argument(help="What the proposal's build left.")],
    head: Annotated[str, typer.Option(help="The proposal's commit.")],
) -> None:
    """Put the commit's own params.yaml, dvc.lock and data.dvc in place of those that its build left."""
    from pipelines.pulls import candidate

    finish(candidate.run(folder, head))


@verbs.command(rich_help_panel=PANEL)
def override(event: Event) -> None:
    """Turn a maintainer's label gate:override into a status of the commit that it was given to."""
    from pipelines.pulls import override

    finish(override.run(event))


@verbs.command(rich_help_panel=PANEL)
def verdict(
    event: Event,
    evidence: Annotated[Path, typer.Option(help="The folder of the gate's gate.json.")] = Path("evidence"),
) -> None:
    """Set the commit status greenlight/gate of the pull request that an event is about."""
    from pipelines.pulls import status

    finish(status.run(event, evidence))


@verbs.command(rich_help_panel=PANEL)
def comment(
    number: Annotated[int, typer.Option(help="The pull request.")],
    report: Annotated[Path, typer.Argument(help="The report of `ml verdict`.")] = Path("evidence/report.md"),
) -> None:
    """Bring the report's comment on a pull request up to date; where there is none, say so."""
    from pipelines.pulls import comment

    finish(comment.run(number, report))


@verbs.command(rich_help_panel=PANEL)
def card() -> None:
    """Stage 6: write the model card, models/card.md."""
    from pipelines.core.params import load
    from pipelines.report import card

    card.run(load())
