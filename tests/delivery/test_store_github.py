"""The store on GitHub, against a stand-in of the documented API."""

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.release import Release
from pipelines.base.errors import UserError
from pipelines.registry.store import Assets
from pipelines.registry.store.assets import repository
from tests.delivery import github_releases
from tests.delivery.github_releases import REPOSITORY, Releases
from tests.delivery.test_store import IMAGE, fill
from tests.releases import HEAD
from tests.releases import about as described_as


@pytest.fixture(autouse=True)
def limits() -> None:
    """Not the rollout's shorter waits."""


@pytest.fixture
def store(github: Releases, tmp_path: Path) -> Assets:
    return Assets(REPOSITORY, tmp_path / "store")


@pytest.fixture
def elsewhere(github: Releases, tmp_path: Path) -> Assets:
    """The same releases, on a machine that has none of them."""
    return Assets(REPOSITORY, tmp_path / "elsewhere")


@pytest.fixture
def put(store: Assets, tmp_path: Path) -> Callable[..., str]:
    """put(text): upload a release; returns its id."""

    def put(text: str = "one", **fields: object) -> str:
        number = fill(tmp_path / text, text, **fields)
        assert store.add(tmp_path / text) == number
        return number

    return put


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def nothing_half_written(store: Assets, github: Releases) -> bool:
    left = list(store.folder.iterdir()) if store.folder.exists() else []
    return not left and not github.records and not github.tags


def test_what_one_machine_puts_another_gets_byte_by_byte(put, elsewhere, tmp_path: Path) -> None:
    number = put()
    assert elsewhere.get(number[:8]) == elsewhere.get(number) == elsewhere.folder / number
    assert files(elsewhere.folder / number) == files(tmp_path / "one")
    assert sorted(path.name for path in elsewhere.folder.iterdir()) == [number]


def test_a_release_is_a_tag_at_its_commit_with_one_asset(put, github: Releases) -> None:
    number = put()
    (record,) = github.published()
    assert github.tags == {f"greenlight-{number[:12]}": HEAD}
    assert [asset["name"] for asset in record["assets"]] == ["release.tar"]
    assert number in record["body"] and record["name"].endswith(number[:12])


def test_the_same_release_is_the_same_bytes(put, github: Releases, store: Assets, tmp_path: Path) -> None:
    number = put()
    for path in sorted((tmp_path / "one").rglob("*"), reverse=True):
        os.utime(path, (1, 1))
    store.remove(number)
    store.add(tmp_path / "one")
    first, second = github.content.values()
    assert first == second


def test_modes_and_empty_folders_come_along(store: Assets, elsewhere: Assets, tmp_path: Path) -> None:
    number = fill(tmp_path / "one", "one")
    (tmp_path / "one/evidence/metrics.json").unlink()
    (tmp_path / "one/bento/env").mkdir()
    (tmp_path / "one/bento/env/install.sh").write_text("true")
    (tmp_path / "one/bento/env/install.sh").chmod(0o700)
    store.add(tmp_path / "one")
    folder = elsewhere.get(number)
    assert (folder / "evidence").is_dir() and folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "bento/env/install.sh").stat().st_mode & 0o777 == 0o755
    assert (folder / "bento/bento.yaml").stat().st_mode & 0o777 == 0o644


def test_the_token_goes_to_github_only(put, elsewhere, github: Releases) -> None:
    elsewhere.get(put())
    assert any(call.startswith(f"GET {github_releases.OBJECTS}") for call in github.calls)
    assert set(github.told) == {"api.github.com", "uploads.github.com"}


def test_what_came_down_once_needs_no_github(put, elsewhere, github: Releases, monkeypatch) -> None:
    number = put()
    elsewhere.get(number)
    github.calls.clear()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert elsewhere.get(number).is_dir() and not github.calls


def test_a_copy_that_was_changed_here_is_downloaded_again(put, elsewhere, tmp_path: Path) -> None:
    number = put()
    (elsewhere.get(number) / "bento/src/models/model.onnx").write_text("changed")
    assert files(elsewhere.get(number)) == files(tmp_path / "one")
    assert sorted(path.name for path in elsewhere.folder.iterdir()) == [number]


def test_releases_are_listed_newest_first_and_others_tags_are_passed_over(put, store, github) -> None:
    put("old", created="2026-01-01T00:00:00+00:00")
    put("new", created="2026-02-01T00:00:00+00:00")
    github.create({"tag_name": "v1.0", "target_commitish": HEAD, "body": None})
    assert [release.created[:7] for release in store.list()] == ["2026-02", "2026-01"]


def test_more_releases_than_a_page_are_all_listed(github: Releases, store: Assets) -> None:
    for number in range(203):
        id = f"{number:064d}"[::-1]
        about = f"```json\n{json.dumps(described_as(id, created=f'{number:03d}'))}\n```"
        github.create({"tag_name": f"greenlight-{id[:12]}", "target_commitish": HEAD, "body": about})
    assert [int(release.created) for release in store.list()] == list(range(202, -1, -1))


def test_a_note_is_seen_elsewhere_and_the_release_stays_itself(put, store, elsewhere, github) -> None:
    number = put()
    store.note(number, IMAGE)
    assert store.list()[0].image == IMAGE
    for place in (store, elsewhere):
        about = Release.read(place.get(number))
        assert about.image == IMAGE and about.commit == HEAD


def test_a_removed_release_is_gone_with_its_tag(put, store, github: Releases) -> None:
    number, other = put(), put("two")
    store.remove(number)
    assert not store.has(number) and store.has(other)
    assert list(github.tags) == [f"greenlight-{other[:12]}"]
    assert [path.name for path in store.folder.iterdir()] == [other]
    store.remove(number)


def test_taking_the_same_release_twice_uploads_once(put, elsewhere, github, tmp_path: Path) -> None:
    number = put()
    assert put() == elsewhere.add(tmp_path / "one") == number
    assert len(github.content) == len(github.records) == 1


def test_nobody_sees_a_release_before_its_asset_is_whole(put, store, github: Releases, monkeypatch) -> None:
    seen = []
    real = github.upload

    def upload(number: int, name: str, content: bytes) -> Any:
        seen.append((github.published(), len(github.drafts()), list(store.folder.glob("[!.]*"))))
        return real(number, name, content)

    monkeypatch.setattr(github, "upload", upload)
    put()
    assert seen == [([], 1, [])]


FAULTS = {
    "draft": ("POST api.github.com", 500, None, "GitHub refused POST .*500"),
    "upload": ("POST uploads.github.com", 502, None, "GitHub refused POST .*502"),
    "a proxy's page": ("POST uploads.github.com", 502, b"<html>", "GitHub refused POST .*502"),
    "hang up": ("POST uploads.github.com", 0, None, "GitHub does not answer POST .*uploads"),
    "starter": ("POST uploads", 201, {"id": 9, "state": "starter", "size": 0}, "was cut on its way"),
    "short": ("POST uploads", 201, {"id": 9, "state": "uploaded", "size": 3}, "was cut on its way"),
    "publish": ("PATCH", 422, {"message": "Validation Failed"}, "GitHub refused PATCH .*422"),
    "rights": ("POST api", 403, {"message": "Resource not accessible by integration"}, "not accessible"),
    "login": ("POST api", 401, {"message": "Bad credentials"}, "401: GITHUB_TOKEN or GH_TOKEN is not valid"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_an_upload_that_fails_leaves_nothing_and_the_next_one_works(
    name: str, store: Assets, github: Releases, tmp_path: Path
) -> None:
    call, status, body, words = FAULTS[name]
    number = fill(tmp_path / "one", "one")
    github.fail(call, status, body)
    with pytest.raises(UserError, match=words) as told:
        store.add(tmp_path / "one")
    assert "\n" not in str(told.value) and not github.faults
    assert nothing_half_written(store, github)
    assert store.add(tmp_path / "one") == number and store.has(number)


def test_an_asset_that_was_changed_on_its_way_is_not_published(store, github, tmp_path: Path) -> None:
    fill(tmp_path / "one", "one")
    real = github.upload
    github.upload = lambda number, name, content: real(number, name, content[:-1] + b"!")
    with pytest.raises(UserError, match="was changed on its way"):
        store.add(tmp_path / "one")
    assert nothing_half_written(store, github)


def test_a_commit_that_github_does_not_know_is_named(store: Assets, github: Releases, tmp_path: Path) -> None:
    github.commits.clear()
    fill(tmp_path / "one", "one")
    with pytest.raises(UserError, match="target_commitish invalid"):
        store.add(tmp_path / "one")
    assert nothing_half_written(store, github)


def test_a_killed_upload_leaves_a_draft_that_nobody_gets_and_that_is_swept(store, github, tmp_path) -> None:
    number = fill(tmp_path / "one", "one", created="2026-01-01T00:00:00+00:00")
    about = f"```json\n{json.dumps(described_as(number))}\n```"
    for draft in (about, about.replace("2026-01-01", "2999-01-01")):
        github.create({"tag_name": f"greenlight-{number[:12]}", "draft": True, "body": draft})
    assert not store.has(number) and store.list() == []
    with pytest.raises(UserError, match="is not in the releases of"):
        store.get(number)
    store.add(tmp_path / "one")
    assert store.has(number) and len(github.drafts()) == 1, "a young draft may be another's"


def test_two_uploads_at_once_are_one_release(store, github, tmp_path: Path, monkeypatch, capsys) -> None:
    number, other = fill(tmp_path / "one", "one"), Assets(REPOSITORY, tmp_path / "other")
    real = github.upload

    def upload(*given: Any) -> Any:
        monkeypatch.setattr(github, "upload", real)
        github.create({"tag_name": f"greenlight-{number[:12]}", "target_commitish": HEAD, "body": None})
        real(github.last, *given[1:])
        return real(*given)

    monkeypatch.setattr(github, "upload", upload)
    other.add(tmp_path / "one")
    assert "another process has uploaded" in capsys.readouterr().err
    assert len(github.published()) == 1 and not github.drafts()
    assert store.get(number).is_dir() and other.get(number).is_dir()


def altered(github: Releases, change: Callable[[dict[str, bytes]], None]) -> None:
    """Replace the asset by one whose members were changed, as somebody with the right to write could."""
    (record,) = github.published()
    (asset,) = record["assets"]
    with tarfile.open(fileobj=io.BytesIO(github.content[asset["id"]])) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
    change(members)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name.removeprefix("link:"))
            if name.startswith("link:"):
                entry.type, entry.linkname = tarfile.SYMTYPE, content.decode()
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    replaced(github, out.getvalue())


def replaced(github: Releases, content: bytes) -> None:
    (record,) = github.published()
    record["assets"].clear()
    github.upload(record["id"], "release.tar", content)


ANOTHER = json.dumps(described_as()).encode()
ALTERED = {
    "model": (lambda m: m.update({"bento/src/models/model.onnx": b"other"}), "bento/src was changed"),
    "added": (lambda m: m.update({"bento/src/sitecustomize.py": b""}), "bento/src was changed"),
    "module": (lambda m: m.update({"bento/uvicorn.py": b""}), "bento/ holds 'uvicorn.py'"),
    "missing": (lambda m: m.pop("bento/bento.yaml"), "is missing: the release is not whole"),
    "id": (
        lambda m: m.update({"release.json": json.dumps(described_as()).encode()}),
        "release.json is not of",
    ),
    "no json": (lambda m: m.update({"release.json": b"{"}), "release.json is not what `ml release` writes"),
    "outside": (lambda m: m.update({"bento/../../x": b""}), r"bento/\.\./\.\./x is outside"),
    "absolute": (lambda m: m.update({"/tmp/greenlight-x": b""}), "is outside"),
    "beside": (lambda m: m.update({"other/x": b""}), "other/x is outside"),
    "link": (lambda m: m.update({"link:evidence/x": b"/etc"}), "evidence/x is not a plain file"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_an_asset_that_is_not_what_its_id_says_is_never_given_out(
    name: str, put, elsewhere: Assets, github: Releases, tmp_path: Path
) -> None:
    number = put()
    change, words = ALTERED[name]
    altered(github, change)
    with pytest.raises(UserError, match=words) as told:
        elsewhere.get(number)
    assert "delete it and its tag on GitHub" in str(told.value)
    assert list(elsewhere.folder.iterdir()) == [] and not Path("/tmp/greenlight-x").exists()


def test_an_asset_whose_members_are_as_they_were_is_given_out(put, elsewhere, github) -> None:
    number = put()
    altered(github, lambda members: None)
    assert elsewhere.get(number).is_dir()


def test_an_asset_that_is_no_archive_is_refused(put, elsewhere: Assets, github: Releases) -> None:
    number = put()
    replaced(github, b"<html>")
    with pytest.raises(UserError, match="is not the release"):
        elsewhere.get(number)
    assert list(elsewhere.folder.iterdir()) == []


@pytest.mark.parametrize("status", [0, 200])
def test_a_download_that_is_cut_is_not_given_out(status: int, put, elsewhere, github: Releases) -> None:
    """The line breaks (httpx notices), or what stands before GitHub ends it early at a file's end."""
    number = put()
    (content,) = github.content.values()
    github.fail(f"GET {github_releases.OBJECTS}", status, content[:-10240])
    with pytest.raises(UserError, match=r"was cut on its way|does not answer"):
        elsewhere.get(number)
    assert list(elsewhere.folder.iterdir()) == []
    assert elsewhere.get(number).is_dir()


def test_a_server_that_tells_no_digest_still_serves(put, elsewhere, github: Releases) -> None:
    github.digests = False
    assert elsewhere.get(put()).is_dir()


def test_a_release_whose_asset_was_deleted_is_named_and_put_again(put, elsewhere, github) -> None:
    number = put()
    github.published()[0]["assets"].clear()
    with pytest.raises(UserError, match=r"has no whole release\.tar: delete it and its tag on GitHub"):
        elsewhere.get(number)
    assert not elsewhere.has(number)
    put()
    assert elsewhere.get(number).is_dir() and len(github.published()) == 1


def test_notes_that_somebody_edited_are_passed_over_in_lists_only(
    put, store, elsewhere, github, capsys
) -> None:
    number = put()
    github.published()[0]["body"] = "great release"
    assert store.list() == []
    assert "are not what was written there" in capsys.readouterr().err
    assert Release.read(elsewhere.get(number)).id == number
    store.note(number, IMAGE)
    assert store.list()[0].image == IMAGE


def test_notes_saved_by_a_browser_are_still_read(put, store, github: Releases) -> None:
    number = put()
    github.published()[0]["body"] = github.published()[0]["body"].replace("\n", "\r\n")
    assert store.list()[0].id == number


def test_a_release_that_is_not_there_is_named_with_the_way_out(store: Assets) -> None:
    with pytest.raises(UserError, match=r"release 000000000000 is not in the releases of .*ml release"):
        store.get("0" * 64)
    with pytest.raises(UserError, match=r"release 00000000 is not in"):
        store.get("0" * 8)
    with pytest.raises(UserError, match="is not a release id"):
        store.get("main")


def test_a_repository_that_is_not_there_is_one_sentence(github: Releases, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="GitHub has no repository somebody/else that this token"):
        Assets("somebody/else", tmp_path).list()
    fill(tmp_path / "one", "one")
    with pytest.raises(UserError, match="GitHub has no repository somebody/else"):
        Assets("somebody/else", tmp_path / "store").add(tmp_path / "one")


def test_without_a_token_the_sentence_says_so(store: Assets, monkeypatch) -> None:
    monkeypatch.delenv("GH_TOKEN")
    with pytest.raises(UserError, match=r"^no token for GitHub: set GITHUB_TOKEN, or GH_TOKEN$"):
        store.list()


def test_without_a_network_the_sentence_says_so(store: Assets, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"^GitHub does not answer GET .*try again$"):
        store.list()
    with pytest.raises(UserError, match=r"^GitHub does not answer GET"):
        store.get("0" * 64)


def test_nothing_needs_githubs_command(put, elsewhere: Assets, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert elsewhere.get(put()).is_dir()


@pytest.mark.parametrize(
    ("origin", "meant"),
    [
        ("https://github.com/a/b.git", "a/b"),
        ("https://github.com/a/b", "a/b"),
        ("git@github.com:a/b.git", "a/b"),
        ("ssh://git@github.com/a/b.c.git", "a/b.c"),
        ("/srv/git/b.git", None),
        ("", None),
    ],
)
def test_the_repository_is_origins_by_default(origin: str, meant: str | None, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    subprocess.run(["git", "init", "--quiet"], check=True)
    if origin:
        subprocess.run(["git", "remote", "add", "origin", origin], check=True)
    if meant:
        assert repository("") == meant
    else:
        with pytest.raises(UserError, match="write github:OWNER/REPO"):
            repository("")
    with pytest.raises(UserError, match="write github:OWNER/REPO"):
        repository("a/b/c")


def test_the_stand_in_says_no_as_github_does(put, github: Releases) -> None:
    """The controls of what the tests above lean on."""
    number = put()
    tag = {"tag_name": f"greenlight-{number[:12]}", "target_commitish": HEAD, "body": ""}
    assert github.create(tag)[0] == 422
    assert github.create({**tag, "tag_name": "v2", "target_commitish": "unknown"})[0] == 422
    assert github.upload(github.published()[0]["id"], "release.tar", b"")[0] == 422
    assert github.answer("GET", "api.github.com", "/repos/a/b/releases", {}, b"")[0] == 404
    assert (
        github.answer("DELETE", "api.github.com", f"/repos/{REPOSITORY}/git/refs/tags/x", {}, b"")[0] == 422
    )
