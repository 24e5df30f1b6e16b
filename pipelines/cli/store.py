"""`ml store`: the releases that were built."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from pipelines.base.errors import UserError
from pipelines.cli.groups import Verbs

verbs = Verbs(help="The releases that were built: a folder here, the assets of GitHub's releases there.")


@verbs.command("list", example="ml store list")
def show() -> None:
    """The releases in the store, newest first: what they are, who wants them, what runs here."""
    from pipelines.rollout import releases

    print(releases.table())


@verbs.command(example="ml store prune --keep 10 --dry-run")
def prune(
    keep: Annotated[int, Option(min=1, help="So many of the newest releases stay.")],
    dry_run: Annotated[bool, Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove older releases from the store, but none that an environment wants, runs or goes back to."""
    from pipelines.rollout import releases

    print(releases.prune(keep, dry_run=dry_run))


@verbs.command(example="ml store add release  # a downloaded artifact")
def add(folder: Annotated[Path, Argument(help="A folder of releases: a downloaded artifact.")]) -> None:
    """Take in releases that another machine built; each is hashed against its id."""
    from pipelines.registry import store as stores

    releases = [path.parent for path in sorted(folder.glob("*/release.json"))]
    if not releases:
        raise UserError(f"{folder} holds no release: each is a folder with a release.json")
    for release in releases:
        print(stores.of().add(release))


@verbs.command(example="ml store previous")
def previous() -> None:
    """Find the workflow run that made the release before staging's, for a runner whose store is empty."""
    from pipelines.registry import store as stores
    from pipelines.registry.ledger import Ledger
    from pipelines.rollout.rehearse import locate, previous

    new, history = Ledger().required("staging").release, Ledger().history("staging")
    locate(previous(new, history), stores.of())
