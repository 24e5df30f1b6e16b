"""The verbs that set a copy of the template up, and keep it well."""

from typing import Annotated

from typer import Exit, Option

from pipelines.cli.groups import Verbs

verbs = Verbs("Set up and keep")


@verbs.command(example="ml update --plan\nml update --from https://github.com/OWNER/greenlight")
def update(
    source: Annotated[
        str, Option("--from", help="The template's address or folder; by default the one that is recorded.")
    ] = "",
    to: Annotated[
        str, Option(help="A tag, branch or commit; by default its newest version, else its default branch.")
    ] = "",
    since: Annotated[
        str, Option("--base", help="The version that this copy is of, where its first commit does not tell.")
    ] = "",
    plan: Annotated[bool, Option("--plan", help="Only say what would change.")] = False,
) -> None:
    """Merge a newer version of the template; your room, params.yaml and data stay as they are.

    Exits with 3 where conflicts are left to you, as Git leaves them."""
    from pipelines.setup.update import update

    raise Exit(update(source, to, since, plan))
