"""Somebody whom an environment asks before a job deploys to it, at GitHub's API."""

import time
from collections.abc import Callable
from typing import Any

from pipelines.local.github import call

WORD = {"comment": "Ship it!\n::set-env name=A::b"}


def waiting(api: str, workflow: str) -> int:
    """The run of a workflow that waits, as soon as the API has it. `api`: below the repository."""
    path = f"{api}/actions/workflows/{workflow}.yml/runs?status=waiting"
    deadline = time.monotonic() + 20
    while not (found := call(path)["workflow_runs"]):
        assert time.monotonic() < deadline, f"no run of {workflow} waits"
        time.sleep(0.1)
    return int(found[0]["id"])


def pending(api: str, run: int, login: str) -> list[dict[str, Any]]:
    return list(call(f"{api}/actions/runs/{run}/pending_deployments", token=f"user:{login}"))


def review(api: str, run: int, login: str, state: str = "approved", **more: Any) -> Any:
    """Say a word about all that a run waits for."""
    ids = [one["environment"]["id"] for one in pending(api, run, login)]
    body = WORD | {"environment_ids": ids, "state": state} | more
    return call(f"{api}/actions/runs/{run}/pending_deployments", "POST", body, f"user:{login}")


def listener(
    api: str, workflow: str, then: Callable[[int], object]
) -> tuple[Callable[[str], None], list[str]]:
    """`told` of `act.run`, which hands the run that waits to `then`; and the lines that say that it waits."""
    lines: list[str] = []

    def listen(line: str) -> None:
        if " | waits for " in line and "failed after" not in line:
            lines.append(line)
            then(waiting(api, workflow))

    return listen, lines
