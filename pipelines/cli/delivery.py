"""The verbs from a release to a host that serves it."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Exit, Option

from pipelines.cli.arguments import Env, problem
from pipelines.cli.groups import Verbs

verbs = Verbs("Release and deploy")


@verbs.command(example="ml release\nml release --verify 3fd1c09e")
def release(
    trained: Annotated[Path | None, Option(help="What `ml ci rebuild` left, to train nothing here.")] = None,
    sha256: Annotated[str, Option(help="The SHA-256 of that folder, as `ml ci rebuild` says it.")] = "",
    verify: Annotated[str, Option(metavar="ID", help="Only check a release against what was signed.")] = "",
    signers: Annotated[Path | None, Option(help="Whose keys count for that; by default a host's.")] = None,
) -> None:
    """Build the release of this commit, put it into the store, and let the ledger want it for staging.

    With a registry its image is pushed by digest, with an SBOM; with a key, or as a run of a public
    repository on GitHub, both are signed. `--verify` checks all of that; exit code 4 says that it fails."""
    if verify:
        from pipelines.release.verify import verify as check

        print("\n".join(check(verify, signers)))
        return
    from pipelines.release.release import release

    print(release(problem(), trained=trained, digest=sha256))


@verbs.command(example="ml image\nml image 3fd1c09e")
def image(
    release: Annotated[str, Argument(help="An id, or its beginning; staging's by default.")] = "",
) -> None:
    """Build a release's container image. It takes a Docker engine."""
    from pipelines.registry.ledger import Ledger
    from pipelines.release.image import image

    image(release or Ledger().required("staging").release)


@verbs.command(example="ml promote")
def promote() -> None:
    """Let the ledger want for production what staging wants."""
    from pipelines.registry import ledger, merged

    entry = ledger.Ledger().promote(lambda entry: merged.require_merged(entry.commit))
    print(f"production wants {entry.release[:12]} of commit {entry.commit[:12]}")


@verbs.command(example="ml deploy --env staging --plan\nml deploy --env production --pause-before FLIP")
def deploy(
    env: Env,
    plan: Annotated[bool, Option("--plan", help="Only say what would happen.")] = False,
    pause_before: Annotated[
        str | None, Option(metavar="STEP", help="Wait before this step (such as FLIP), with a preview.")
    ] = None,
) -> None:
    """Move an environment to the release that the ledger wants.

    The steps are PREPARE, VERIFY, SHADOW, CANARY, FLIP, BAKE and RETIRE; where one refuses, traffic returns,
    and the exit code is 4. Where there is too little traffic for a verdict the rollout waits, with 3. After
    that, after a kill and after a pause the same command goes on."""
    from pipelines.rollout import deploy

    raise Exit(deploy.deploy(env, problem().contract, plan=plan, pause_before=pause_before))


def _unit(asked: bool) -> None:
    if asked:
        from pipelines.rollout.watch import unit

        print(unit(), end="")
        raise Exit


@verbs.command(example="ml watch --env production")
def watch(
    env: Env,
    every: Annotated[float, Option(min=1, help="Seconds between two looks, give or take a quarter.")] = 30.0,
    unit: Annotated[
        bool, Option("--unit", is_eager=True, callback=_unit, help="Only print the systemd unit of it.")
    ] = False,
    once: Annotated[bool, Option("--once", help="Look once, and exit as `ml deploy` does.")] = False,
) -> None:
    """Follow the ledger and deploy what it names, until stopped: the host pulls, GitHub holds no key to it.

    It only reads the ledger: no right to push is needed. What runs stays while the remote is out of reach or
    the branch rewritten or broken. A refused release is tried again once another commit writes the entry.
    After a reboot it brings the host up again.

    `ml status` shows what it saw last."""
    from pipelines.rollout.watch import watch

    raise Exit(watch(env, problem().contract, every=every, once=once))


@verbs.command(example="ml rollback --env production")
def rollback(
    env: Env,
    ledger_only: Annotated[
        bool, Option("--ledger-only", help="Only write the ledger: the host follows it.")
    ] = False,
) -> None:
    """Return to the newest release before this one whose rollout completed."""
    from pipelines.rollout.rollback import in_ledger, rollback

    raise Exit(in_ledger(env) if ledger_only else rollback(env, problem().contract))


@verbs.command(example="ml abort --env production")
def abort(env: Env) -> None:
    """End a rollout that is under way, as Ctrl-C does there: the step in hand is undone.

    No watch goes on with it: `ml deploy` does, or `ml rollback` undoes it."""
    from pipelines.rollout.abort import abort

    abort(env, problem().name)
