"""The verbs that run GitHub's part on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.arguments import finish, pairs

PANEL = "On this machine"

verbs = typer.Typer()


@verbs.command(rich_help_panel=PANEL)
def workflow(
    name: Annotated[str, typer.Argument(help="A file of .github/workflows, without .yml.")] = "",
    event: Annotated[Path | None, typer.Option(help="A payload, as JSON; by default one is made.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=VALUE of a dispatched run.")
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", help="NAME=VALUE of the repository.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="Only this job and those that it needs.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show all output.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show the workflows and what starts them.")] = False,
) -> None:
    """Run a real workflow file here, on the last commit."""
    from pipelines.local import workflow

    if show or not name:
        for known, triggers in workflow.names().items():
            print(f"{known:10} {', '.join(triggers)}")
        return
    finish(
        workflow.run(
            name, event=event, inputs=pairs(inputs), variables=pairs(variables), job=job, verbose=verbose
        )
    )


@verbs.command(rich_help_panel=PANEL)
def demo() -> None:
    """The whole loop, in .greenlight/demo."""
    from pipelines.local.demo import demo

    finish(demo())


@verbs.command(rich_help_panel=PANEL)
def down() -> None:
    """Stop what the demo left running."""
    from pipelines.local.demo import down

    down()


@verbs.command(rich_help_panel=PANEL)
def lint(
    fix: Annotated[
        bool, typer.Option("--fix", help="Write the lists of dvc.yaml and bentofile.yaml first.")
    ] = False,
) -> None:
    """Compare the lists of code with the imports: the stages' `deps` in dvc.yaml, the Bento's `include` in
    bentofile.yaml, and what guards the judge (CODEOWNERS and the allow-list of pulls/scope.py).

    Example: `pipelines/problem/features.py` now imports `pipelines/problem/holidays.py`. `ml lint` exits with
    2 and says that the stages prepare and verify lack it. `ml lint --fix` writes it into dvc.yaml; then
    `ml reproduce` makes dvc.lock follow.
    """
    from pipelines.local import lint

    finish(lint.run(fix=fix))
