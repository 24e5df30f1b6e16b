"""A copy of the template that nobody has set up, at a stand-in of GitHub that counts what is written."""

import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import UserError
from pipelines.base.files import read_json
from pipelines.base.github import GitHub
from pipelines.local import github
from pipelines.local.plans import Plan
from pipelines.setup import init, tree
from pipelines.setup.wanted import Wanted
from tests.project import ROOT
from tests.shared import FACTORY, once
from tests.workflows.conftest import git

REPOSITORY = "ada/flights"
ADMIN = "user:ada"
CODEOWNERS = "* @OWNER/MAINTAINERS\n/docs/\n/docs/**/*.py  @OWNER/MAINTAINERS\n"
COLUMNS = 'CONTRACT = Contract(\n    name="flight-delay",  # ü\n    event="a flight",\n)\n'


@dataclass
class Copy:
    """The checkout, its bare repository and the state of the stand-in. `writes`: the calls that changed, or
    would have changed, something; after `most` of them each is refused."""

    folder: Path
    branch: str
    plan: Plan
    api: str = ""
    writes: list[str] = field(default_factory=list)
    most: int | None = None
    refusal: tuple[int, Any] = (502, {"message": "Bad Gateway"})
    refused: Callable[[str], bool] = lambda call: False  # these are, whatever their number

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / "state/github.json")
        return found

    def hub(self, token: str = ADMIN) -> GitHub:
        return GitHub(self.api, REPOSITORY, token)

    def init(self, plan: bool = False, token: str = ADMIN, **wanted: Any) -> int:
        given = Wanted(**{"owners": ("@ada",), "reviewers": ("@grace",), **wanted})
        return init.init(self.hub(token), given, self.checkout, plan)

    def files(self) -> dict[str, str]:
        """What of the checkout is not as its commit has it."""
        return {
            name: (self.checkout / name).read_text()
            for name in git(self.checkout, "diff", "--name-only").split()
        }

    def push(self) -> None:
        """Commit what there is, and bring it to the default branch."""
        git(self.checkout, "add", "--all")
        git(self.checkout, "commit", "--quiet", "--allow-empty", "--message", "Set up")
        git(self.checkout, "push", "--quiet", "origin", f"HEAD:{self.branch}")


def counting(handler: Callable[[Any], Any], copy: Copy, forge: Any) -> Any:
    """As `github.handler`, with `copy` told of each write, and refusing where it says so."""
    whole = handler(forge)

    class Counting(whole):  # type: ignore[valid-type, misc]
        def answer(self) -> None:
            call = f"{self.command} {self.path.partition(REPOSITORY)[2]}"
            if self.command != "GET":
                copy.writes.append(call)
            over = self.command != "GET" and copy.most is not None and len(copy.writes) > copy.most
            if over or copy.refused(call):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, body = copy.refusal
                return self.write(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
            super().answer()

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    return Counting


def template(folder: Path, branch: str) -> None:
    """A repository of what of the template is about GitHub, pushed to its branch, and its checkout."""
    copy = Copy(folder, branch, Plan.PUBLIC)
    git(folder, "init", "--quiet", "--bare", f"--initial-branch={branch}", "origin.git")
    git(folder, "clone", "--quiet", str(copy.origin), "checkout")
    git(copy.checkout, "checkout", "--quiet", "-B", branch)
    shutil.copytree(ROOT / ".github", copy.checkout / ".github")
    for file, text in tree.rewritten(copy.checkout, "main"):  # a team's own may have another
        file.write_text(text)
    (copy.checkout / tree.OWNERS).write_text(CODEOWNERS)
    (copy.checkout / ".github/allowed_signers").unlink(missing_ok=True)
    (copy.checkout / tree.COLUMNS).parent.mkdir(parents=True)
    (copy.checkout / tree.COLUMNS).write_text(COLUMNS)
    copy.push()


@contextmanager
def fresh(folder: Path, plan: Plan = Plan.PUBLIC, branch: str = "main") -> Iterator[Copy]:
    """A copy on a plan of GitHub, with a default branch of this name."""
    copy = Copy(folder, branch, plan)
    (made,) = FACTORY
    shutil.copytree(
        once(made, f"copy-{branch}", lambda new: template(new, branch)), folder, dirs_exist_ok=True
    )
    git(copy.checkout, "remote", "set-url", "origin", str(copy.origin))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(github, "handler", functools.partial(counting, github.handler, copy))
        patch.setattr("pipelines.base.github.PATIENCE_SECONDS", 0.0)
        with github.serve(folder / "state", copy.origin, REPOSITORY, plan=plan) as copy.api:
            role(copy, "grace", "maintain")
            copy.writes.clear()
            yield copy
    assert copy.state["unexpected"] == [], "a call that GitHub does not know"


def role(copy: Copy, login: str, role: str) -> None:
    github.call(f"{copy.api}/repos/{REPOSITORY}/collaborators/{login}", "PUT", {"permission": role})


@pytest.fixture
def copy(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Copy]:
    with fresh(tmp_path, **getattr(request, "param", {})) as made:
        yield made


def mistake(call: Callable[[], Any]) -> str:
    """The sentence of a UserError."""
    with pytest.raises(UserError) as raised:
        call()
    return str(raised.value)


def lines(said: str) -> dict[str, str]:
    """What became of each setting, and why: of what `ml init` printed."""
    cells = [re.split("  +", line) for line in re.sub(r"\n +", " ", said).splitlines()]
    return {cell[1]: f"{cell[0]}: {cell[2]}" for cell in cells if len(cell) == 3}
