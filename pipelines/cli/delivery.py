"""The verbs from a release to a host that serves it."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.base.errors import UserError
from pipelines.cli.arguments import Env, finish

PANEL = "Delivery"

verbs = typer.Typer()
infra = typer.Typer(
    help="Set up a host with Terraform: edge, supervisor, folders.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
store = typer.Typer(help="Add to the store of releases.", no_args_is_help=True, rich_markup_mode="markdown")
verbs.add_typer(infra, name="infra", rich_help_panel=PANEL)
verbs.add_typer(store, name="store", rich_help_panel=PANEL)


@verbs.command(rich_help_panel=PANEL)
def release(
    env: Env = "staging",
    trained: Annotated[
        Path | None, typer.Option(help="What `ml rebuild` left: then nothing is trained here.")
    ] = None,
    sha256: Annotated[str, typer.Option(help="The SHA-256 of that folder, as `ml rebuild` says it.")] = "",
) -> None:
    """Build the release of this commit, put it into the store, and let the ledger want it."""
    from pipelines.release.release import release

    print(release(env, trained=trained, digest=sha256))


@verbs.command(rich_help_panel=PANEL)
def promote(env: Env = "production") -> None:
    """Let the ledger want in one environment what staging wants."""
    from pipelines.registry.promote import promote

    if env != "production":
        raise UserError(f"--env {env!r}: what staging wants is promoted to production, nowhere else")
    entry = promote(env)
    print(f"{env} wants {entry.release[:12]} of commit {entry.commit[:12]}")


@verbs.command(rich_help_panel=PANEL)
def image(
    release: Annotated[
        str, typer.Argument(help="A release id, or its beginning; staging's by default.")
    ] = "",
) -> None:
    """Build the release's container image, where a Docker engine answers."""
    from pipelines.release.image import image

    finish(image(release or _wanted("staging")))


def _wanted(env: str) -> str:
    from pipelines.registry import ledger

    entry = ledger.wanted(env)
    if entry is None:
        raise UserError(f"the ledger wants nothing for {env} yet: run `ml release --env {env}`")
    return entry.release


@verbs.command(rich_help_panel=PANEL)
def releases() -> None:
    """The releases in the store, newest first: what they are, who wants them, what runs here."""
    from pipelines.rollout import releases

    print(releases.table())


@verbs.command(rich_help_panel=PANEL)
def prune(
    keep: Annotated[int, typer.Option(min=1, help="So many of the newest releases stay.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove older releases from the store, but none that an environment wants, runs or goes back to."""
    from pipelines.rollout import releases

    print(releases.prune(keep, dry_run=dry_run))


@store.command("add")
def store_add(
    folder: Annotated[Path, typer.Argument(help="A folder of releases, such as a downloaded artifact.")],
) -> None:
    """Take in releases that another machine built; each is hashed against its id."""
    from pipelines.registry import store as stores

    releases = [path.parent for path in sorted(folder.glob("*/release.json"))]
    if not releases:
        raise UserError(f"{folder} holds no release: each is a folder with a release.json")
    for release in releases:
        print(stores.of().add(release))


@store.command("previous")
def store_previous() -> None:
    """Find the workflow run that made the release before staging's, for a runner whose store is empty."""
    from pipelines.registry import ledger
    from pipelines.registry import store as stores
    from pipelines.rollout.rehearse import locate, previous

    finish(locate(previous(_wanted("staging"), ledger.history("staging")), stores.of()))


@infra.command("up")
def infra_up(
    env: Env,
    allowed_signers: Annotated[
        Path | None,
        typer.Option(help="Deploy only what these keys signed: a file in OpenSSH's format allowed_signers."),
    ] = None,
) -> None:
    """Make the host what infra/ says, and start what does not run. Again changes nothing.

    A list of keys that was given once stays.
    """
    from pipelines.base import machine
    from pipelines.host import terraform, trust

    if allowed_signers:
        trust.allow(allowed_signers, machine.home() / env)
    terraform.up(env)


@infra.command("plan")
def infra_plan(env: Env) -> None:
    """Show what `up` would change."""
    from pipelines.host import terraform

    print(terraform.plan(env))


@infra.command("down")
def infra_down(env: Env) -> None:
    """Stop and remove an environment; its journal, its predictions and the store stay."""
    from pipelines.host import terraform

    terraform.down(env)


@infra.command("unit")
def infra_unit() -> None:
    """Print the systemd unit that runs `ml watch` for each environment, for this checkout and this user."""
    from pipelines.rollout.watch import unit

    print(unit(), end="")


@verbs.command(rich_help_panel=PANEL)
def deploy(
    env: Env,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would happen.")] = False,
    pause_before: Annotated[
        str | None,
        typer.Option(
            metavar="STEP", help="Wait before this step (such as FLIP), with a preview of the idle slot."
        ),
    ] = None,
) -> None:
    """Move an environment to the release that the ledger wants.

    The steps are PREPARE, VERIFY, SHADOW, CANARY, FLIP, BAKE and RETIRE; where one refuses, traffic returns,
    and the exit code is 4. Where there is too little traffic for a verdict the rollout waits, with 3. After
    that, after a kill and after a pause the same command goes on.
    """
    from pipelines.rollout import deploy

    finish(deploy.deploy(env, plan=plan, pause_before=pause_before))


@verbs.command(rich_help_panel=PANEL)
def watch(
    env: Env,
    every: Annotated[
        float, typer.Option(min=1, help="Seconds between two looks, more or less a quarter by chance.")
    ] = 30.0,
    once: Annotated[
        bool,
        typer.Option("--once", help="Look once, and exit as `ml deploy` does; for a timer of your own."),
    ] = False,
) -> None:
    """Follow the ledger and deploy what it names, until stopped: the host pulls, GitHub holds no key to it.

    It only reads the ledger: no right to push is needed. What runs stays while the remote is out of reach or
    the branch rewritten or broken. A refused release is tried again once another commit writes the entry.
    After a reboot it brings the host up again.

    `ml status` shows what it saw last; `ml infra unit` prints a systemd unit for it.
    """
    from pipelines.rollout.watch import watch

    finish(watch(env, every=every, once=once))


@verbs.command(rich_help_panel=PANEL)
def rollback(
    env: Env,
    ledger_only: Annotated[
        bool,
        typer.Option("--ledger-only", help="Only write the ledger, by its history: the host follows it."),
    ] = False,
) -> None:
    """Return to the newest release before this one whose rollout completed."""
    from pipelines.rollout.rollback import in_ledger, rollback

    finish(in_ledger(env) if ledger_only else rollback(env))


@verbs.command(rich_help_panel=PANEL)
def status(env: Env) -> None:
    """Show what is wanted, what runs, and where the two differ."""
    from pipelines.rollout import status

    finish(status.status(env))


@verbs.command(rich_help_panel=PANEL)
def history(
    env: Env,
    move: Annotated[str | None, typer.Option(help="The id of one move: all that is known of it.")] = None,
) -> None:
    """Show the moves that an environment made: when, why, from what to what, and how each ended."""
    from pipelines.rollout import status

    finish(status.history(env, move))


@verbs.command(rich_help_panel=PANEL)
def rehearse() -> None:
    """Try staging's release on this machine: the previous one up, the flip under load, all down again."""
    from pipelines.registry import ledger
    from pipelines.registry import store as stores
    from pipelines.rollout.rehearse import rehearse

    new = _wanted("staging")
    before = (entry.release for entry in ledger.history("staging") if entry.release != new)
    finish(rehearse(new, next(filter(stores.of().has, before), None)))
