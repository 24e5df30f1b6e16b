"""`ml ci`: what the workflow files run, and the workflow files themselves, run here."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from pipelines.cli.arguments import Env, pairs, problem
from pipelines.cli.groups import Verbs

verbs = Verbs(help="What the workflow files run; `ml ci workflow NAME` runs such a file here.")

Event = Annotated[Path, Option(help="The payload of a workflow_run or a pull_request_target event.")]
Drift = Annotated[Path, Argument(help="The folder of drift.json and drift.md.")]
DRIFT = Path("build/drift")
Root = Annotated[Path, Argument(envvar="GREENLIGHT_INFRA", help="A root module of infra/, with its backend.")]


@verbs.command(example="ml ci workflow judge\nml ci workflow rollback --input environment=staging")
def workflow(
    name: Annotated[str, Argument(help="A file of .github/workflows, without .yml.")] = "",
    event: Annotated[Path | None, Option(help="A payload, as JSON; by default one is made.")] = None,
    inputs: Annotated[list[str] | None, Option("--input", help="NAME=VALUE of a dispatch.")] = None,
    variables: Annotated[list[str] | None, Option("--var", help="The repository's NAME=VALUE.")] = None,
    job: Annotated[str | None, Option(help="Only this job and those that it needs.")] = None,
    verbose: Annotated[bool, Option("--verbose", help="Show all output.")] = False,
    show: Annotated[bool, Option("--list", help="Show the workflows and what starts them.")] = False,
) -> None:
    """Run a real workflow file here, on the last commit."""
    from pipelines.local import workflow

    if show or not name:
        for file, triggers in workflow.names().items():
            print(f"{file:10} {', '.join(triggers)}")
        return
    given, known = pairs(inputs), pairs(variables)
    raise Exit(workflow.run(name, event=event, inputs=given, variables=known, job=job, verbose=verbose))


@verbs.command(example="ml ci scope --base main --head HEAD")
def scope(
    base: Annotated[str, Option(help="The commit before; `ledger` is the one that was released last.")],
    head: Annotated[str, Option(help="The commit after.")],
) -> None:
    """Say whether the commits from base to head change what makes a model or a release."""
    from pipelines.pulls import scope

    if base == "ledger":
        from pipelines.registry import ledger

        entry = ledger.Ledger().released("staging")
        base = entry.commit if entry else "0" * 40
    scope.run(base, head)


@verbs.command(example='ml ci values --base "$BASE" --head "$HEAD" --of you/greenlight')
def values(
    base: Annotated[str, Option(help="The commit that it is proposed onto.")],
    head: Annotated[str, Option(help="The proposal's commit.")],
    of: Annotated[str, Option(help="The repository, OWNER/NAME, that has the proposal's branch.")],
) -> None:
    """Say whether the judge makes the dvc.lock of a proposal that changes nothing but values."""
    from pipelines.pulls import values

    values.run(base, head, of)


@verbs.command(example="ml ci build asked candidate")
def build(
    asked: Annotated[Path, Argument(help="The folder of the proposal's params.yaml.")],
    out: Annotated[Path, Argument(help="Where the candidate goes.")],
) -> None:
    """Make a candidate of a proposal's params.yaml, with this checkout's own code."""
    from pipelines.pulls import making

    making.build(asked, out, problem())


@verbs.command(example='ml ci commit candidate --event "$GITHUB_EVENT_PATH" --head "$HEAD"')
def commit(
    made: Annotated[Path, Argument(help="What `ml ci build` left.")],
    event: Event,
    head: Annotated[str, Option(help="The commit that has to be the branch's newest.")],
) -> None:
    """Commit the dvc.lock that the judge made, and no other file, to the proposal's branch."""
    from pipelines.pulls import making

    making.commit(made, event, head)


@verbs.command(example='ml ci proposal --event "$GITHUB_EVENT_PATH"')
def proposal(event: Event) -> None:
    """Find the pull request that an event is about, and the run that built the candidate to judge."""
    from pipelines.pulls import runs

    runs.of_event(event)


@verbs.command(example='ml ci candidate candidate --head "$HEAD"')
def candidate(
    folder: Annotated[Path, Argument(help="What the proposal's build left.")],
    head: Annotated[str, Option(help="The proposal's commit.")],
) -> None:
    """Put the commit's own params.yaml, dvc.lock and data.dvc in place of those that its build left."""
    from pipelines.pulls import proposals

    proposals.candidate(folder, head)


@verbs.command(example='ml ci override --event "$GITHUB_EVENT_PATH"')
def override(event: Event) -> None:
    """Turn a maintainer's label gate:override into a status of the commit that it was given to."""
    from pipelines.pulls import override

    override.run(event)


@verbs.command(example='ml ci verdict --event "$GITHUB_EVENT_PATH" --evidence evidence')
def verdict(
    event: Event,
    evidence: Annotated[Path, Option(help="The folder of the gate's gate.json.")] = Path("evidence"),
    made: Annotated[str, Option(help="The commit that this run made on top of the event's head.")] = "",
) -> None:
    """Set the commit status greenlight/gate of the pull request that an event is about."""
    from pipelines.pulls import status

    status.run(event, evidence, problem().contract, made)


@verbs.command(example="ml ci comment --number 12 evidence/report.md")
def comment(
    number: Annotated[int, Option(help="The pull request.")],
    report: Annotated[Path, Argument(help="What `ml ci verdict` left.")] = Path("evidence/report.md"),
) -> None:
    """Bring the report's comment on a pull request up to date; where there is none, say so."""
    from pipelines.pulls import comment

    comment.run(number, report)


@verbs.command(example="ml ci rebuild trained")
def rebuild(out: Annotated[Path, Argument(help="The models' folder; it does not exist yet.")]) -> None:
    """Train again from lock and seed, and leave the models for `ml release --trained`."""
    from pipelines.release import reviewed

    reviewed.leave(out, problem())


@verbs.command(example='ml ci evidence --commit "$COMMIT"')
def evidence(
    commit: Annotated[str, Option(help="A commit of the main branch, which a pull request brought.")],
    out: Annotated[Path, Option(help="Where proposal.json goes.")] = Path("build"),
) -> None:
    """Find the run of the workflow `judge` that let a merged commit through, and whether it left a report."""
    from pipelines.pulls import runs

    runs.of_commit(commit, out)


@verbs.command(example="ml ci identity")
def identity(
    role: Annotated[
        str, Option(envvar="GREENLIGHT_ROLE", help="The role, as docs/remotes/ says; empty: none.")
    ] = "",
    terraform: Annotated[bool, Option("--terraform", help="For infra/, not for the DVC remote.")] = False,
) -> None:
    """Let the later steps of this job reach the DVC remote, by a role for GitHub's word of who runs."""
    from pipelines.training import identity

    (identity.of_terraform if terraform else identity.run)(role)


@verbs.command(name="infra-check", example='ml ci infra-check --base "$BASE" --head "$HEAD"')
def infra_check(
    base: Annotated[str, Option(help="The commit before.")],
    head: Annotated[str, Option(help="The commit after.")],
) -> None:
    """Hold infra/ against Terraform's own checks, its tests and checkov, where a change touches it."""
    from pipelines.host import infra

    infra.check(base, head)


@verbs.command(name="infra-plan", example="ml ci infra-plan infra/aws --out plan")
def infra_plan(
    root: Root,
    out: Annotated[Path, Option(help="Where the sealed plan and its text go.")] = Path("plan"),
) -> None:
    """Plan a root module of infra/; the plan is sealed with GREENLIGHT_PLAN_KEY, its text is for people."""
    from pipelines.host import infra

    infra.plan(root, out)


@verbs.command(name="infra-comment", example="ml ci infra-comment --number 12 plan/plan.md")
def infra_comment(
    number: Annotated[int, Option(help="The pull request.")],
    text: Annotated[Path, Argument(help="What `ml ci infra-plan` left.")] = Path("plan/plan.md"),
) -> None:
    """Put a plan's text into its comment of a pull request: made once, then brought up to date."""
    from pipelines.host import infra

    infra.comment(number, text)


@verbs.command(name="infra-find", example='ml ci infra-find --base "$BEFORE" --head "$AFTER"')
def infra_find(
    base: Annotated[str, Option(help="The commit before a push.")],
    head: Annotated[str, Option(help="The commit after it.")],
) -> None:
    """Find the run whose plan was approved for what a push brought."""
    from pipelines.host import infra

    infra.find(base, head)


@verbs.command(name="infra-apply", example="ml ci infra-apply infra/aws --plan plan")
def infra_apply(
    root: Root, plan: Annotated[Path, Option(help="What `ml ci infra-plan` left.")] = Path("plan")
) -> None:
    """Apply exactly the plan that was approved, or say that it is out of date."""
    from pipelines.host import infra

    infra.apply(root, plan)


@verbs.command(name="infra-drift", example="ml ci infra-drift infra/aws")
def infra_drift(root: Root) -> None:
    """Say in an issue where reality is not what infra/ says; close it where it is again."""
    from pipelines.host import infra

    raise Exit(infra.drift(root))


@verbs.command(example="ml ci rehearse")
def rehearse() -> None:
    """Try staging's release on this machine: the previous one up, the flip under load, all down again."""
    from pipelines.registry import store as stores
    from pipelines.registry.ledger import Ledger
    from pipelines.rollout.rehearse import rehearse

    new, history = Ledger().required("staging").release, Ledger().history("staging")
    before = (entry.release for entry in history if entry.release != new)
    raise Exit(rehearse(new, problem().contract, next(filter(stores.of().has, before), None)))


@verbs.command(example="ml ci retrain build/drift")
def retrain(evidence: Drift = DRIFT) -> None:
    """Where the drift check asks for it, open a pull request that trains on the newer months too."""
    from pipelines.monitoring import retrain

    retrain.propose(evidence)


@verbs.command(example="ml ci alert build/drift")
def alert(evidence: Drift = DRIFT) -> None:
    """Open an issue where the drift check saw a fault or could say nothing (exit 4, 3); close it else."""
    from pipelines.monitoring import alerts

    raise Exit(alerts.alert(evidence))


@verbs.command(example="ml ci replay --month 2013-07 --env staging")
def replay(
    env: Env,
    month: Annotated[str, Option(help="The month whose events are sent, such as 2013-07.")],
    url: Annotated[str, Option(help="Where to; by default the environment's edge.")] = "",
    one_row: Annotated[bool, Option("--one-row", help="One row a request, not 100.")] = False,
    rate: Annotated[float | None, Option(help="At most so many requests a second.")] = None,
    until: Annotated[Path | None, Option(help="Go round until this file exists.")] = None,
    tally: Annotated[Path | None, Option(help="Write the counts there, as JSON.")] = None,
) -> None:
    """Send a month's events to an environment and count every answer; exits with 4 when one was lost."""
    from pipelines.host.host import Host
    from pipelines.monitoring.replay import replay

    counts = replay(
        month,
        url or Host.load(env, problem().name).edge.model_url,
        problem(),
        batch=1 if one_row else 100,
        rate=rate,
        until=until,
        tally=tally,
    )
    print(counts.table())
    raise Exit(counts.exit_code)
