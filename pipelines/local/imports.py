"""Which files of the package a file reads, by its imports: sources are parsed, and nothing of them runs."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from pipelines.base.errors import UserError
from pipelines.core import room
from pipelines.core.problem import PARTS

PACKAGE = "pipelines"
CLI = f"{PACKAGE}/cli"
TEMPLATES = f"{PACKAGE}/report/templates"
MODULE, FILE = re.compile(rf"{PACKAGE}(\.\w+)+"), re.compile(rf"{PACKAGE}/.+\.(py|j2)")
TEMPLATE = re.compile(r"[\w.]+\.j2")


def read(root: Path, starts: Mapping[str, str], without: frozenset[str] = frozenset()) -> dict[str, str]:
    """`starts` and the files that they import, and what those import, each with a clause that says who does.

    `without` are passed over. UserError for a source that is not Python."""
    found: dict[str, str] = {}
    named = dict(starts)
    while waiting := {file: named[file] for file in sorted(named.keys() - found.keys() - without)}:
        found |= waiting
        named = {other: f"which {file} imports" for file in waiting for other in imported(root, file)}
    return found


def imported(root: Path, file: str) -> set[str]:
    """The files that `file` imports, less those that only its types need, and the templates that it names."""
    if file.endswith(".j2"):
        found = frozenset(TEMPLATE.findall((root / file).read_text(encoding="utf-8")))
    else:
        found = _imports(_parsed(root, file))
    return {other for name in found for other in of_module(root, name)}


def of_module(root: Path, name: str) -> list[str]:
    """The file of the module `name`, or of the module that has this name in it; and its packages' own files.
    A template's name is its file's.

    An `__init__.py` without code is left out: no result depends on it."""
    if TEMPLATE.fullmatch(name):
        return [file] if (root / (file := f"{TEMPLATES}/{name}")).is_file() else []
    found: list[str] = []
    parts = name.split(".")
    for end in range(1, len(parts) + 1) if parts[0] == PACKAGE else ():
        place = "/".join(parts[:end])
        if (root / place / "__init__.py").is_file():
            own = f"{place}/__init__.py"
            found += [own] if any(not isinstance(node, ast.Expr) for node in _parsed(root, own).body) else []
        elif (root / f"{place}.py").is_file():
            return [*found, f"{place}.py"]
    return found


def of_verb(root: Path, words: list[str]) -> set[str] | None:
    """The files, less those of cli/, that `ml WORDS` imports; None where there is no such verb."""
    verbs = _verbs(root)
    verb = next((verbs[name] for name in (" ".join(words[:2]), *words[:1]) if name in verbs), None)
    return of_function(root, *verb) if verb else None


def of_function(root: Path, file: str, function: str) -> set[str]:
    """The files that a function of cli/ imports by itself, and by what it uses of cli/."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    waiting = {(file, function)}
    while waiting:
        file, name = waiting.pop()
        seen.add((file, name))
        defined, bound = _top(_parsed(root, file))
        nodes = list(_nodes(defined[name])) if name in defined else []
        used = {node.id for node in nodes if isinstance(node, ast.Name)} - _own(nodes)
        waiting |= {(file, other) for other in used if other in defined} - seen
        for path in (*names(nodes), *(bound[other] for other in used if other in bound)):
            files = set(of_module(root, path))
            ours = {other for other in files if other.startswith(f"{CLI}/")}
            found |= files - ours
            waiting |= {(other, path.rpartition(".")[2]) for other in ours} - seen
    return found


def _verbs(root: Path) -> dict[str, tuple[str, str]]:
    """The file and the function of each verb, by its words: `@GROUP.command("NAME")`, and the name that
    `add_typer(GROUP, name="NAME")` gives to a group."""
    groups: dict[str, str] = {}
    found: list[tuple[str, str, tuple[str, str]]] = []
    for path in sorted((root / CLI).glob("*.py")):
        file = f"{CLI}/{path.name}"
        for node in _parsed(root, file).body:
            if isinstance(node, ast.Expr) and (added := _call(node.value, "add_typer")):
                group = ast.unparse(added.args[0])
                groups[group if "." in group else f"{path.stem}.{group}"] = _text(added, None)
            for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if command := _call(decorator, "command"):
                    assert isinstance(command.func, ast.Attribute) and isinstance(node, ast.FunctionDef)
                    group = f"{path.stem}.{ast.unparse(command.func.value)}"
                    found.append((group, _text(command, 0) or node.name.replace("_", "-"), (file, node.name)))
    return {f"{groups.get(group, '')} {name}".strip(): verb for group, name, verb in found}


def _call(node: ast.expr, method: str) -> ast.Call | None:
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
    return node if isinstance(node, ast.Call) and named else None


def _text(call: ast.Call, place: int | None) -> str:
    """The argument `name` of a call, or the one at `place`; empty where it has none."""
    given = [word.value for word in call.keywords if word.arg == "name"]
    given += call.args[place : place + 1] if place is not None else []
    return next((str(value.value) for value in given if isinstance(value, ast.Constant)), "")


def _top(tree: ast.Module) -> tuple[dict[str, ast.stmt], dict[str, str]]:
    """What a module defines, by name, and the full names of what it imports."""
    defined: dict[str, ast.stmt] = {}
    bound: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= zip(_aliases(node), names([node]), strict=True)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return defined, bound


def _own(nodes: list[ast.AST]) -> set[str]:
    """The names that a function gives itself, and so does not take from its module."""
    found = {node.arg for node in nodes if isinstance(node, ast.arg)}
    found |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return found.union(*(_aliases(node) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)))


def _aliases(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.asname or alias.name for alias in node.names]


def names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The full names that the nodes import; also a part of a problem, whose file is imported when the part is
    asked for, and a text that is a module's name (`python -m` starts it) or a template's."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):  # never a relative one: ruff bans them (pyproject.toml)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and node.attr in PARTS and _is_problem(node.value):
            yield f"{room.PACKAGE}.{PARTS[node.attr]}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (node.value for kind in (MODULE, TEMPLATE) if kind.fullmatch(node.value))


def _is_problem(node: ast.expr) -> bool:
    """Whether it is `problem`, `x.problem`, `PROBLEM` or `problem()`: every Problem has that name, and a test
    holds it."""
    node = node.func if isinstance(node, ast.Call) else node
    name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
    return name.lower() == "problem"


def _nodes(start: ast.AST) -> Iterator[ast.AST]:
    """As ast.walk, without what only a type checker reads."""
    waiting = [start]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _parsed(root: Path, file: str) -> ast.Module:
    try:
        return _tree((root / file).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UserError(f"{file}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise UserError(f"{file} is not Python: {error}") from None


_tree = cache(ast.parse)  # by the source
_imports = cache(lambda tree: frozenset(names(_nodes(tree))))
