"""The verbs that judge a proposal and tell of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option

from pipelines.base.errors import UserError
from pipelines.cli.arguments import given, problem
from pipelines.cli.groups import Verbs

if TYPE_CHECKING:
    from pipelines.artifacts.entry import Entry
    from pipelines.judge.champion import Production

verbs = Verbs("Judge a proposal")


@verbs.command(example="ml gate --candidate ../proposal --head proposal\nml gate --power")
def gate(
    candidate: Annotated[
        Path | None, Option(help="What the proposal's build left: models/, dvc.lock, ...")
    ] = None,
    base: Annotated[Path, Option(help="The checkout that judges: its code, its thresholds.")] = Path(),
    head: Annotated[str | None, Option(help="The proposal's commit, for what it changes.")] = None,
    out: Annotated[Path, Option(help="Where gate.json goes.")] = Path("evidence"),
    power: Annotated[bool, Option("--power", help="Show which margins days like these can decide.")] = False,
) -> None:
    """Judge a proposal: exits with 0 for PASS, 3 for INCONCLUSIVE, 4 for FAIL."""
    if power:
        from pipelines.judge.power import run

        return run(*given())
    if candidate is None:
        raise UserError("--candidate is missing: the folder that a proposal's build leaves (or --power)")
    from pipelines.judge import gate
    from pipelines.registry.ledger import Ledger

    book = Ledger()
    production, anchor = map(_production, (book.wanted("production"), book.anchor("production")))
    raise Exit(gate.run(candidate, base, problem(), out, production, anchor, head))


def _production(entry: "Entry | None") -> "Production | None":
    """What the ledger says of a release, and its files where the store has them."""
    from pipelines.judge.champion import Production
    from pipelines.registry import store as stores

    if entry is None:
        return None
    store = stores.of()
    folder = store.get(entry.release) if store.has(entry.release) else None
    return Production(entry.release, entry.commit, folder)


@verbs.command(example="ml report --show")
def report(
    evidence: Annotated[Path, Argument(help="The folder of gate.json.")] = Path("evidence"),
    show: Annotated[bool, Option("--show", help="Print it here as well.")] = False,
) -> None:
    """Write the pull request's report from gate.json: report.md, and report.html with plots."""
    from pipelines.report import markdown, report

    path = report.run(problem().contract, evidence)
    if show:
        markdown.show(path)


@verbs.command(example="ml diff staging production\nml diff 3fd1c09e .")
def diff(
    one: Annotated[
        str, Argument(metavar="A", help="A release, `staging`, `production`, a folder with models/.")
    ],
    other: Annotated[str, Argument(metavar="B", help="Another one.")],
) -> None:
    """Show where two releases or models differ: params, data, metrics, columns, packages, the gate's word."""
    from pipelines.release.diff import diff

    print(diff(one, other))
