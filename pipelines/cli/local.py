"""The verbs for the template itself, on this machine."""

from typing import Annotated

from typer import Exit, Option

from pipelines.cli.arguments import problem
from pipelines.cli.groups import Verbs

verbs = Verbs("On this machine")


@verbs.command(example="ml demo\nml demo --down")
def demo(down: Annotated[bool, Option("--down", help="Stop what it left running.")] = False) -> None:
    """The whole loop, in .greenlight/demo."""
    from pipelines.local import demo

    if down:
        return demo.down()
    demo.demo(problem())


@verbs.command(example="ml lint\nml lint --fix")
def lint(fix: Annotated[bool, Option("--fix", help="Write the lists first.")] = False) -> None:
    """Compare the lists of code with the imports: the stages' `deps` in dvc.yaml, the Bento's `include` in
    bentofile.yaml, and what guards the judge (CODEOWNERS and the allow-list of pulls/scope.py).

    `pipelines/problem/features.py` now imports `pipelines/problem/holidays.py`: `ml lint` exits with 2 and
    says that the stages prepare and verify lack it. `ml lint --fix` writes it into dvc.yaml; then
    `ml reproduce` makes dvc.lock follow."""
    from pipelines.local import lint

    raise Exit(lint.run(fix=fix))
