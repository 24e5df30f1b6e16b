"""`ml explore` shows what is worth a look in data/, for each kind of answer, on a page that loads nothing."""

import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from pipelines.core import tables
from pipelines.core.problem import Problem
from pipelines.start import explore
from pipelines.training.ingest import ingest
from tests.problems.yours import three_months
from tests.shared import once

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HERE = Path(__file__).parent
KINDS = ("parcels", "heat", "delay")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """data(problem): a folder with three months of it."""

    @functools.cache
    def of(name: str) -> Path:
        problem = Problem(f"tests.problems.{name}")
        wanted = three_months(HERE / name / "params.yaml", problem)

        def make(folder: Path) -> None:
            ingest(problem, wanted.data.through, first=wanted.data.first, folder=folder)

        return once(tmp_path_factory, f"explored-{name}", make)

    return of


def explored(name: str, folder: Path, out: Path) -> str:
    problem = Problem(f"tests.problems.{name}")
    wanted = three_months(HERE / name / "params.yaml", problem)
    return explore.run(wanted, problem, folder, out / "explore.html").read_text()


def changed(folder: Path, to: Path, month: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """A copy of the data in which one month is another."""
    shutil.copytree(folder, to)
    file = to / f"{month}.parquet"
    tables.write(file, change(tables.read(file)))
    return to


def loaded(text: str) -> list[str]:
    """What of a page runs, or comes from elsewhere."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            for name, value in attributes:
                if name in ("href", "srcset", "data") or name.startswith("on"):
                    found.append(f"{tag} {name}")
                if name == "src" and not (value or "").startswith("data:image/svg+xml;base64,"):
                    found.append(f"{tag} {name}")
            if tag in ("script", "iframe", "object", "embed", "link", "base", "form"):
                found.append(tag)

    Reader().feed(text)
    return found + re.findall(r"@import|url\(", text)


@pytest.mark.parametrize("name", KINDS)
def test_the_page_has_each_column_and_what_a_model_must_beat(
    name: str, data: Callable[[str], Path], tmp_path: Path
) -> None:
    problem, text = Problem(f"tests.problems.{name}"), explored(name, data(name), tmp_path)
    for column in problem.contract.columns:
        if not (column.key or column.time):
            assert f"<code>{column.name}</code>" in text
    for metric in problem.task.metrics:
        assert f'<th style="text-align:right">{metric.name}</th>' in text
    assert text.count("the mean of all months before") == text.count("the mean of the last month") == 1
    rates = problem.task.named((0.5,) * len(problem.task.parts)) or {problem.task.rate_name: 0}
    assert all(name in text.split("</p>")[0] for name in rates)
    assert loaded(text) == [] and "default-src 'none'" in text
    assert text == explored(name, data(name), tmp_path)  # the same data give the same page


def test_a_page_that_loads_or_runs_something_is_found() -> None:
    for bad in ('<img src="https://e.org/x.png">', "<script>x</script>", "<p onclick=x>", "<a href=x>"):
        assert loaded(f"<html><body>{bad}</body></html>")


def test_a_leak_drift_and_rows_that_are_there_twice_are_named(
    data: Callable[[str], Path], tmp_path: Path
) -> None:
    problem = Problem("tests.problems.parcels")
    contract, months = problem.contract, problem.source.months()[:3]
    one, other = [c.name for c in contract.features if c.type == "number" and not c.derived][:2]

    def leak(rows: pd.DataFrame) -> pd.DataFrame:
        label = rows[contract.label.name].astype("Float64").to_numpy(np.float64, na_value=np.nan)
        return rows.assign(**{one: label})

    def drift_and_repeat(rows: pd.DataFrame) -> pd.DataFrame:
        more = rows.head(7).assign(**{contract.key.name: [f"again {n}" for n in range(7)]})
        rows = pd.concat([rows, more], ignore_index=True).sort_values(contract.time.name, ignore_index=True)
        return rows.assign(**{other: rows[other] + 100.0})

    before, bad = explored("parcels", data("parcels"), tmp_path), data("parcels")
    for month in months:
        bad = changed(bad, tmp_path / f"leak-{month}", month, leak)
    after = explored("parcels", changed(bad, tmp_path / "bad", months[1], drift_and_repeat), tmp_path)
    for said in (
        f"<code>{one}</code> alone has ROC-AUC 1.000, more than 0.8",
        f"<code>{other}</code> drifts: in {months[1]} its PSI beside the other months is",
        "7 rows are there before in all but their key",
    ):
        assert said in after and said not in before


def seen(page: Path, folder: Path) -> tuple[np.ndarray, list[str]]:
    """The page as a browser shows it, (height, width, 4), and the addresses that it asked for."""
    log, picture = folder / "log.json", folder / "page.png"
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,3000", *quiet)
    kept = (f"--log-net-log={log}", f"--user-data-dir={folder / 'profile'}", f"--screenshot={picture}")
    command = [str(BROWSER), *options, *kept, str(page)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    of_a_page = [line for line in log.read_text().splitlines() if '"initiator":"null"' in line]
    asked = {url for line in of_a_page for url in re.findall(r'"url":"(http[^"]+)"', line)}
    return matplotlib.image.imread(picture), sorted(asked)


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to look at the page with")
def test_a_browser_shows_the_plots_and_asks_nobody(data: Callable[[str], Path], tmp_path: Path) -> None:
    explored("heat", data("heat"), tmp_path)
    picture, asked = seen(tmp_path / "explore.html", tmp_path)
    blue = np.abs(picture[:, :, :3] - np.array([0x00, 0x72, 0xB2]) / 255).max(axis=2) < 0.02
    assert blue.sum() > 1000  # the bars of a plot
    assert asked == []
    (tmp_path / "bad").mkdir()
    bad = tmp_path / "bad/page.html"
    bad.write_text('<html><body><img src="http://127.0.0.1:9/x.png"></body></html>')
    assert seen(bad, tmp_path / "bad")[1] == ["http://127.0.0.1:9/x.png"]
