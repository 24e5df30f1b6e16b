"""`ml`: every verb of the template. A verb's module is imported when that verb runs."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import Refused, UserError

if TYPE_CHECKING:
    from pipelines.delivery.ledger import Entry
    from pipelines.review.champion import Production

app = typer.Typer(
    name="ml",
    help="Propose, judge, release, deploy and watch a model. Start with `make demo`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
infra = typer.Typer(
    help="Set up a host with Terraform: edge, supervisor, folders.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
store = typer.Typer(help="Add to the store of releases.", no_args_is_help=True, rich_markup_mode="markdown")

PIPELINE, REVIEW, DELIVERY, MONITORING, LOCAL = (
    "Pipeline",
    "Review",
    "Delivery",
    "Monitoring",
    "On this machine",
)

app.add_typer(infra, name="infra", rich_help_panel=DELIVERY)
app.add_typer(store, name="store", rich_help_panel=DELIVERY)

Env = Annotated[str, typer.Option("--env", help="The environment: staging or production.")]


def main() -> None:
    """Run `ml`: 0 done or PASS, 2 the user's mistake, 3 INCONCLUSIVE or waiting, 4 FAIL or refused, 130 and
    143 after a signal; anything else is a bug.
    """
    try:
        app()
    except (UserError, Refused) as error:
        print(f"ml: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 4)


# --- pipeline ---------------------------------------------------------------------------------------------


@app.command(rich_help_panel=PIPELINE)
def ingest(
    through: Annotated[str, typer.Option(help="The newest month to write, such as 2013-06, or `latest`.")],
    labels_to: Annotated[
        str,
        typer.Option(
            help="Write the months after data.through into this folder, not into data/; "
            "`host` is the labels of $GREENLIGHT_HOME."
        ),
    ] = "",
) -> None:
    """Write the source's months into data/, a file each; the same bytes each time."""
    from pipelines.training.ingest import ingest

    ingest(_month(through), labels_to=_labels(labels_to))


@app.command(rich_help_panel=PIPELINE)
def restore() -> None:
    """Bring data/ back in a fresh clone, from the DVC remote or the source, and check it against data.dvc."""
    from pipelines.training.ingest import restore

    restore()


@app.command(rich_help_panel=PIPELINE)
def validate() -> None:
    """Stage 1: hold the data files against the contract (Great Expectations)."""
    from pipelines.params import load
    from pipelines.training import validate

    validate.run(load())


@app.command(rich_help_panel=PIPELINE)
def prepare() -> None:
    """Stage 2: make the features."""
    from pipelines.params import load
    from pipelines.training import prepare

    prepare.run(load())


@app.command(rich_help_panel=PIPELINE)
def train() -> None:
    """Stage 3: fit the estimator of params.yaml, export it as ONNX, log the run to MLflow."""
    from pipelines.params import load
    from pipelines.training import train

    train.run(load())


@app.command(rich_help_panel=PIPELINE)
def evaluate() -> None:
    """Stage 4: metrics, plots and golden rows on the days after training."""
    from pipelines.params import load
    from pipelines.training import evaluate

    evaluate.run(load())


@app.command(rich_help_panel=PIPELINE)
def verify() -> None:
    """Stage 5: train again from the same seed, and on shuffled outcomes, for the gate."""
    from pipelines.params import load
    from pipelines.training import verify

    verify.run(load())


@app.command(rich_help_panel=PIPELINE)
def reproduce(
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse when dvc.lock is not the one that was committed.")
    ] = False,
) -> None:
    """All stages: bring the data back, run what has changed, compare with the committed dvc.lock."""
    from pipelines.training.reproduce import reproduce

    reproduce(locked=locked)


@app.command(rich_help_panel=PIPELINE)
def tune(
    trials: Annotated[
        int | None, typer.Option(min=1, help="So many trials in all; by default params.yaml: tune.trials.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Start no trial after so many minutes; again goes on.")
    ] = None,
    write: Annotated[
        bool,
        typer.Option("--write/--dry-run", help="Put better settings into params.yaml, or only show them."),
    ] = True,
) -> None:
    """Search params.yaml: tune for better settings, inside the training months; Ctrl-C keeps the best."""
    from pipelines.params import load
    from pipelines.training import tune

    tune.tune(load(), trials=trials, minutes=minutes, write=write)


# --- review -----------------------------------------------------------------------------------------------


@app.command(rich_help_panel=REVIEW)
def scope(
    base: Annotated[str, typer.Option(help="The commit before; `ledger` is the one that was released last.")],
    head: Annotated[str, typer.Option(help="The commit after.")],
) -> None:
    """Say whether the commits from base to head change what makes a model or a release."""
    from pipelines.review import scope

    if base == "ledger":
        from pipelines.delivery import ledger

        entry = ledger.released("staging")
        base = entry.commit if entry else "0" * 40
    _finish(scope.run(base, head))


@app.command(rich_help_panel=REVIEW)
def gate(
    candidate: Annotated[
        Path, typer.Option(help="What the proposal's build left: models/, params.yaml, dvc.lock.")
    ],
    base: Annotated[Path, typer.Option(help="The checkout that judges: its code, its thresholds.")] = Path(),
    head: Annotated[
        str | None, typer.Option(help="The proposal's commit, for the list of changed files.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where gate.json goes.")] = Path("evidence"),
) -> None:
    """Judge a proposal: exits with 0 for PASS, 3 for INCONCLUSIVE, 4 for FAIL."""
    from pipelines.delivery import ledger
    from pipelines.review import gate

    production, anchor = (
        _production(entry) for entry in (ledger.wanted("production"), ledger.anchor("production"))
    )
    _finish(gate.run(candidate, base, out, production, anchor, head))


def _production(entry: "Entry | None") -> "Production | None":
    """What the ledger says of a release, and its files where the store has them."""
    from pipelines.delivery import store as stores
    from pipelines.review.champion import Production

    if entry is None:
        return None
    store = stores.of()
    folder = store.get(entry.release) if store.has(entry.release) else None
    return Production(entry.release, entry.commit, folder)


@app.command(rich_help_panel=REVIEW)
def report(
    evidence: Annotated[Path, typer.Argument(help="The folder of gate.json.")] = Path("evidence"),
    show: Annotated[bool, typer.Option("--show", help="Print it here as well.")] = False,
) -> None:
    """Write the pull request's report from gate.json: report.md, and report.html with plots."""
    from pipelines.review import markdown, report

    path = report.run(evidence)
    if show:
        markdown.show(path)


@app.command(rich_help_panel=REVIEW)
def evidence(
    event: Annotated[
        Path | None, typer.Option(help="The payload of a workflow_run, or of a label's event.")
    ] = None,
    commit: Annotated[
        str, typer.Option(help="Or a commit of the main branch, which a pull request brought.")
    ] = "",
    out: Annotated[Path, typer.Option(help="With --commit: what GitHub knows of the proposal.")] = Path(
        "build/proposal.json"
    ),
) -> None:
    """Find the run of the workflow `propose` that judged a proposal, and whether it left a report."""
    from pipelines.review import runs

    if (event is None) == (not commit):
        raise UserError("ml evidence takes one of --event and --commit")
    _finish(runs.of_event(event) if event else runs.of_commit(commit, out))


@app.command(rich_help_panel=REVIEW)
def override(
    event: Annotated[Path, typer.Option(help="The payload of the label's pull_request_target event.")],
) -> None:
    """Turn a maintainer's label gate:override into a status of the commit that it was given to."""
    from pipelines.review import override

    _finish(override.run(event))


@app.command(rich_help_panel=REVIEW)
def card() -> None:
    """Stage 6: write the model card, models/card.md."""
    from pipelines.params import load
    from pipelines.review import card

    card.run(load())


@app.command(rich_help_panel=REVIEW)
def comment(
    run: Annotated[int, typer.Option(help="The id of the run of `propose`, as `ml evidence` finds it.")],
    evidence: Annotated[Path, typer.Option(help="The folder of the downloaded report.")] = Path("evidence"),
) -> None:
    """Set the commit status greenlight/gate and name the pull request: the trusted side of a proposal."""
    from pipelines.review import comment

    _finish(comment.run(run, evidence))


# --- delivery ---------------------------------------------------------------------------------------------


@app.command(rich_help_panel=DELIVERY)
def release(env: Env = "staging") -> None:
    """Build the release of this commit, put it into the store, and let the ledger want it."""
    from pipelines.delivery.release import release

    print(release(env))


@app.command(rich_help_panel=DELIVERY)
def promote(env: Env = "production") -> None:
    """Let the ledger want in one environment what staging wants."""
    from pipelines.delivery import ledger

    if env != "production":
        raise UserError(f"--env {env!r}: what staging wants is promoted to production, nowhere else")
    entry = ledger.promote(env)
    print(f"{env} wants {entry.release[:12]} of commit {entry.commit[:12]}")


@app.command(rich_help_panel=DELIVERY)
def image(
    release: Annotated[
        str, typer.Argument(help="A release id, or its beginning; staging's by default.")
    ] = "",
) -> None:
    """Build the release's container image, where a Docker engine answers."""
    from pipelines.delivery.image import image

    _finish(image(release or _wanted("staging")))


def _wanted(env: str) -> str:
    from pipelines.delivery import ledger

    entry = ledger.wanted(env)
    if entry is None:
        raise UserError(f"the ledger wants nothing for {env} yet: run `ml release --env {env}`")
    return entry.release


@app.command(rich_help_panel=DELIVERY)
def releases() -> None:
    """The releases in the store, newest first: what they are, who wants them, what runs here."""
    from pipelines.delivery import releases

    print(releases.table())


@app.command(rich_help_panel=DELIVERY)
def prune(
    keep: Annotated[int, typer.Option(min=1, help="So many of the newest releases stay.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove older releases from the store, but none that an environment wants, runs or goes back to."""
    from pipelines.delivery import releases

    print(releases.prune(keep, dry_run=dry_run))


@store.command("add")
def store_add(
    folder: Annotated[Path, typer.Argument(help="A folder of releases, such as a downloaded artifact.")],
) -> None:
    """Take in releases that another machine built; each is hashed against its id."""
    from pipelines.delivery import store as stores

    releases = [path.parent for path in sorted(folder.glob("*/release.json"))]
    if not releases:
        raise UserError(f"{folder} holds no release: each is a folder with a release.json")
    for release in releases:
        print(stores.of().add(release))


@store.command("previous")
def store_previous() -> None:
    """Find the workflow run that made the release before staging's, for a runner whose store is empty."""
    from pipelines.delivery import ledger
    from pipelines.delivery import store as stores
    from pipelines.delivery.rehearse import locate, previous

    _finish(locate(previous(_wanted("staging"), ledger.history("staging")), stores.of()))


@infra.command("up")
def infra_up(env: Env) -> None:
    """Make the host what infra/ says, and start what does not run. Again changes nothing."""
    from pipelines.delivery import terraform

    terraform.up(env)


@infra.command("plan")
def infra_plan(env: Env) -> None:
    """Show what `up` would change."""
    from pipelines.delivery import terraform

    print(terraform.plan(env))


@infra.command("down")
def infra_down(env: Env) -> None:
    """Stop and remove an environment; its journal, its predictions and the store stay."""
    from pipelines.delivery import terraform

    terraform.down(env)


@infra.command("unit")
def infra_unit() -> None:
    """Print the systemd unit that runs `ml watch` for each environment, for this checkout and this user."""
    from pipelines.delivery.watch import unit

    print(unit(), end="")


@app.command(rich_help_panel=DELIVERY)
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
    from pipelines.delivery import rollout

    _finish(rollout.deploy(env, plan=plan, pause_before=pause_before))


@app.command(rich_help_panel=DELIVERY)
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
    from pipelines.delivery.watch import watch

    _finish(watch(env, every=every, once=once))


@app.command(rich_help_panel=DELIVERY)
def rollback(env: Env) -> None:
    """Return to the newest release before this one whose rollout completed."""
    from pipelines.delivery import rollout

    _finish(rollout.rollback(env))


@app.command(rich_help_panel=DELIVERY)
def status(env: Env) -> None:
    """Show what is wanted, what runs, and where the two differ."""
    from pipelines.delivery import status

    _finish(status.status(env))


@app.command(rich_help_panel=DELIVERY)
def history(
    env: Env,
    move: Annotated[str | None, typer.Option(help="The id of one move: all that is known of it.")] = None,
) -> None:
    """Show the moves that an environment made: when, why, from what to what, and how each ended."""
    from pipelines.delivery import status

    _finish(status.history(env, move))


@app.command(rich_help_panel=DELIVERY)
def rehearse() -> None:
    """Try staging's release on this machine: the previous one up, the flip under load, all down again."""
    from pipelines.delivery import ledger
    from pipelines.delivery import store as stores
    from pipelines.delivery.rehearse import rehearse

    new = _wanted("staging")
    before = (entry.release for entry in ledger.history("staging") if entry.release != new)
    _finish(rehearse(new, next(filter(stores.of().has, before), None)))


# --- monitoring -------------------------------------------------------------------------------------------


@app.command(rich_help_panel=MONITORING)
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
    from pipelines.delivery.host import Host
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
    _finish(counts.exit_code)


@app.command(rich_help_panel=MONITORING)
def drift(
    env: Env = "production",
    through: Annotated[
        str, typer.Option(help="The newest month to look at; `latest` is the source's.")
    ] = "latest",
    out: Annotated[Path, typer.Option(help="Where drift.json and drift.md go.")] = Path("build/drift"),
) -> None:
    """Compare what production saw with what its model was trained on: 0 STEADY, 3 INCONCLUSIVE, 4 RETRAIN."""
    from pipelines.delivery import store as stores
    from pipelines.delivery.host import Host, home
    from pipelines.monitoring.drift import drift
    from pipelines.params import load

    route = Host.load(env).edge.route()
    if route is None:
        raise UserError(f"{env} serves no release yet: run `ml deploy --env {env}`")
    reference = stores.of().get(route.release) / "evidence/reference.json"
    _finish(drift(env, _month(through), home(), reference, load(), out))


@app.command(rich_help_panel=MONITORING)
def retrain(
    evidence: Annotated[Path, typer.Argument(help="The folder of drift.json and drift.md.")] = Path(
        "build/drift"
    ),
) -> None:
    """Where the drift check asks for it, open a pull request that trains on the newer months too."""
    from pipelines.monitoring import retrain

    _finish(retrain.propose(evidence))


# --- on this machine --------------------------------------------------------------------------------------


@app.command(rich_help_panel=LOCAL)
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
    _finish(
        workflow.run(
            name, event=event, inputs=_pairs(inputs), variables=_pairs(variables), job=job, verbose=verbose
        )
    )


@app.command(rich_help_panel=LOCAL)
def demo() -> None:
    """The whole loop, in .greenlight/demo."""
    from pipelines.local.demo import demo

    _finish(demo())


@app.command(rich_help_panel=LOCAL)
def down() -> None:
    """Stop what the demo left running."""
    from pipelines.local.demo import down

    down()


# --- arguments --------------------------------------------------------------------------------------------


def _month(text: str) -> str:
    """A month; `latest` is the newest that the source has."""
    if re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        return text
    if text != "latest":
        raise UserError(f"--through {text!r} is no month: write it as 2013-06, or `latest`")
    from pipelines.problem import source

    return source.months()[-1]


def _labels(text: str) -> Path | None:
    if text != "host":
        return Path(text) if text else None
    from pipelines.delivery.host import home

    return home() / "labels"


def _pairs(texts: list[str] | None) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts or ())
    if bad := [text for text in texts or () if "=" not in text]:
        raise UserError(f"{bad[0]!r} is not NAME=VALUE")
    return pairs


def _finish(code: int) -> None:
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
