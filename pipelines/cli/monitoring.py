"""The verbs that watch a model in production."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.base.errors import UserError
from pipelines.cli.arguments import Env, finish, month

PANEL = "Monitoring"

verbs = typer.Typer()


@verbs.command(rich_help_panel=PANEL)
def replay(
    month: Annotated[str, typer.Option(help="The month whose events are sent, such as 2013-07.")],
    env: Env = "production",
    url: Annotated[str, typer.Option(help="Where to; by default the environment's edge.")] = "",
    one_row: Annotated[bool, typer.Option("--one-row", help="One row a request, not 100.")] = False,
    rate: Annotated[float | None, typer.Option(help="At most so many requests a second.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Go round until this file exists, or for so many seconds.")
    ] = None,
    tally: Annotated[Path | None, typer.Option(help="Write the counts there, as JSON.")] = None,
) -> None:
    """Send a month's events to an environment and count every answer; exits with 4 when one was lost."""
    from pipelines.host.host import Host
    from pipelines.monitoring.replay import parse_until, replay

    counts = replay(
        month,
        url or Host.load(env).edge.model_url,
        batch=1 if one_row else 100,
        rate=rate,
        until=parse_until(until),
        tally=tally,
    )
    print(counts.table())
    finish(counts.exit_code)


@verbs.command(rich_help_panel=PANEL)
def drift(
    env: Env = "production",
    through: Annotated[
        str, typer.Option(help="The newest month to look at; `latest` is the source's.")
    ] = "latest",
    out: Annotated[Path, typer.Option(help="Where drift.json and drift.md go.")] = Path("build/drift"),
) -> None:
    """Compare what production saw with the training data: 0 STEADY, 3 INCONCLUSIVE, 4 RETRAIN or FAULT."""
    from pipelines.artifacts.reference import Reference
    from pipelines.base.machine import home
    from pipelines.core.params import load
    from pipelines.host.host import Host
    from pipelines.monitoring import report
    from pipelines.monitoring.drift import EXIT, drift
    from pipelines.registry import store as stores

    route = Host.load(env).edge.route()
    if route is None:
        raise UserError(f"{env} serves no release yet: run `ml deploy --env {env}`")
    known = Reference.read(stores.of().get(route.release) / "evidence")
    check = drift(env, month(through), home(), known, load())
    report.write(check, out)
    finish(EXIT[check.verdict])


@verbs.command(rich_help_panel=PANEL)
def retrain(
    evidence: Annotated[Path, typer.Argument(help="The folder of drift.json and drift.md.")] = Path(
        "build/drift"
    ),
) -> None:
    """Where the drift check asks for it, open a pull request that trains on the newer months too."""
    from pipelines.monitoring import retrain

    finish(retrain.propose(evidence))


@verbs.command(rich_help_panel=PANEL)
def alert(
    evidence: Annotated[Path, typer.Argument(help="The folder of drift.json and drift.md.")] = Path(
        "build/drift"
    ),
) -> None:
    """Open an issue where the drift check saw a fault or could say nothing (exit 4, 3); close it else."""
    from pipelines.monitoring import alerts

    finish(alerts.alert(evidence))
