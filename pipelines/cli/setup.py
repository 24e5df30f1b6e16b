"""The verbs that set a copy of the template up, and keep it well."""

from pathlib import Path
from typing import Annotated

from typer import Exit, Option

from pipelines.cli.arguments import at_the_top, pairs, problem
from pipelines.cli.groups import Verbs

verbs = Verbs("Set up and keep")


@verbs.command(example="ml init --plan\nml init --owners @ada --reviewers @ada --store github")
def init(
    plan: Annotated[bool, Option("--plan", help="Only say what would change.")] = False,
    owners: Annotated[str, Option(help="Who must approve code: @NAME, @ORGANIZATION/TEAM.")] = "",
    reviewers: Annotated[str, Option(help="Who lets production move: the same.")] = "",
    branch: Annotated[str, Option(help="The default branch, where it shall be another.")] = "",
    model: Annotated[str, Option(help="The model's name.")] = "",
    store: Annotated[str, Option(help="Where releases are kept: github, or folder.")] = "",
    runner: Annotated[str, Option(help="The label of a self-hosted runner on the host.")] = "",
    pull: Annotated[
        bool | None, Option("--pull/--no-pull", help="Hosts follow the ledger: promote after the rehearsal.")
    ] = None,
    variables: Annotated[list[str] | None, Option("--var", help="NAME=VALUE that workflows ask.")] = None,
    repository: Annotated[str, Option(help="OWNER/NAME, where origin does not say it.")] = "",
    yes: Annotated[bool, Option("--yes", help="Ask nothing.")] = False,
) -> None:
    """Turn a fresh copy into a repository whose checks mean something.

    On GitHub: rulesets, environments, the ledger's key, the label, variables, what Actions may do. In this
    checkout: CODEOWNERS, allowed_signers and the branch that workflows start on, which it commits and pushes
    before the rulesets forbid that.

    It needs an administrator's token: GITHUB_TOKEN, GH_TOKEN, or `gh auth login`. What is right stays, so a
    second run changes nothing, and what a kill left half done the same command finishes. What your plan of
    GitHub refuses is named with what it means, the rest is set, and the exit code is 3."""
    from pipelines.setup import where
    from pipelines.setup.asked import FOLDER, completed, kept, people
    from pipelines.setup.init import init
    from pipelines.setup.wanted import Wanted

    at_the_top()
    given = pairs(variables)
    given |= {"GREENLIGHT_STORE": "" if kept(store) == FOLDER else store} if store else {}
    given |= {"GREENLIGHT_RUNNER": runner} if runner else {}
    given |= {"GREENLIGHT_PULL": "true" if pull else ""} if pull is not None else {}
    wanted = Wanted(people(owners), people(reviewers), branch, model, given)
    hub = where.found(Path(), repository).hub()
    raise Exit(init(hub, completed(hub, wanted, Path(), yes), plan=plan))


@verbs.command(example="ml doctor\nml doctor --json")
def doctor(
    as_json: Annotated[bool, Option("--json", help="For machines: docs/update.md says the fields.")] = False,
    repository: Annotated[str, Option(help="OWNER/NAME, where origin does not say it.")] = "",
) -> None:
    """Show what is on, what is off and how to switch it on: this machine, the repository, GitHub, the host.

    Exits with 3 where something that matters is off."""
    from pipelines.setup import where
    from pipelines.setup.doctor import doctor

    at_the_top()
    if repository:
        where.found(name=repository)  # a mistake is the person's, nothing that could not be asked

    raise Exit(doctor(problem(), as_json, repository))


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
