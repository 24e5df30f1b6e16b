"""`ml page`: the site says what ledger, store and host say, loads nothing, and is looked at in a browser."""

import itertools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import asyncssh
import pytest

from pipelines.artifacts.entry import Entry
from pipelines.base.errors import UserError
from pipelines.base.files import write_text
from pipelines.page import chart, seen, site
from pipelines.registry.ledger import Ledger
from pipelines.registry.signer import VARIABLE
from pipelines.rollout.journal import Journal
from tests import browser
from tests.code.test_report import HOSTILE
from tests.delivery.sites import LOST, PICTURE, GitHub, drifted, hosted, release
from tests.delivery.test_releases import want
from tests.delivery.test_store import IMAGE
from tests.problems.parcels import PROBLEM


@pytest.fixture(autouse=True)
def limits() -> None:
    """Not the rollout's shorter waits."""


@pytest.fixture
def ledger(cloned: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("GREENLIGHT_HOME", str(tmp_path / "home"))
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_REPOSITORY", "GITHUB_SERVER_URL", "GREENLIGHT_STORE"):
        monkeypatch.delenv(name, raising=False)
    return cloned


@pytest.fixture
def world(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two releases in the store and one that only the ledger names, this machine the host of production; and
    whatever a stranger can write is hostile."""
    one = release(tmp_path, "one")
    two = release(tmp_path, "two", HOSTILE, created=HOSTILE, image=IMAGE.model_dump())
    want(ledger, "production", LOST)
    want(ledger, "production", one)
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    monkeypatch.setenv(VARIABLE, key)
    ledger = Ledger()
    ledger.write("staging", Entry(release=two, commit="9" * 40, by=HOSTILE, evidence={HOSTILE: HOSTILE}))
    ledger.write("production", Entry(release=two, commit="9" * 40, by="ada", why="promote"))
    monkeypatch.delenv(VARIABLE)
    host = hosted(tmp_path / "home", two, monkeypatch)
    journal = Journal(host.place)
    journal.write("m1", "begin", release=two, slot="blue", **{"from": {"release": one}}, why="promote")
    journal.write("m1", "fact", step="PREPARE", seconds=1.5)
    journal.write("m1", "end", result=HOSTILE)
    drifted("RETRAIN").write(host.drift / "2013-10")
    return {"one": one, "two": two}


@pytest.fixture
def asked(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "team/cars")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.example")
    monkeypatch.setenv("GITHUB_TOKEN", "t")
    monkeypatch.setattr(seen.GitHub, "from_environment", classmethod(lambda cls: GitHub()))


def written(out: Path) -> dict[str, str]:
    site.write(PROBLEM, out)
    return {path.relative_to(out).as_posix(): path.read_text() for path in sorted(out.rglob("*.html"))}


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.words += data


TAGS = {
    *"html head meta title style body header main footer section h1 h2 h3 h4 h5 h6 p span a".split(),
    *"strong em code pre ul li dl dt dd div table thead tbody tr th td figure img details summary".split(),
    *"svg desc g line text circle rect".split(),
}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def held(pages: dict[str, str], address: str = "") -> None:
    """Nothing is loaded, nothing runs, and each link leads to a page of the site, or into the repository."""
    for name, text in pages.items():
        tags = Tags(text).found
        assert {tag for tag, _ in tags} <= TAGS
        policies = [a["content"] for tag, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
        assert policies == [POLICY]
        assert "\u202e" not in text and "@import" not in text and "url(" not in text
        for _, attributes in tags:
            assert not [
                key for key in attributes if key.startswith("on") or key in ("srcset", "xlink:href", "action")
            ]
            if "src" in attributes:
                assert re.fullmatch(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]+", attributes["src"])
            if link := attributes.get("href"):
                to = (Path(name).parent / link).as_posix().replace("releases/../", "")
                fits = rf"{re.escape(address)}(/(commit/[0-9a-f]{{40}}|(pull|actions/runs)/\d+))?"
                assert to in pages or (address and re.fullmatch(fits, link)), link


@pytest.mark.usefixtures("asked")
def test_the_site_says_what_ledger_store_host_and_github_say(world: dict[str, str], tmp_path: Path) -> None:
    pages = written(tmp_path / "page")
    one, two = (world[name][:12] for name in ("one", "two"))
    assert list(pages) == ["index.html", *sorted(f"releases/{id[:12]}.html" for id in (one, two, LOST))]
    index, shown = pages["index.html"], Tags(pages[f"releases/{two}.html"]).words
    for word in (
        "RETRAIN",
        "signed",
        "SHA256:",
        "not signed",
        "floor 0.05",
        "0.111",
        "0.432",
        "and 2 more",
        "draft",
    ):
        assert word.lower() in index.lower(), word
    assert "None is open" not in index and 'serves</dt><dd><span class="good">the same' in index
    assert (
        "1 of 3 releases are not in" in index and "not in this store" in pages[f"releases/{LOST[:12]}.html"]
    )
    for word in (
        "The gate's report",
        "Model card",
        IMAGE.digest,
        "PREPARE",
        "promote",
        "months.csv",
        "12, of head",
    ):
        assert word in shown, word
    assert "as of " in index and 'href="https://github.example/team/cars/commit/' in index


@pytest.mark.usefixtures("asked")
def test_hostile_words_are_shown_and_do_nothing(world: dict[str, str], tmp_path: Path) -> None:
    pages = written(tmp_path / "page")
    held(pages, "https://github.example/team/cars")
    for text in (pages["index.html"], pages[f"releases/{world['two'][:12]}.html"]):
        assert (
            "&lt;script&gt;alert(1)&lt;/script&gt;" in text
            and "<script" not in text
            and "onerror=y>" not in text
        )
    assert PICTURE.split('"')[1] in pages[f"releases/{world['two'][:12]}.html"]  # which report.html brought


BROKEN = (
    "<script>x</script>",
    '<img src="https://e.org/x.png">',
    '<img src="x.png">',
    '<p onclick="x">',
    '<a href="https://e.org">x</a>',
    '<a href="javascript:x">x</a>',
    '<link rel="stylesheet" href="x.css">',
    '<style>@import "x.css"</style>',
    '<p style="background: url(x.png)">',
)


def test_what_must_not_be_in_the_site_would_be_found(world: dict[str, str], tmp_path: Path) -> None:
    pages = written(tmp_path / "page")
    held(pages)
    for broken in BROKEN:
        with pytest.raises(AssertionError):
            held(pages | {"index.html": pages["index.html"].replace("<main>", f"<main>{broken}")})


def test_the_same_inputs_give_the_same_bytes_whatever_the_time(
    world: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(tmp_path / "page")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert written(tmp_path / "again") == first


def test_before_the_first_release_and_without_a_host_the_page_says_so(ledger: Ledger, tmp_path: Path) -> None:
    pages = written(tmp_path / "page")
    held(pages)
    assert list(pages) == ["index.html"] and "The ledger names no release yet" in pages["index.html"]
    want(ledger, "staging", LOST)
    index = written(tmp_path / "page")["index.html"]
    assert "no host is here" in index and "its host is elsewhere" in index and "GitHub was not asked" in index


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("gate.json", "{}", "gate.json is not what"),
        ("months.csv", "month,rows\n2013-13,x\n", "months.csv is not what"),
        ("months.csv", "month,trained,rows,brier_skill\n2013-06,true,9,much\n", "could not convert"),
        ("metrics.json", "[]", "metrics.json is not what"),
        ("proposal.json", '{"number": "7"}', "proposal.json is not what"),
    ],
)
def test_what_cannot_be_read_of_a_release_is_named_and_the_rest_is_shown(
    file: str, content: str, says: str, ledger: Ledger, tmp_path: Path
) -> None:
    id = release(tmp_path, "one")
    write_text(tmp_path / "home/store" / id / "evidence" / file, content)
    text = written(tmp_path / "page")[f"releases/{id[:12]}.html"]
    assert says in text and "Model card" in text and str(tmp_path) not in text


def test_a_release_that_was_changed_in_the_store_is_named(ledger: Ledger, tmp_path: Path) -> None:
    id = release(tmp_path, "one")
    write_text(tmp_path / "home/store" / id / "bento/src/models/model.onnx", "another")
    text = written(tmp_path / "page")[f"releases/{id[:12]}.html"]
    assert "bento/src was changed" in text and "Model card" not in text


def test_a_line_in_the_ledger_that_is_written_again_is_no_other_day(ledger: Ledger) -> None:
    stays = [seen.Stay("production", id, "c", "s", "release", "ada", at, None, "", None, {}) for id, at in
             (("b", 30), ("b", 20), ("a", 10), ("b", 5))]  # fmt: skip
    assert seen.Place("production", stays).since == 20


def test_a_run_that_fails_leaves_the_old_site_and_nothing_else(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(tmp_path / "out/page")
    want(ledger, "staging", LOST)

    def killed(path: Path, text: str) -> Path:
        if path.name != site.INDEX:
            raise KeyboardInterrupt
        return write_text(path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(site, "write_text", killed)
        site.write(PROBLEM, tmp_path / "out/page")
    assert (tmp_path / "out/page/index.html").read_text() == before["index.html"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["page"]
    assert len(written(tmp_path / "out/page")) == 2


def test_a_folder_of_something_else_is_not_replaced(ledger: Ledger, tmp_path: Path) -> None:
    write_text(tmp_path / "mine/index.html", "<h1>mine</h1>")
    with pytest.raises(UserError, match="holds something else than a page"):
        site.write(PROBLEM, tmp_path / "mine")
    assert (tmp_path / "mine/index.html").read_text() == "<h1>mine</h1>"


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.21), (-0.2, 0.2), (0.0, 0.0), (-3.0, 140.0)])
def test_an_axis_has_few_round_steps_that_hold_all(low: float, high: float) -> None:
    least, most, step = chart.ticks(low, high)
    assert least <= low and most >= high and most > least and (most - least) / step < 7


# --- as people see it --------------------------------------------------------------------------------------


def test_a_bar_has_its_label_only_where_it_fits_and_says_it_always() -> None:
    ends = (0, 500, 800, 1000, 1010)  # so narrower and narrower
    bars = [chart.Bar(f"{n}" * 12, "c0", f"release {n}", *ends[n : n + 2]) for n in range(4)]
    drawn = chart.lanes("lanes", "t", "s", {"production": bars})
    assert re.findall(r'class="(\w*)">(\d{12})<', drawn) == [
        ("", "0" * 12),
        ("", "1" * 12),
        ("desk", "2" * 12),
    ]
    assert [f"release {n}" in drawn for n in range(4)] == [True] * 4


@pytest.fixture(scope="module")
def chromium() -> Iterator[browser.Browser]:
    with browser.browser() as started:
        yield started


@pytest.mark.usefixtures("asked")
def test_a_browser_shows_each_page_on_a_phone_and_on_a_desk_and_asks_nobody(
    world: dict[str, str], tmp_path: Path, chromium: browser.Browser
) -> None:
    out = tmp_path / "page"
    for name in written(out):
        for width, dark in ((360, False), (360, True), (1280, False)):
            page = chromium.see(out / name, width, dark)
            assert page.requests == [
                (out / name).as_uri(),
                *(url for url in page.requests if url.startswith("data:")),
            ]
            assert page.overflow <= 0, (name, width)
            assert len(page.picture) > 20_000
            assert not page.unnamed
            assert not page.broken, (name, width)
            levels = page.headings
            assert levels[0] == 1 and levels.count(1) == 1
            assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels


def test_a_page_that_is_too_wide_asks_elsewhere_or_jumps_would_be_seen(
    tmp_path: Path, chromium: browser.Browser
) -> None:
    head = '<!doctype html><meta name="viewport" content="width=device-width"><h1>x</h1><h3></h3>'
    wide = '<div style="width: 500px">x</div><img src="http://elsewhere.example/x.png"><img src="data:,">'
    wide += '<p style="width: 3em; overflow-wrap: anywhere">departure</p>'
    script = '<script>document.body.innerHTML = ""</script>'
    page = chromium.see(write_text(tmp_path / "bad.html", head + wide + script), 360)
    assert page.overflow > 0 and "http://elsewhere.example/x.png" in page.requests
    assert page.headings == [1, 3] and page.unnamed  # and no script has taken it away
    assert set(page.broken) == {"departure"}
    assert chromium.see(write_text(tmp_path / "empty.html", "<!doctype html>"), 360).picture != page.picture


COLOUR = re.compile(r"--([\w-]+): (#[0-9a-f]{6})")
ON = [
    *((words, on) for words in ("text", "dim", "link") for on in ("back", "card")),
    *((tone, on) for tone in ("good", "open", "bad") for on in (f"{tone}-back", "back", "card")),
    *(("text", f"{tone}-back") for tone in ("good", "open", "bad")),
    *(("on", f"c{n}") for n in range(seen.COLOURS)),
    ("text", "code"),
]


def contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        r, g, b = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_words_stand_out_by_day_and_by_night(ledger: Ledger, tmp_path: Path) -> None:
    style = written(tmp_path / "page")["index.html"]
    dark = "".join(re.findall(r"prefers-color-scheme: dark\) \{(.*?)\} \}", style, re.DOTALL))
    day = dict(COLOUR.findall(style.replace(dark, "")))
    for scheme in (dict(reversed(COLOUR.findall(style))), dict(COLOUR.findall(dark))):
        assert not [(a, b) for a, b in ON if contrast(scheme[a], scheme[b]) < 4.5]
    assert day and contrast("#777777", "#888888") < 4.5 < contrast("#000000", "#ffffff")
