"""What the documents name is there: links and headings, verbs and their options, files."""

import ast
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from pipelines import cli
from tests.code.test_architecture import PACKAGE, ROOMS, ROOT, imports_of

ARCHITECTURE = "docs/architecture.md"
DRAWN = [*ROOMS, "cli"]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")


@cache
def tracked() -> tuple[str, ...]:
    """The repository's files, and the folders that hold them."""
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
    out = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [Path(line) for line in out.splitlines() if (ROOT / line).exists()]
    folders = {parent for file in files for parent in file.parents} - {Path()}
    return tuple(path.as_posix() for path in (*files, *sorted(folders)))


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PAGES = [name for name in tracked() if name.endswith(".md")]


# --- links -------------------------------------------------------------------------------------------------


def broken_links(name: str, text: str) -> list[str]:
    """Links to a file that is not in the repository, or to a heading that its page does not have."""
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", text)):
        path, _, heading = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (ROOT / name).parent.joinpath(path).resolve() if path else ROOT / name
        inside = target.is_relative_to(ROOT) and target.relative_to(ROOT).as_posix() in tracked()
        if not inside or (heading and heading not in headings(target.read_text(encoding="utf-8"))):
            found.append(link)
    return found


def headings(text: str) -> set[str]:
    """The headings of a page as GitHub names them in links."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_of_a_document_leads_somewhere(name: str) -> None:
    assert not broken_links(name, page(name))


@pytest.mark.parametrize("link", ["gat.md", "gate.md#no-such", "../docs", "#words", "../../elsewhere.md"])
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    lost = [link] if link != "../docs" else []  # a folder is a page of GitHub
    assert broken_links("docs/words.md", f"[a](gate.md) [b]({link}) [c](https://example.org/x)") == (
        lost if link != "#words" else []
    )


# --- verbs -------------------------------------------------------------------------------------------------


def unknown_verbs(text: str) -> list[str]:
    """Calls of `ml`, in code, of a verb or with an option that there is not."""
    return [call for call in calls(text) if not _known(call.split()[1:])]


def calls(text: str) -> Iterator[str]:
    lines = [line for kind, block in FENCED.findall(text) if kind != "mermaid" for line in block.splitlines()]
    typed = [part for line in lines for part in re.split(r"&&|\||;|#|\$ ", line.partition("#")[0])]
    spans = SPAN.findall(FENCED.sub("", text))
    yield from (part.strip() for part in (*typed, *spans) if re.match(r"ml [a-z-]", part.strip()))


@cache
def _ml() -> Any:
    return typer.main.get_command(cli.app)


def _known(words: list[str]) -> bool:
    command = _ml()
    for word in words:
        if word.startswith("-"):
            options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
            if word.partition("=")[0] not in options | {"--help", "-h"}:
                return False
        elif word in (commands := getattr(command, "commands", {})):
            command = commands[word]
        elif commands and word.islower():
            return False
    return True


@pytest.mark.parametrize("name", PAGES)
def test_every_verb_that_a_document_names_is_one(name: str) -> None:
    assert not unknown_verbs(page(name))


def unknown_in_code(text: str) -> list[str]:
    """The same, of what code, a workflow or a unit says and calls."""
    called = re.findall(r"^\s*(?:@|[-\w =]*(?:run|cmd): |ExecStart=\S+/)(ml [a-z].*)$", text, re.MULTILINE)
    said = [span for span in SPAN.findall(text) if re.match(r"ml [a-z-]", span)]
    started = re.findall(r'"(?:ml|pipelines\.cli)"((?:,\s*"[^"{]+")+)', text)
    lists = [" ".join(("ml", *re.findall(r'"([^"]+)"', words))) for words in started]
    return [call for call in (*called, *said, *lists) if not _known(call.split()[1:])]


CODE = re.compile(r"(pipelines|benchmarks|infra|\.github|requirements)/.+|[^/]+")


def test_every_verb_that_code_says_or_calls_is_one() -> None:
    texts = {name: page(name) for name in tracked() if CODE.fullmatch(name) and (ROOT / name).is_file()}
    assert sum(text.count("`ml ") for text in texts.values()) > 50
    assert not {name: unknown for name, text in texts.items() if (unknown := unknown_in_code(text))}


@pytest.mark.parametrize(
    "line",
    ["- run: {}", "    cmd: {}", "\t@{}", "ExecStart=@CHECKOUT@/.venv/bin/{}", 'f"run `{}`, then {{it}}"'],
)
def test_a_verb_that_is_none_is_found_in_code(line: str) -> None:
    fine = "run: ml ci scope --base x\n# `ml demo --down` and `ml VERB`\n"
    assert unknown_in_code(f"{fine}{line.format('ml scope --base x')}\n") == ["ml scope --base x"]
    assert unknown_in_code(f"{fine}{line.format('ml ci scope --base x')}\n") == []


@pytest.mark.parametrize("line", ['run("ml", {})', '[python, "-m", "pipelines.cli", {}, path]'])
def test_a_verb_that_is_none_is_found_where_code_starts_it(line: str) -> None:
    assert unknown_in_code(line.replace("{}", '"down"')) == ["ml down"]
    assert unknown_in_code(line.replace("{}", '"demo", "--down"')) == []


@pytest.mark.parametrize("call", ["ml deplyo", "ml store put", "ml deploy --evn staging", "ml --quiet"])
def test_a_verb_that_is_none_is_found(call: str) -> None:
    fine = (
        "`ml deploy --env staging`, `ml VERB`, `ml store add FOLDER`\n```console\n$ ml demo  # ml no\n```\n"
    )
    assert unknown_verbs(f"{fine}`{call}`") == [call]
    assert unknown_verbs(f"{fine}```console\n$ true && {call} | cat\n```\n") == [call]


# --- docs/words.md: the verbs -----------------------------------------------------------------------------


def listed(text: str) -> dict[str, set[str]]:
    """The verbs that the page lists, and those of each group."""
    section = text.partition("\n## Verbs\n")[2].partition("\nExit codes")[0]
    rows = dict(re.findall(r"^\| `ml (\w+)` \|(.+)\|$", section, re.MULTILINE))
    groups = {name: set(re.findall(r"`([\w-]+)`", row)) for name, row in rows.items()}
    for name, said in re.findall(r"`ml (\w+)`: *(.+?)(?:\. |\.$)", section.rpartition("|\n")[2], re.DOTALL):
        groups[name] = set(re.findall(r"`([\w-]+)`", said))
    return groups


def test_the_page_lists_each_verb() -> None:
    there = {name: set(getattr(command, "commands", {})) for name, command in _ml().commands.items()}
    found = listed(page("docs/words.md"))
    assert found.keys() == there.keys()
    assert {name: found[name] for name, group in there.items() if group} == {
        k: v for k, v in there.items() if v
    }


def test_a_verb_that_the_page_lacks_is_missed() -> None:
    text = page("docs/words.md")
    assert "tune" not in listed(text.replace("| `ml tune` |", "| `ml turn` |"))
    assert "rehearse" not in listed(text.replace("`rehearse`, ", ""))["ci"]
    assert "image" not in listed(text.replace("`image`", "`images`"))["store"]


# --- docs/architecture.md: the picture and the tree ---------------------------------------------------------


def imports_between_rooms() -> dict[str, set[str]]:
    """Which rooms the files of each room import."""
    graph: dict[str, set[str]] = {room: set() for room in rooms()}
    for file in PACKAGE.rglob("*.py"):
        if (own := file.relative_to(PACKAGE).parts[0]) in graph:
            named = {name.split(".")[1] for name in imports_of(file.read_text()) if "." in name}
            graph[own] |= named & graph.keys() - {own}
    return graph


def rooms() -> list[str]:
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def picture(graph: dict[str, set[str]]) -> str:
    """The arrows of the graph as Mermaid, without those that a longer way goes round."""

    def reached(room: str) -> set[str]:
        found = set(graph[room])
        while more := {b for a in found for b in graph[a]} - found:
            found |= more
        return found

    lines = []
    for room in reversed(DRAWN):
        nearest = [a for a in DRAWN if a in graph[room] and not any(a in reached(b) for b in graph[room])]
        lines += [f"    {room} --> {' & '.join(nearest)}"] if nearest else []
    return "\n".join(["flowchart TD", *lines, ""])


def drawn(text: str) -> str:
    (block,) = [block for kind, block in FENCED.findall(text) if kind == "mermaid"]
    return str(block)


def test_the_picture_has_the_imports_between_rooms() -> None:
    right = picture(imports_between_rooms())
    assert drawn(page(ARCHITECTURE)) == right, f"put this into {ARCHITECTURE}:\n{right}"


def test_the_picture_follows_the_imports() -> None:
    graph = {room: set() for room in DRAWN} | {"judge": {"core", "base"}, "core": {"base"}, "cli": {"judge"}}
    assert picture(graph) == ("flowchart TD\n    cli --> judge\n    judge --> core\n    core --> base\n")
    graph["judge"].add("registry")
    assert "    judge --> core & registry\n" in picture(graph)
    graph["core"].remove("base")
    assert "    judge --> base & core & registry\n" in picture(graph)


def tree(text: str) -> list[str]:
    """The rooms of the page's tree, in order."""
    (block,) = [block for _, block in FENCED.findall(text) if block.startswith("pipelines/")]
    return re.findall(r"^  (\w+)/ +\S", str(block), re.MULTILINE)


def test_the_tree_has_a_line_for_each_room_in_the_order_of_imports() -> None:
    assert tree(page(ARCHITECTURE)) == DRAWN
    assert sorted(DRAWN) == rooms()


def test_a_room_that_the_tree_lacks_would_be_found() -> None:
    whole = page(ARCHITECTURE)
    line = next(line for line in whole.splitlines() if line.startswith("  judge/"))
    assert tree(whole.replace(f"{line}\n", "")) == [room for room in DRAWN if room != "judge"]


# --- README's table of folders ------------------------------------------------------------------------------


def lacking_folders(table: str) -> set[str]:
    """The repository's own folders that the table has no line for; what begins with a dot is a tool's."""
    tops = {name.partition("/")[0] for name in tracked() if "/" in name and not name.startswith(".")}
    return tops - set(re.findall(r"^\| `(\w+)/` \|", table, re.MULTILINE))


def test_the_readme_says_what_each_folder_is_and_leaves_the_rooms_to_their_page() -> None:
    table = page("README.md").partition("## What each folder is")[2].partition("\n## ")[0]
    if not table:
        pytest.skip("README.md has no table of folders: it is a team's own")
    assert not lacking_folders(table)
    assert f"]({ARCHITECTURE})" in table
    assert re.findall(r"`pipelines/(\w+)/`", table) == ["problem"]
    without = table.replace("| `infra/` |", "| `infrastructure/` |")
    assert lacking_folders(without) == {"infra"}


# --- files -------------------------------------------------------------------------------------------------

FILE = re.compile(r"[\w.*-]+(/[\w.*-]+)*/?")
ENDS = "py json jsonl csv md html yaml yml parquet onnx lock dvc tf txt".split()
STANDS_FOR = re.compile(r"\b[A-Z]{3,}\b")  # MONTH, in data/MONTH.parquet
BELOW = ("", "pipelines/", "tests/")  # where a page may let a path begin
NOT_THERE = {  # what pages speak of because it may be made, or must never be
    "tests/problems/flights": "a team deletes it",
    "rules.py": "a team's own",
    "pipelines/problem/rules.py": "a team's own",
    "problem/rules/": "docs/security.md: a team's own, in the place of rules.py",
    "bento/uvicorn.py": "docs/security.md: a stranger in a release",
    "pipelines/judge.py": "docs/security.md: a module in the room's place",
    "setup.py": "docs/security.md: what a build would run",
    "sitecustomize.py": "docs/security.md: what Python would run",
}


def unknown_names(text: str) -> list[str]:
    """Files, and `FILE: NAME` in one, that neither the repository has nor its stages or its code make."""
    named = [name for name in SPAN.findall(FENCED.sub("", text)) if _is_file(name)]
    return [name for name in named if name not in NOT_THERE and not _exists(name)]


def _is_file(name: str) -> bool:
    path = name.partition(": ")[0]
    return bool(FILE.fullmatch(path)) and ("/" in path or path.rpartition(".")[2] in ENDS)


def _exists(name: str) -> bool:
    path, _, inside = name.partition(": ")
    path = STANDS_FOR.sub("*", path).rstrip("/")
    places = [f"{folder}{path}" for folder in BELOW] + ([] if "/" in path else [f"*/{path}"])
    here = [file for file in tracked() if any(fnmatch(file, place) for place in places)]
    if inside:
        return any(_has(ROOT / file, inside) for file in here)
    if here or any(path == out or path.startswith(f"{out}/") for out in outputs()):
        return True
    first, *rest = path.split("/")
    if rest and first in ("models", "pipelines", *rooms()):
        return False  # a name that the code writes elsewhere
    return set(path.split("/")) <= written()


def _has(file: Path, name: str) -> bool:
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        value = yaml.safe_load(text)
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value is not None
    tops = ast.parse(text).body
    assigned = {ast.unparse(t) for n in tops if isinstance(n, ast.Assign) for t in n.targets}
    return name in assigned | {getattr(node, "name", "") for node in tops}


@cache
def outputs() -> frozenset[str]:
    """What the stages of dvc.yaml make."""
    stages = yaml.safe_load(page("dvc.yaml"))["stages"].values()
    made = [out for stage in stages for kind in ("outs", "metrics") for out in stage.get(kind, ())]
    return frozenset(made)


@cache
def written() -> frozenset[str]:
    """The parts of paths in the texts of the code, docstrings aside, and of infra/; `*` where it fills in."""
    found = {"*"}
    for terraform in (ROOT / "infra").rglob("*.tf"):
        for text in re.findall(r'"(.+?)"', terraform.read_text(encoding="utf-8")):
            found |= set(re.sub(r"\$\{.+?\}", "*", text).split("/"))
    for file in PACKAGE.rglob("*.py"):
        module = ast.parse(file.read_text(encoding="utf-8"))
        inner = {id(v) for node in ast.walk(module) if isinstance(node, ast.JoinedStr) for v in node.values}
        said = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
        for node in ast.walk(module):
            if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in inner | said:
                parts = node.values if isinstance(node, ast.JoinedStr) else [node]
                text = "".join(str(p.value) if isinstance(p, ast.Constant) else "*" for p in parts)
                found |= set(text.split("/"))
    return frozenset(found)


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_a_document_names_is_there_or_is_made(name: str) -> None:
    assert not unknown_names(page(name))


def test_what_is_said_not_to_be_there_is_spoken_of() -> None:
    spans = {span for name in PAGES for span in SPAN.findall(FENCED.sub("", page(name)))}
    assert NOT_THERE.keys() <= spans


@pytest.mark.parametrize(
    "name",
    [
        "judge/gates.py",
        "pipelines/judge",  # is there: the control of the controls
        "tests/code/test_architecture.py: ROMS",
        "params.yaml: gate.rule",
        "data/MONTH.tsv",
        "models/modell.onnx",
        "models/gate.json",
        "host/gate.json",
        "evidence/gates.json",
        "journal.json",
        "DAY.SLOT.jsonl",
        "dvc.yml",
    ],
)
def test_a_file_that_nobody_makes_is_found(name: str) -> None:
    text = f"`judge/gate.py`, `build/prepared.parquet`, `params.yaml: gate.rules`, `MONTH` and `{name}`"
    assert unknown_names(text) == ([] if name == "pipelines/judge" else [name])
