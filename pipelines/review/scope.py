"""What a change touches: the model, the judge, or neither."""

import subprocess
from collections.abc import Iterable

from pipelines.console import output, summary
from pipelines.errors import UserError

# What cannot change a model or a release. Everything else may, so an unknown path means: look closely.
HARMLESS = ("docs/", "tests/", "benchmarks/", ".github/", ".ci/", "LICENSE", ".gitignore")

# What decides whether a proposal is good, or how that is found out. `params.yaml: gate` belongs to it too.
JUDGE = (
    ".github/",
    "pipelines/review/",
    "pipelines/stats.py",
    "pipelines/problem/rules.py",
    "dvc.yaml",
    "pyproject.toml",
    "requirements/",
)


def run(base: str, head: str) -> int:
    """`ml scope`: does `base`...`head` change what makes a model or a release?

    The answer goes to the step's outputs, as `model`; where it is yes, `commit` is the newest one on the way
    to `head` that does. Always returns 0. A base that Git does not know, such as the forty zeros of a first
    push, means yes; so does `head` itself: somebody runs again what did not end well.
    """
    paths = changed(base, head)
    model = paths is None or changes_model(paths) or base == head
    if model:
        sentence = "Something that makes a model or a release changed."
    else:
        sentence = "No model changed: only documentation, tests or workflows did, so nothing is built."
    print(sentence)
    output("model", str(model).lower())
    if model:
        output("commit", brought_by(head))
    else:
        summary(sentence)
    return 0


def changes_model(paths: Iterable[str]) -> bool:
    """Whether one of the paths is not known to be harmless."""
    return any(not path.endswith(".md") and not within(path, HARMLESS) for path in paths)


def judged_by(paths: Iterable[str]) -> list[str]:
    """The paths that belong to the judge."""
    return [path for path in paths if within(path, JUDGE)]


def brought_by(head: str) -> str:
    """The newest commit, of those that `head`'s branch had one by one, that can have changed the model.

    A merge counts as one commit: what it brought to the branch.
    """
    for commit in git("rev-list", "--first-parent", head).split():
        parent = f"{commit}^1"
        if git("rev-list", "--max-count=1", "--parents", commit).split()[1:] == []:
            return commit
        if changes_model(listed(git("diff", "--name-only", "--no-renames", "-z", parent, commit, "--"))):
            return commit
    return head


def within(path: str, places: tuple[str, ...]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def changed(base: str, head: str) -> list[str] | None:
    """Paths that `head` changes since it left `base`, moved files twice; None without such a base."""
    if subprocess.run(["git", "cat-file", "-e", f"{base}^{{commit}}"], capture_output=True).returncode:
        return None
    return listed(git("diff", "--name-only", "--no-renames", "-z", f"{base}...{head}", "--"))


def listed(text: str) -> list[str]:
    return [path for path in text.split("\0") if path]


def git(*command: str) -> str:
    done = subprocess.run(["git", *command], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"git {command[0]} failed: {' '.join(done.stderr.split())}")
    return done.stdout
