"""`ml infra`: what lasts of a host, by Terraform."""

from pathlib import Path
from typing import Annotated

from typer import Option

from pipelines.cli.arguments import Env, problem
from pipelines.cli.groups import Verbs

verbs = Verbs(help="Set up a host with Terraform: edge, supervisor, folders.")


@verbs.command(example="ml infra up --env staging")
def up(
    env: Env,
    allowed_signers: Annotated[
        Path | None,
        Option(help="Deploy only what these keys signed: a file in OpenSSH's format allowed_signers."),
    ] = None,
    address: Annotated[
        str | None, Option(help="Where callers ask by https, before the edge: `ml doctor` looks there.")
    ] = None,
) -> None:
    """Make the host what infra/ says, and start what does not run. Again changes nothing.

    A list of keys, or an address, that was given once stays."""
    from pipelines.base import machine
    from pipelines.host import address as addresses
    from pipelines.host import terraform, trust

    if address:
        addresses.keep(address, machine.home() / env)
    if allowed_signers:
        trust.allow(allowed_signers, machine.home() / env)
    terraform.up(env, problem().name)


@verbs.command(example="ml infra plan --env staging")
def plan(env: Env) -> None:
    """Show what `up` would change."""
    from pipelines.host import terraform

    print(terraform.plan(env, problem().name))


@verbs.command(example="ml infra down --env staging")
def down(env: Env) -> None:
    """Stop and remove an environment; its journal, its predictions and the store stay."""
    from pipelines.host import terraform

    terraform.down(env, problem().name)
