"""`ml new` writes all of a room or nothing: what it refuses, what it keeps, and that no name is code."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.base import files
from pipelines.base.errors import UserError
from pipelines.start import render, table
from pipelines.start.new import put
from tests.problems.tables import plain, refused, room, write
from tests.problems.yours import ROOM, run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "nowhere.csv does not exist: give a CSV or Parquet file"),
        (
            ["tables/t.csv", "--label", "order_id"],
            "order_id cannot be a label: its type is text, with 200 values",
        ),
        (["tables/t.csv", "--label", "always"], "always cannot be it: it says the same in every row"),
        (["tables/t.csv", "--label", "moon"], "t.csv has no column moon; it has order_id, created_at"),
        (["tables/t.csv", "--time", "Kunde"], "Kunde cannot be the time: it is of type category"),
        (["tables/t.csv", "--key", "Kunde"], "Kunde cannot be the key: it is not another in each row"),
        (["tables/t.csv", "--as", "Kunde=word"], "--as Kunde=word: a type is one of category"),
        (["tables/t.csv", "--as", "Kunde=time"], "--as Kunde=time: not all of its values are dates"),
        (
            ["tables/t.csv", "--label", "Kunde", "--as", "Kunde=number"],
            "Kunde is 'neu', but must be a number",
        ),
        (["tables/lists.parquet"], "lists.parquet: temp (f) has lists in it, which no model takes"),
        (["select * from 'tables/no.csv'"], "the query cannot be run"),
        (["README.md"], "are no CSV and no Parquet"),
        (["select 1 as a, '" + 300 * "x" + "' as b"], "query has 0 column that says something"),
        (["tables/far.csv"], "far.csv, row 4: price_eur is inf, which no model takes: leave it empty there"),
        (["tables/latin.csv"], ": save it as UTF-8"),
        (["tables/days", "--time", "none"], "the files of days are named by the day on which their rows"),
        (["pipelines/problem/t.csv"], "is in pipelines/problem/, which is written anew: keep the table"),
        (["tables/comma.csv", "--label", "price_eur"], "like numbers with a decimal comma: read it with dec"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_changes_nothing(
    repository: Path, words: list[str], said: str
) -> None:
    write(repository, "t.csv", plain())
    price = plain()["price_eur"]
    write(repository, "far.csv", plain().assign(price_eur=price.where(price.index != 3, np.inf)))
    write(repository, "lists.parquet", plain().assign(**{"temp (f)": [[1, 2]] * 200}))
    write(repository, "comma.csv", plain().assign(price_eur=price.map("{:.2f}".format).str.replace(".", ",")))
    (repository / "tables/latin.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    (repository / "tables/days").mkdir()
    for day in (1, 2):
        write(repository, f"days/x-2024-01-0{day}.csv", plain().drop(columns="created_at"))
    if words[0].startswith("pipelines"):
        (repository / words[0]).write_text("a,b\n1,2\n3,4\n")
    assert said in refused(repository, *words, "--yes")


def test_a_query_without_duckdb_says_what_to_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the group `dev` alone: a team that needs it names it."""
    assert table.read("select 1 as a", tmp_path).kind == "query"
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UserError, match="a query needs the package duckdb: name it in the group `train`"):
        table.read("select 1 as a", tmp_path)


def test_edits_that_git_does_not_have_are_kept_unless_they_may_go(repository: Path) -> None:
    table, file = write(repository, "t.csv", plain()), repository / "pipelines/problem/features.py"
    file.write_text(file.read_text() + "# mine\n")
    said = refused(repository, table, "--yes")
    assert said.startswith("ml: pipelines/problem/features.py has edits that are not committed")
    assert "there is no terminal to ask at: `--yes`" in refused(repository, table, "--force")
    run(repository, "ml", "new", table, "--yes", "--force")
    assert "# mine" not in file.read_text()


def test_where_writing_fails_the_old_room_is_back(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, params = room(repository), (repository / "params.yaml").read_text()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("pipelines.start.new.write_text", lambda path, text: full())
    with pytest.raises(OSError, match="no space"):
        put(repository, dict.fromkeys((*ROOM, "params.yaml"), "new"))
    monkeypatch.setattr(
        "pipelines.start.new.write_text",
        lambda path, text: full() if path.name == "params.yaml" else files.write_text(path, text),
    )
    with pytest.raises(OSError, match="no space"):
        put(repository, dict.fromkeys((*ROOM, "params.yaml"), "new"))
    assert room(repository) == before and (repository / "params.yaml").read_text() == params


@pytest.mark.parametrize("name", ["data.dvc", "dvc.lock"])
def test_data_that_git_does_not_have_are_kept(repository: Path, name: str) -> None:
    table = write(repository, "t.csv", plain())
    (repository / name).write_text("outs: []\n")
    assert f"ml: {name} has edits that are not committed" in refused(repository, table, "--yes")
    assert (repository / name).exists()


IMPORTED = (
    "from pipelines.problem import PROBLEM as p; print(*map(len, map(p.source.read, p.source.months())))"
)
EVIL = 'a"""+str(__import__("os").system("touch PWNED"))+"""'


@pytest.mark.parametrize(
    ("name", "label"), [(EVIL, "bought"), (r"back\N{x}", '"""'), ('end"', "\\"), ("a\\", '"; PWNED')]
)
def test_names_are_never_code(repository: Path, name: str, label: str) -> None:
    table = plain().rename(columns={"bought": label, "Kunde": EVIL})
    run(repository, "ml", "new", write(repository, f"{name}.csv", table), "--yes", "--label", label)
    rows = run(repository, sys.executable, "-c", IMPORTED).stdout.split()
    assert sum(map(int, rows)) == len(table)
    run(repository, "ml", "ingest")
    assert not (repository / "PWNED").exists()


def test_a_room_that_is_no_python_is_refused_before_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert render.python("source.py", "a  =  1") == "a = 1\n"
    for text in ('"""one"""two"""', '"\\N{x}"', "'\0'", "'\udcff'"):
        with pytest.raises(UserError, match=r"^source.py would be no Python \(.*rename the table"):
            render.python("source.py", text)
