"""The verbs that show what runs, and how it does."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Exit, Option

from pipelines.base.errors import UserError
from pipelines.cli.arguments import Env, at_the_top, month, problem
from pipelines.cli.groups import Verbs

verbs = Verbs("See what runs")


@verbs.command(example="ml status --env production")
def status(env: Env) -> None:
    """Show what is wanted, what runs, and where the two differ."""
    from pipelines.rollout import status

    status.status(env, problem().name)


@verbs.command(example="ml history --env production")
def history(
    env: Env,
    move: Annotated[str | None, Option(help="The id of one move: all that is known of it.")] = None,
) -> None:
    """Show the moves that an environment made: when, why, from what to what, and how each ended."""
    from pipelines.rollout import status

    status.history(env, problem().name, move)


@verbs.command(example="ml logs --env staging\nml logs --env production --slot blue --follow")
def logs(
    env: Env,
    slot: Annotated[Literal["blue", "green"] | None, Option(help="Only this slot's.")] = None,
    lines: Annotated[int, Option(min=0, help="So many of the last lines of each.")] = 20,
    follow: Annotated[bool, Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Show what the slots, the edge and the supervisor of an environment wrote."""
    from pipelines.host import logs

    logs.show(env, problem().name, slot, lines, follow)


@verbs.command(example="ml drift --env production --through 2013-07")
def drift(
    env: Env,
    through: Annotated[str, Option(help="The newest month; `latest` is the source's.")] = "latest",
    out: Annotated[Path, Option(help="Where drift.json and drift.md go.")] = Path("build/drift"),
) -> None:
    """Compare what production saw with the training data: 0 STEADY, 3 INCONCLUSIVE, 4 RETRAIN or FAULT."""
    from pipelines.artifacts.reference import Reference
    from pipelines.base.machine import home
    from pipelines.core.params import load
    from pipelines.host.host import Host
    from pipelines.monitoring import report
    from pipelines.monitoring.drift import EXIT, drift
    from pipelines.registry import store as stores

    host = Host.load(env, problem().name)
    if (route := host.edge.route()) is None:
        raise UserError(f"{env} serves no release yet: run `ml deploy --env {env}`")
    known = Reference.read(stores.of().get(route.release) / "evidence")
    check = drift(env, month(through), home(), known, problem().task.suited(load()), problem())
    report.write(check, out, problem().task)
    check.write(host.drift / check.through)  # `ml page` shows them all
    raise Exit(EXIT[check.verdict])


@verbs.command(example="ml page")
def page(
    out: Annotated[
        Path, Option(help="The folder of the site; what was there is replaced as a whole.")
    ] = Path("build/page"),
) -> None:
    """Write a static site: what runs where, every release with its evidence, skill by month, open proposals.

    From the ledger, the store and, where this machine is the host, its journal and drift reports."""
    from pipelines.page import site

    at_the_top()
    print(site.write(problem(), out))
