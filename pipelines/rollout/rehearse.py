"""A rollout where no host is attached: everything for real, on a host that lives as long as the command."""

import itertools
import random
import shutil
import socket
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

from pipelines.artifacts.entry import Entry
from pipelines.artifacts.release import MODELS
from pipelines.artifacts.serving import Golden
from pipelines.base import machine
from pipelines.base.console import output, step, summary
from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.base.github import GitHub
from pipelines.base.signals import interruptible
from pipelines.core.contract import Contract
from pipelines.host import terraform
from pipelines.pulls.runs import artifact
from pipelines.registry import store as stores
from pipelines.registry.store import Store
from pipelines.rollout import deploy
from pipelines.rollout.load import Load

ENVIRONMENT = "rehearsal"
WORKFLOW, ARTIFACT = "release.yml", "release"


@interruptible()  # it takes all down
def rehearse(new: str, contract: Contract, previous: str | None = None, store: Store | None = None) -> int:
    """Flip from the release `previous` (None: from nothing) to `new` under load, and take all down again.
    Returns 4 when the new release was refused or a request was lost."""
    store = store or stores.of()
    folder = store.get(new)
    home = Path(tempfile.mkdtemp(prefix="greenlight-rehearsal-"))
    lend(home, ENVIRONMENT)
    try:
        host = terraform.up(ENVIRONMENT, contract.name, home)
        if previous and (code := deploy.move(host, contract, previous, store)):
            print(f"**Rehearsal: the previous release `{previous[:12]}` does not start any more.**")
            return code
        requests = itertools.cycle([[row] for row in Golden.read(folder / MODELS).rows])
        with Load(host.edge_url, requests) if previous else nullcontext() as load:
            code = deploy.move(host, contract, new, store)
        words = _summary(new, previous, code, load)
        print(words)
        summary(words)
        return 4 if code or (load and load.lost) else 0
    finally:
        step("taking the rehearsal down")
        try:
            terraform.down(ENVIRONMENT, contract.name, home)
        finally:
            shutil.rmtree(home, ignore_errors=True)


def lend(home: Path, env: str) -> None:
    """Lend an environment with a home of its own free ports, and this machine's tools and virtual
    environments, which are the same for all and made once."""
    for shared in ("tools", "venvs"):
        (machine.home() / shared).mkdir(parents=True, exist_ok=True)
        home.mkdir(exist_ok=True)
        (home / shared).symlink_to(machine.home() / shared)
    write_json(home / env / "terraform.tfvars.json", {"port": free_ports()})


def previous(new: str, history: Iterable[Entry]) -> Entry | None:
    """What ran before the release `new`; `history` is the ledger's, newest first."""
    return next((entry for entry in history if entry.release != new), None)


def locate(entry: Entry | None, store: Store) -> None:
    """Set the step's output `run` to the workflow run that still has this release.

    It is empty where the store has it, and where there is none any more, which the summary says."""
    found = ""
    if entry is None or store.has(entry.release):
        step(f"{store.where} has it" if entry else "this is the first release: there is none before it")
    else:
        github, asked = GitHub.from_environment(), f"{WORKFLOW}/runs?head_sha={entry.commit}"
        made = github.list(f"/actions/workflows/{asked}", "workflow_runs")
        found = next((str(run["id"]) for run in made if artifact(github, run["id"], ARTIFACT)), "")
        said = f"has the release {entry.release[:12]} of commit {entry.commit[:12]}"
        step(f"run {found} {said}" if found else f"no run {said} any more")
        if not found:
            summary(f"Rehearsed from nothing: no run of {WORKFLOW} {said} any more: its artifact expired.")
    output("run", found)


def _summary(new: str, previous: str | None, code: int, load: Load | None) -> str:
    rows = {"from": f"`{previous[:12]}`" if previous else "nothing"}
    rows["to"] = f"`{new[:12]}`: {'refused' if code else 'took the traffic'}"
    if load:
        lost = ", ".join(f"{count} × {reason}" for reason, count in load.lost.most_common())
        rows["requests sent"] = f"{load.sent}"
        rows["lost"] = f"{load.lost.total()}" + (f" ({lost})" if lost else "")
        rows |= {f"answered by `{release[:12]}`": f"{count}" for release, count in load.answered.items()}
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"### Rehearsal (no host is attached)\n\n| | |\n| --- | --- |\n{table}\n"


def free_ports() -> int:
    """The first of eight neighbours that nobody listens on: an edge's, and the slots' of three models."""
    blocks = range(20_000, 32_000, 8)  # below the range from which the kernel gives ports to callers
    for first in random.sample(blocks, len(blocks)):  # two who look at the same moment do not find the same
        with ExitStack() as probes, suppress(OSError):
            for port in range(first, first + 8):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise UserError("no eight free ports between 20000 and 32000 on 127.0.0.1: stop some servers")
