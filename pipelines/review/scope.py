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
    "dvc.yaml",
    "pyproject.toml",
    "requirements/",
)


def run(base: str, head: str) -> int:
    """`ml scope`: does `base`...`head` change what makes a model or a release?

    The answer goes to the step's outputs, as `model`. Always returns 0. A base that Git does not know, such
    as the forty zeros of a first push, means yes.
    """
    paths = changed(base, head)
    model = paths is None or changes_model(paths)
    if model:
        sentence = "Something that makes a model or a release changed."
    else:
        sentence = "No model changed: only documentation, tests or workflows did, so nothing is built."
    print(sentence)
    output("model", str(model).lower())
    if not model:
        summary(sentence)
    return 0


def changes_model(paths: Iterable[str]) -> bool:
    """Whether one of the paths is not known to be harmless."""
    return any(not path.endswith(".md") and not within(path, HARMLESS) for path in paths)


def judged_by(paths: Iterable[str]) -> list[str]:
    """The paths that belong to the judge."""
    return [path for path in paths if within(path, JUDGE)]


def within(path: str, places: tuple[str, ...]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def changed(base: str, head: str) -> list[str] | None:
    """Paths that `head` changes since it left `base`, moved files twice; None without such a base."""
    if subprocess.run(["git", "cat-file", "-e", f"{base}^{{commit}}"], capture_output=True).returncode:
        return None
    command = ["git", "diff", "--name-only", "--no-renames", "-z", f"{base}...{head}", "--"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"git cannot compare {base} with {head}: {' '.join(done.stderr.split())}")
    return [path for path in done.stdout.split("\0") if path]
