"""A host that a watch can follow the ledger for, without processes."""

import time
from pathlib import Path

import pytest

from pipelines.artifacts.host import Slots
from pipelines.base.locks import held
from pipelines.core.contract import Contract
from pipelines.edge.edge import Route
from pipelines.host.host import Host
from pipelines.registry import ledger
from pipelines.registry.ledger import BRANCH, Entry, Ledger
from pipelines.rollout.watch import Watch
from tests.delivery import tiny
from tests.project import commit, git

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


class World:
    """A host without processes, its checkout, the origin, a writer, and a stand-in of the rollout."""

    def __init__(self, folder: Path) -> None:
        git(folder, "init", "--quiet", "--bare", "origin.git")
        for name in ("checkout", "writer"):
            git(folder, "clone", "--quiet", str(folder / "origin.git"), name)
        self.origin, self.checkout, self.writer = (
            folder / name for name in ("origin.git", "checkout", "writer")
        )
        git(self.checkout, "remote", "set-url", "--push", "origin", "/nowhere")  # it may only read
        self.home = folder / "home"
        self.host = Host(
            environment="staging",
            home=self.home,
            folder=self.home / "staging",
            tools=self.home / "tools",
            edge_url="http://127.0.0.1:1",
            admin_url="http://127.0.0.1:1",
            models=[Slots(name=tiny.CONTRACT.name, blue=1, green=1)],
            socket=self.home / "socket",
            model=tiny.CONTRACT.name,
        )
        self.host.write(self.host.folder)
        self.host.place.mkdir(parents=True)
        self.route: Route | None = None
        self.deployed: list[str] = []
        self.ends: dict[str, int | Exception] = {}

    def deploy(self, env: str, contract: Contract, home: Path | None = None) -> int:
        with held(self.host.place, "the stand-in", "staging"):
            entry = ledger.Ledger().wanted(env)
            assert entry
            self.deployed.append(entry.release)
            end = self.ends.get(entry.release, 0)
            if isinstance(end, Exception):
                raise end
            if end == 0:
                self.route = Route("blue", entry.release)
            return end

    def want(self, release: str, env: str = "staging") -> None:
        assert Ledger(self.writer).write(env, Entry(release=release, commit=release[:40], by="me"))

    def push(self, files: dict[str, str], force: bool = False) -> None:
        """A person's commit of these files on top of the branch; with `force` in its place."""
        folder = self.home / f"person-{time.time_ns()}"
        if force:
            folder.mkdir()
        else:
            git(self.home, "clone", "--quiet", "--branch", BRANCH, str(self.origin), str(folder))
        for name, content in files.items():
            (folder / name).write_text(content)
        commit(folder, "by hand")
        git(folder, "push", "--quiet", "--force", str(self.origin), f"HEAD:refs/heads/{BRANCH}")

    def watch(self) -> Watch:
        return Watch("staging", tiny.CONTRACT, 30, self.home)


def file_of(release: str) -> str:
    return Entry(release=release, commit=release[:40], by="me").model_dump_json(indent=2)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
