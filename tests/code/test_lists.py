"""`ml lint`: lists of code in dvc.yaml, bentofile.yaml, CODEOWNERS and pulls/scope.py follow the imports."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines import cli
from pipelines.base.errors import UserError
from pipelines.local import imports, lint
from pipelines.pulls import scope
from tests.problems import yours

ROOT = yours.REPOSITORY

FILES = {
    "pipelines/__init__.py": '"""No code."""\n',
    "pipelines/base/__init__.py": "",
    "pipelines/base/console.py": "from pipelines.base import silent\n",
    "pipelines/base/silent.py": "",
    "pipelines/cli/__init__.py": "def main(): from pipelines.base import console\n",
    "pipelines/cli/arguments.py": "def month(): from pipelines.core import late\n",
    "pipelines/cli/verbs.py": """
from pipelines.cli.arguments import month
from pipelines.base import console

group = T()
verbs.add_typer(group, name="of")

@verbs.command(rich_help_panel="x")
def train(card):
    from pipelines.training import train
    train.run(card)

@verbs.command("card")
def card():
    month()
    helper()

def helper():
    from pipelines.core.rows import read

@group.command("day")
def of_day(): console.step("x")
""",
    "pipelines/core/__init__.py": "",
    "pipelines/core/rows.py": "",
    "pipelines/core/late.py": "",
    "pipelines/serving/__init__.py": "import os\n",
    "pipelines/serving/service.py": "from pipelines.core.rows import read\n",
    "pipelines/serving/more.py": "",
    "pipelines/training/train.py": "from pipelines.base import console\nfrom pipelines.core import rows\n",
    "requirements/train.txt": "",
    "dvc.yaml": """\
# the stages
stages:
  train:
    cmd: ml train
    deps:
      - data # by month
      - pipelines/core/rows.py
      # what is trained
      - pipelines/training/train.py
      - requirements/train.txt # its hash

  card:
    cmd: ml card --all
    deps: # another
      - pipelines/core/late.py
      - pipelines/core/rows.py
      - requirements/train.txt
    params: [train]
""",
    "bentofile.yaml": """\
service: pipelines.serving.service:Service # what answers
include:
  - models/*
  - pipelines/__init__.py
  - pipelines/core/__init__.py
  - pipelines/core/rows.py # the road
  - pipelines/serving/__init__.py
  - pipelines/serving/service.py
  - requirements/serve.txt
""",
    ".github/workflows/judge.yml": """\
jobs:
  gate: {steps: [{uses: ./.github/actions/setup}, {run: ml of day --head x}]}
""",
    ".github/actions/setup/action.yml": "",
    ".github/CODEOWNERS": "* @ada\n/docs/ \n" + "".join(f"/{name}\n" for name in (*scope.TOP, *scope.LOCKS))
    + f"/{scope.VALUES}\n",
    "docs/page.md": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small repository whose lists are right."""
    folder = tmp_path_factory.mktemp("lists")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


@pytest.fixture
def tree(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "tree")


def change(tree: Path, name: str, old: str, new: str) -> None:
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new, 1))


def said(tree: Path) -> list[str]:
    """What differs, without the way out."""
    return [sentence.rpartition(": ")[0] for sentence in lint.differences(tree)]


# --- this repository ---------------------------------------------------------------------------------------


def test_the_lists_of_this_repository_are_what_its_imports_say() -> None:
    assert lint.differences(ROOT) == []


@pytest.mark.parametrize("problem", ["rain", "tomorrow"])
def test_another_problem_in_the_room_needs_no_other_lists(problem: str, tmp_path: Path) -> None:
    assert lint.differences(yours.make_it_yours(tmp_path, Path(yours.__file__).parent / problem)) == []


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("prepare", "pipelines/core/features.py"),
        ("train", "pipelines/core/params.py"),
        ("train", "pipelines/problem/estimators.py"),
        ("card", "pipelines/report/markdown.py"),
        ("card", "pipelines/report/templates/card.md.j2"),
        ("card", "requirements/train.txt"),
    ],
)
def test_a_stage_of_ours_without_one_of_its_files_is_found(stage: str, file: str) -> None:
    (listed,) = [listed for listed in lint.stages(ROOT) if listed.path[1] == stage]
    del listed.entries[file]
    assert listed.missing == [file] and not listed.surplus


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("validate", {"columns"}),
        ("prepare", {"columns", "features"}),
        ("train", {"columns", "estimators"}),
        ("evaluate", {"columns"}),
        ("verify", {"columns", "features", "estimators"}),
        ("card", {"columns"}),
    ],
)
def test_a_stage_depends_on_those_files_of_the_room_that_it_reads(stage: str, parts: set[str]) -> None:
    (listed,) = [listed for listed in lint.stages(ROOT) if listed.path[1] == stage]
    room = {Path(file).stem for file in listed.wanted if file.startswith("pipelines/problem/")}
    assert room == {"__init__", *parts}


def test_the_judge_is_its_workflow_its_verbs_and_what_they_start() -> None:
    judge = lint.judge(ROOT)
    assert judge >= {
        ".github/workflows/judge.yml",
        ".github/actions/setup/action.yml",
        "pipelines/cli/review.py",
        "pipelines/judge/gate.py",
        "pipelines/judge/retrain.py",  # a process of its own
        "pipelines/pulls/scope.py",
        "pipelines/report/templates/report.md.j2",
        "pipelines/registry/store/__init__.py",  # by a function that the verb calls
        "pipelines/problem/features.py",
    }
    assert not [file for file in judge if file.startswith(("pipelines/monitoring/", "pipelines/rollout/"))]


# --- imports -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "from pipelines.core import rows",
        "from pipelines.core.rows import read as other",
        "import pipelines.core.rows",
        "def f():\n    if True:\n        from pipelines.core.rows import *",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from pipelines.core import rows",
        'start("pipelines.core.rows", 1)',
        "from pipelines.training import train",  # which imports it
    ],
)
def test_an_import_is_seen(source: str, tree: Path) -> None:
    (tree / "pipelines/serving/more.py").write_text(source)
    assert "pipelines/core/rows.py" in imports.read(tree, {"pipelines/serving/more.py": ""})


@pytest.mark.parametrize(
    "source",
    [
        "if TYPE_CHECKING:\n    from pipelines.core import rows",
        "if typing.TYPE_CHECKING:\n    from pipelines.core import rows",
        "# from pipelines.core import rows",
        '"""As pipelines.core.rows does."""',
        "from elsewhere.pipelines.core import rows",
        "from .core import rows",
    ],
)
def test_what_is_no_import_is_not(source: str, tree: Path) -> None:
    (tree / "pipelines/serving/more.py").write_text(source)
    assert "pipelines/core/rows.py" not in imports.read(tree, {"pipelines/serving/more.py": ""})


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("def f(problem): return problem.features.build", True),
        ("def f(e): return e.problem.features", True),
        ("PROBLEM.features", True),
        ("def f(problem): return problem.contract.features", False),
        ("def f(problem): return problem.source, problem.folder", False),
        ("def f(model): return model.features", False),
    ],
)
def test_a_part_of_a_problem_is_its_file(source: str, seen: bool, tree: Path) -> None:
    (tree / "pipelines/problem").mkdir(exist_ok=True)
    (tree / "pipelines/problem/features.py").write_text("")
    (tree / "pipelines/serving/more.py").write_text(source)
    found = imports.imported(tree, "pipelines/serving/more.py")
    assert ("pipelines/problem/features.py" in found) is seen


def test_a_package_s_own_file_is_read_where_it_has_code(tree: Path) -> None:
    assert imports.of_module(tree, "pipelines.core.rows.read") == ["pipelines/core/rows.py"]
    (tree / "pipelines/core/__init__.py").write_text("from pipelines.core import late\n")
    assert imports.of_module(tree, "pipelines.core.rows") == [
        "pipelines/core/__init__.py",
        "pipelines/core/rows.py",
    ]
    assert "pipelines/core/late.py" in imports.read(tree, {"pipelines/training/train.py": ""})


def test_a_verb_imports_what_its_function_and_those_it_calls_do(tree: Path) -> None:
    assert imports.of_verb(tree, ["train", "x"]) == {"pipelines/training/train.py"}  # `card` is an argument
    assert imports.of_verb(tree, ["card"]) == {"pipelines/core/late.py", "pipelines/core/rows.py"}
    assert imports.of_verb(tree, ["of", "day"]) == {"pipelines/base/console.py"}
    assert imports.of_verb(tree, ["day"]) is None and imports.of_verb(tree, ["trian"]) is None


def test_a_source_that_is_not_python_is_one_sentence(tree: Path) -> None:
    (tree / "pipelines/core/rows.py").write_text("a = 1\nb = = 2\n")
    with pytest.raises(UserError, match=r"^pipelines/core/rows\.py, line 2: invalid syntax$"):
        lint.differences(tree)


# --- lists -------------------------------------------------------------------------------------------------

LATE = "      - pipelines/core/late.py\n"
TRAIN = "      - pipelines/training/train.py\n"
DIFFERENCES = {
    "a forgotten dependency": (
        "dvc.yaml",
        "      - pipelines/core/rows.py\n",
        "",
        "stages.train.deps lacks pipelines/core/rows.py, which pipelines/training/train.py imports",
    ),
    "one that sorts first": (
        "dvc.yaml",
        LATE,
        "",
        "stages.card.deps lacks pipelines/core/late.py, which `ml card --all` imports",
    ),
    "the verb's own": (
        "dvc.yaml",
        "      # what is trained\n" + TRAIN,
        "",
        "stages.train.deps lacks pipelines/training/train.py, which `ml train` imports",
    ),
    "the packages": (
        "dvc.yaml",
        "      - requirements/train.txt # its hash\n",
        "",
        "stages.train.deps lacks requirements/train.txt, which it runs with",
    ),
    "a dependency too many": (
        "dvc.yaml",
        TRAIN,
        LATE + TRAIN,
        "stages.train.deps has pipelines/core/late.py, which `ml train` does not import",
    ),
    "one that is gone": (
        "dvc.yaml",
        TRAIN,
        "      - pipelines/no.py\n" + TRAIN,
        "stages.train.deps has pipelines/no.py, which `ml train` does not import",
    ),
    "one of the Bento's is missing": (
        "bentofile.yaml",
        "  - pipelines/core/rows.py # the road\n",
        "",
        "include lacks pipelines/core/rows.py, which pipelines/serving/service.py imports",
    ),
    "a package without its own file": (
        "bentofile.yaml",
        "  - pipelines/core/__init__.py\n",
        "",
        "include lacks pipelines/core/__init__.py, which makes its folder a package",
    ),
    "one of the Bento's is not imported": (
        "bentofile.yaml",
        "  - pipelines/serving/service.py\n",
        "  - pipelines/core/late.py\n  - pipelines/serving/service.py\n",
        "include has pipelines/core/late.py, which the service does not import",
    ),
    "nor is one of a pattern": (
        "bentofile.yaml",
        "  - pipelines/serving/service.py\n",
        "  - pipelines/serving/service.py\n  - pipelines/serving/m*.py\n",
        "include has pipelines/serving/m*.py, and with it pipelines/serving/more.py, which the service does "
        "not import",
    ),
}


@pytest.mark.parametrize(("name", "old", "new", "sentence"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_difference_is_one_sentence_and_fix_takes_it_away(
    name: str, old: str, new: str, sentence: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(tree) == []
    change(tree, name, old, new)
    assert [found.split(": run `ml lint --fix`")[0] for found in lint.differences(tree)] == [
        f"{name}: {sentence}"
    ]
    assert lint.run(tree) == 2
    assert lint.run(tree, fix=True) == 0
    # Every other line is as it was; a comment that was lost with its entry stays lost.
    kept = [line.partition("#")[0].rstrip() for line in old.splitlines()]
    entries = "".join(f"{line}\n" for line in kept if line)
    assert (tree / name).read_text() == FILES[name].replace(old, entries)
    assert ("now run `ml reproduce`" in capsys.readouterr().out) == (name == "dvc.yaml")


def test_a_template_that_code_names_is_a_dependency_and_its_own_templates_are(tree: Path) -> None:
    folder = tree / imports.TEMPLATES
    folder.mkdir(parents=True)
    (folder / "a.md.j2").write_text('{% include "b.md.j2" %} c.md.j2')
    (folder / "b.md.j2").write_text("")
    assert lint.differences(tree) == []
    (tree / "pipelines/core/rows.py").write_text('render("a.md.j2")\n')
    assert [file for file in imports.read(tree, {"pipelines/core/rows.py": ""}) if file.endswith(".j2")] == [
        f"{imports.TEMPLATES}/a.md.j2",
        f"{imports.TEMPLATES}/b.md.j2",
    ]


def test_a_new_import_goes_into_all_lists_that_it_changes(tree: Path) -> None:
    (tree / "pipelines/core/rows.py").write_text("from pipelines.core import late\n")
    why = "lacks pipelines/core/late.py, which pipelines/core/rows.py imports"
    assert [found.partition(": run")[0] for found in lint.differences(tree)] == [
        f"dvc.yaml: stages.train.deps {why}",
        f"bentofile.yaml: include {why}",
    ]
    assert lint.run(tree, fix=True) == 0


def test_what_changes_no_output_is_no_dependency(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "SILENT", frozenset())
    assert [found.split(",")[0] for found in said(tree)] == [
        "dvc.yaml: stages.train.deps lacks pipelines/base/console.py",
        "dvc.yaml: stages.train.deps lacks pipelines/base/silent.py",
    ]


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("dvc.yaml", "ml train", "ml trian", "stages.train.cmd runs `ml trian`, and `ml --help` has no such"),
        ("dvc.yaml", "cmd: ml train", "desc: x", "stages.train has no cmd"),
        ("dvc.yaml", "stages:", "stages: [", "must be YAML with a dict `stages`"),
        ("bentofile.yaml", "serving.service", "serving.servant", "names pipelines.serving.servant, which"),
        ("bentofile.yaml", "models/*", "/models", "include has '/models'"),
        (".github/workflows/judge.yml", "ml of day", "ml day", "runs `ml day --head x`"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_is_one_sentence(
    name: str, old: str, new: str, sentence: str, tree: Path
) -> None:
    change(tree, name, old, new)
    with pytest.raises(UserError) as error:
        lint.differences(tree)
    assert str(error.value).startswith(name) and sentence in str(error.value)


def test_a_list_in_brackets_is_left_to_a_person(tree: Path) -> None:
    change(tree, "dvc.yaml", "deps: # another", "deps: []\n    outs:")
    with pytest.raises(UserError, match=r"dvc\.yaml: stages\.card\.deps is not a list of lines"):
        lint.run(tree, fix=True)


def test_a_stage_may_run_a_module_or_a_file(tree: Path) -> None:
    for command in ("python -m pipelines.training.train", "python pipelines/training/train.py"):
        change(tree, "dvc.yaml", "ml train", command)
        assert said(tree) == []
        change(tree, "dvc.yaml", command, "ml train")


def test_what_another_program_needs_is_left_to_a_person(tree: Path) -> None:
    change(tree, "dvc.yaml", "ml train", "sh more.sh")
    change(tree, "dvc.yaml", TRAIN, "      - scripts/more.py\n")
    assert said(tree) == []


# --- the judge ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owners", "sentence"),
    [
        ("/pipelines/base/silent.py\n", "has no owner for pipelines/base/silent.py, and the judge"),
        ("/.github/\n", "has no owner for .github/actions/setup/action.yml (and 1 more), and the judge"),
        ("/dvc.yaml\n", "has no owner for dvc.yaml, and pipelines/pulls/scope.py makes it wait"),
        ("/docs/ @ada\n", "has an owner for docs/page.md, and pipelines/pulls/scope.py lets it pass"),
        ("/params.yaml @ada\n", "has an owner for params.yaml, and pipelines/pulls/scope.py lets it pass"),
    ],
)
def test_what_owners_and_the_allow_list_say_of_a_file_agrees(owners: str, sentence: str, tree: Path) -> None:
    with (tree / ".github/CODEOWNERS").open("a") as file:
        file.write(owners)
    (found,) = [found for found in said(tree) if ".github/CODEOWNERS " in found][:1]
    assert found.startswith(f".github/CODEOWNERS {sentence}")


def test_without_owners_nobody_is_asked_about_the_judge(tree: Path) -> None:
    (tree / ".github/CODEOWNERS").unlink()
    assert ".github/CODEOWNERS has no owner for .github/actions/setup/action.yml (and " in said(tree)[0]


def test_a_file_of_the_judge_on_the_allow_list_is_found(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "TOP", (*scope.TOP, "pipelines/base/console.py"))
    assert said(tree)[0].startswith(
        "pipelines/pulls/scope.py lets pipelines/base/console.py pass on the gate's word"
    )


def test_code_of_a_model_that_counts_as_harmless_is_found(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "HARMLESS", (*scope.HARMLESS, "pipelines/training/"))
    (found,) = said(tree)
    assert found.startswith("pipelines/pulls/scope.py: HARMLESS covers pipelines/training/train.py, of which")


# --- the verb ----------------------------------------------------------------------------------------------


@pytest.fixture
def inside(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tree)
    yield tree


def test_the_verb_exits_with_2_until_it_has_written(inside: Path) -> None:
    ml = CliRunner()
    assert ml.invoke(cli.app, ["lint"]).exit_code == 0
    change(inside, "dvc.yaml", LATE, "")
    done = ml.invoke(cli.app, ["lint"])
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert ml.invoke(cli.app, ["lint", "--fix"]).exit_code == 0
    assert (inside / "dvc.yaml").read_text() == FILES["dvc.yaml"]
