"""The store: a release is whole and what its id says, or it is not given out."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipelines.artifacts.release import Image, Release
from pipelines.base.errors import UserError
from pipelines.base.files import sha256, sha256_of_tree, write_json, write_text
from pipelines.registry import merged
from pipelines.registry import store as stores
from pipelines.registry.store import Assets, Store
from tests.releases import about, described

IMAGE = Image(name="made", digest=f"sha256:{'1' * 64}", base="python")


def fill(folder: Path, text: str, **fields: object) -> str:
    """A release's folder with content that no service needs; returns its id."""
    write_text(folder / "bento/src/models/model.onnx", text)
    write_text(folder / "bento/src/requirements/serve.txt", "bentoml\n")
    write_text(folder / "bento/bento.yaml", "service: x\n")
    write_text(folder / "evidence/metrics.json", "{}")
    number = sha256_of_tree(folder / "bento/src")
    described(folder, number, **fields)
    return number


def put(store: Store, scratch: Path, text: str, **fields: object) -> str:
    number = fill(scratch / text, text, **fields)
    assert store.add(scratch / text) == number
    return number


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_a_release_is_given_by_its_id_or_its_beginning(store: Store, tmp_path: Path) -> None:
    number = put(store, tmp_path, "one")
    assert store.get(number) == store.get(number[:8]) == store.folder / number


def test_the_folder_is_the_environments_or_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_HOME", "/somewhere")
    monkeypatch.delenv("GREENLIGHT_STORE", raising=False)
    assert stores.of().folder == Path("/somewhere/store")
    assert stores.of(Path("/home")).folder == Path("/home/store")
    monkeypatch.setenv("GREENLIGHT_STORE", "/elsewhere")
    assert stores.of().folder == Path("/elsewhere") and type(stores.of()) is Store


def test_the_variable_chooses_the_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GREENLIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    for named, meant in (("github", "a/b"), ("github:c/d.e", "c/d.e")):
        monkeypatch.setenv("GREENLIGHT_STORE", named)
        store = stores.of()
        assert isinstance(store, Assets) and store.repository == meant
        assert store.folder == tmp_path / "store"
    monkeypatch.setenv("GREENLIGHT_STORE", str(tmp_path / "github"))
    assert type(stores.of()) is Store


@pytest.mark.parametrize("named", ["s3://bucket/releases", "gihub:a/b", "github.com:a/b"])
def test_a_kind_that_there_is_not_is_no_folder(named: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GREENLIGHT_STORE", named)
    with pytest.raises(UserError, match=r"no store of the kind .*`github:OWNER/REPO` or a folder"):
        stores.of()
    (tmp_path / "a:b").mkdir()
    monkeypatch.setenv("GREENLIGHT_STORE", "a:b")
    assert stores.of().folder == Path("a:b")  # a folder may have such a name


@pytest.mark.parametrize("name", ["bento/src/models/model.onnx", "bento/src/requirements/serve.txt"])
def test_a_changed_file_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    number = put(store, tmp_path, "one")
    with (store.folder / number / name).open("a") as file:
        file.write("!")
    with pytest.raises(UserError, match="src was changed"):
        store.get(number)


def test_an_added_file_is_refused(store: Store, tmp_path: Path) -> None:
    number = put(store, tmp_path, "one")
    (store.folder / number / "bento/src/sitecustomize.py").write_text("")
    with pytest.raises(UserError, match="src was changed"):
        store.get(number)


@pytest.mark.parametrize(
    "name", ["uvicorn.py", "numpy/__init__.py", "sitecustomize.pyc", ".hidden", "models/x"]
)
def test_nothing_lies_beside_the_source_that_a_server_could_import(
    store: Store, tmp_path: Path, name: str
) -> None:
    """BentoML has Python look in the Bento's folder first, and the id covers the source alone."""
    number = put(store, tmp_path, "one")
    write_text(store.folder / number / "bento/README.md", "")
    write_text(store.folder / number / "bento/env/python/requirements.txt", "")
    store.get(number)
    write_text(store.folder / number / "bento" / name, "print('evil')")
    with pytest.raises(UserError, match=f"bento/ holds '{name.split('/')[0]}', which `ml release` never"):
        store.get(number)


def test_a_name_with_a_line_end_does_not_stand_for_two_files(store: Store, tmp_path: Path) -> None:
    number = put(store, tmp_path, "one")
    source = store.folder / number / "bento/src"
    first, second = source / "models/model.onnx", source / "requirements/serve.txt"
    forged = source / f"models/model.onnx {sha256(first)}\nrequirements/serve.txt"
    write_text(forged, second.read_text())
    first.unlink()
    second.unlink()
    with pytest.raises(UserError, match="has a line end in its name"):
        store.get(number)


@pytest.mark.parametrize("name", ["bento/src/models/model.onnx", "bento/bento.yaml"])
def test_a_cut_release_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    number = put(store, tmp_path, "one")
    (store.folder / number / name).unlink()
    with pytest.raises(UserError, match=r"was changed|is not whole"):
        store.get(number)


def test_another_releases_content_under_an_id_is_refused(store: Store, tmp_path: Path) -> None:
    one, two = put(store, tmp_path, "one"), put(store, tmp_path, "two")
    (store.folder / one).rename(tmp_path / "away")
    (store.folder / two).rename(store.folder / one)
    with pytest.raises(UserError, match="is not of the release"):
        store.get(one)


def test_an_id_that_is_not_there_is_named_with_the_way_out(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path, "one")
    with pytest.raises(UserError, match=r"release 000000000000 is not in .*ml release"):
        store.get("0" * 64)


@pytest.mark.parametrize("given", ["", "abc", "../../etc", "main", "ABCDEF0123", "0" * 65])
def test_what_is_no_id_is_refused(store: Store, given: str) -> None:
    with pytest.raises(UserError, match="is not a release id"):
        store.get(given)


def test_an_ambiguous_beginning_is_refused(store: Store) -> None:
    for last in "ab":
        described(store.folder / ("0" * 63 + last), "0" * 63 + last)
    with pytest.raises(UserError, match="begins 2 releases"):
        store.get("0" * 8)


def test_a_release_that_is_not_finished_never_appears(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.put("0" * 64) as folder:
        fill(folder, "half")
        assert store.list() == []
        raise KeyboardInterrupt
    assert list(store.folder.iterdir()) == []


def test_a_release_that_is_not_what_its_id_says_never_appears(store: Store) -> None:
    with pytest.raises(UserError), store.put("0" * 64) as folder:
        fill(folder, "other")
    assert list(store.folder.iterdir()) == []


def test_a_damaged_download_is_not_taken(store: Store, tmp_path: Path) -> None:
    fill(tmp_path / "download", "one")
    (tmp_path / "download/bento/src/models/model.onnx").write_text("on")
    with pytest.raises(UserError, match="src was changed"):
        store.add(tmp_path / "download")
    with pytest.raises(UserError, match=r"release\.json does not exist"):
        store.add(tmp_path)
    assert store.list() == []


def test_a_release_with_a_link_out_of_it_is_not_taken(store: Store, tmp_path: Path) -> None:
    fill(tmp_path / "download", "one")
    (tmp_path / "download/evidence/report.md").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"report\.md is a link"):
        store.add(tmp_path / "download")
    assert store.list() == []


def test_taking_the_same_release_twice_changes_nothing(store: Store, tmp_path: Path) -> None:
    number = put(store, tmp_path, "one")
    before = (store.folder / number).stat().st_ino
    assert store.add(tmp_path / "one") == number
    assert (store.folder / number).stat().st_ino == before


def test_releases_are_listed_newest_first(store: Store, tmp_path: Path) -> None:
    put(store, tmp_path, "old", created="2026-01-01T00:00:00+00:00")
    put(store, tmp_path, "new", created="2026-02-01T00:00:00+00:00")
    (store.folder / ".new-half").mkdir()
    assert [release.created[:7] for release in store.list()] == ["2026-02", "2026-01"]


def test_a_note_changes_the_card_and_not_the_id(store: Store, tmp_path: Path) -> None:
    number = put(store, tmp_path, "one")
    store.note(number, IMAGE)
    about = Release.read(store.get(number))
    assert about.image == IMAGE and about.id == number


def test_a_removed_release_is_gone_and_the_others_stay(store: Store, tmp_path: Path) -> None:
    one, two = put(store, tmp_path, "one"), put(store, tmp_path, "two")
    store.remove(one)
    store.remove(one)
    assert [release.id for release in store.list()] == [two]
    assert [path.name for path in store.folder.iterdir()] == [two]


def test_a_release_of_an_earlier_version_stays_what_the_ledger_names(store: Store, tmp_path: Path) -> None:
    """Its release.json has no version, and may not name what was judged."""
    number = put(store, tmp_path, "one")
    old = {k: v for k, v in about(number, "a" * 64).items() if k not in ("version", "judged", "verdict")}
    write_json(store.folder / number / "release.json", old)
    named = {**old, "model": {"sha256": "a" * 64}}
    del named["created"], named["image"]
    held = json.dumps([named, merged.evidence(store.folder / number / "evidence")], sort_keys=True)
    digest = hashlib.sha256(held.encode()).hexdigest()
    assert merged.digest(store.get(number)) == digest
    store.note(number, IMAGE)
    assert merged.digest(store.get(number)) == digest
    shutil.copytree(store.get(number), tmp_path / "copy")
    assert store.add(tmp_path / "copy") == number and merged.digest(store.get(number)) == digest
    assert store.list()[0].judged is None


@pytest.mark.parametrize("changes", [{"id": "0"}, {"more": 1}, {"model": None}, {"version": 2}])
def test_a_release_that_is_not_described_as_one_is_not_taken(
    store: Store, tmp_path: Path, changes: dict[str, object]
) -> None:
    number = fill(tmp_path / "one", "one")
    write_json(tmp_path / "one/release.json", about(number) | changes)
    with pytest.raises(UserError, match=r"one/release\.json is (not what `ml release` writes|of version 2)"):
        store.add(tmp_path / "one")
    assert store.list() == []
