"""`ml update`: a team's copy takes newer versions of the template, and what is the team's stays."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.base import git as base_git
from pipelines.base.errors import UserError
from pipelines.setup import project, template
from pipelines.setup.update import update
from tests.problems.yours import RAIN, commit, copy_tracked, furnish
from tests.project import git
from tests.shared import once

EXAMPLE = project.tests()
LATER = """\
name: nightly
on: {schedule: [{cron: "1 2 * * *"}]}
jobs: {}
"""


@pytest.fixture(scope="session")
def today(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as it is today, its version 1.0.0."""

    def make(folder: Path) -> None:
        copy_tracked(folder)
        (folder / ".github/CODEOWNERS").write_text("* @OWNER/MAINTAINERS\n\n/docs/\n")
        (folder / EXAMPLE).mkdir(
            parents=True, exist_ok=True
        )  # a team, whose copy runs this test, has deleted it
        (folder / EXAMPLE / "test_model.py").write_text("FIRST = 1\n")
        commit(folder, "the template")
        git(folder, "tag", "v1.0.0")
        git(folder, "tag", "greenlight-0123456789ab")  # of a release of its own

    return once(tmp_path_factory, "template", make)


@pytest.fixture
def newer(today: Path, tmp_path: Path) -> Path:
    """A later template: another commit, v1.1.0, that touches what a template does."""
    folder = Path(shutil.copytree(today, tmp_path / "template", symlinks=True))
    appended(folder, "pipelines/core/stats.py", "\nLATER = 1\n")
    appended(folder, "docs/gate.md", "\nA later sentence.\n")
    appended(folder, "README.md", "\nA later figure.\n")
    changed(folder, ".github/workflows/release.yml", "\nname: release\n", "\nname: release\n# later\n")
    changed(
        folder,
        "requirements/dev.txt",
        "\nbentoml==",
        "\nbento-later==1.0 \\\n    --hash=sha256:00\nbentoml==",
    )
    appended(folder, "params.yaml", "# later\n")
    appended(folder, "pipelines/problem/features.py", "\nLATER = 1\n")
    appended(folder, "dvc.lock", "# later\n")
    appended(folder, f"{EXAMPLE}/test_model.py", "\nLATER = 1\n")
    (folder / EXAMPLE / "test_later.py").write_text("LATER = 1\n")
    git(folder, "mv", "docs/report.md", "docs/reports.md")
    git(folder, "rm", "--quiet", "CONTRIBUTING.md")
    (folder / "pipelines/core/later.py").write_text("LATER = 1\n")
    commit(folder, "a later template")
    git(folder, "tag", "v1.1.0")
    return folder


@pytest.fixture
def team(today: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What "Use this template" makes of it, one commit without history, and then a team's own work."""
    folder = tmp_path / "team"
    shutil.copytree(today, folder, symlinks=True, ignore=lambda at, _: [".git"] if at == str(today) else [])
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name in ("user.name", "user.email"):
        git(folder, "config", name, "ada")
    commit(folder, "Initial commit")
    furnish(folder, RAIN)
    (folder / "pipelines/problem/holidays.py").write_text("DAYS = ()\n")
    shutil.copy(RAIN / "params.yaml", folder / "params.yaml")
    for name in ("dvc.lock", "data.dvc"):
        appended(folder, name, "# ours\n")
    (folder / "README.md").write_text("# Rain\n")
    appended(folder, "docs/report.md", "\nOur sentence.\n")
    shutil.rmtree(folder / EXAMPLE)
    (folder / ".github/workflows/nightly.yml").write_text(LATER)
    appended(folder, ".github/workflows/release.yml", "\n  ours:\n    runs-on: ubuntu-24.04\n")
    changed(folder, ".github/CODEOWNERS", "@OWNER/MAINTAINERS", "@ada")
    changed(folder, "pyproject.toml", '    "xgboost; ', '    "zstandard",\n    "xgboost; ')
    appended(folder, "requirements/dev.txt", "zzz-ours==1.0 \\\n    --hash=sha256:11\n")
    commit(folder, "our problem")
    monkeypatch.chdir(folder)
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    return folder


def appended(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text((folder / name).read_text() + text)


def changed(folder: Path, name: str, old: str, new: str) -> None:
    before = (folder / name).read_text()
    assert before.count(old) == 1, (name, old)
    (folder / name).write_text(before.replace(old, new))


def files(folder: Path, commit: str = "HEAD") -> Mapping[str, str]:
    lines = git(folder, "ls-tree", "-r", commit).splitlines()
    return {line.partition("\t")[2]: line.split()[2] for line in lines}


def test_a_copy_takes_a_later_template_without_a_conflict_and_keeps_what_is_the_team_s(
    team: Path, newer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, head = files(team), git(team, "rev-parse", "HEAD")
    assert update(str(newer)) == 0
    after, theirs = files(team), files(newer)
    assert git(team, "status", "--porcelain") == "" and git(team, "branch", "--show-current") == "main"
    assert git(team, "log", "-1", "--format=%P").split() == [head, git(newer, "rev-parse", "v1.1.0")]
    # the team's
    ours = [name for name in before if name.startswith("pipelines/problem/")]
    assert "pipelines/problem/holidays.py" in ours
    for name in (*ours, "params.yaml", "data.dvc", "dvc.lock", "README.md", ".github/workflows/nightly.yml"):
        assert after[name] == before[name], name
    assert not [name for name in after if name.startswith(EXAMPLE)]
    # the template's
    for name in ("pipelines/core/stats.py", "pipelines/core/later.py", "docs/gate.md"):
        assert after[name] == theirs[name], name
    assert "CONTRIBUTING.md" not in after and "docs/report.md" not in after
    # both
    text = {
        name: (team / name).read_text() for name in after if (team / name).suffix in (".yml", ".txt", ".md")
    }
    assert (
        "# later\n" in text[".github/workflows/release.yml"]
        and "  ours:" in text[".github/workflows/release.yml"]
    )
    assert "bento-later" in text["requirements/dev.txt"] and "zzz-ours" in text["requirements/dev.txt"]
    assert "Our sentence." in text["docs/reports.md"]
    assert '"zstandard"' in (team / "pyproject.toml").read_text()
    assert "@ada" in (team / ".github/CODEOWNERS").read_text()
    said = capsys.readouterr().out
    assert "v1.1.0" in said and "params.yaml" in said and "ml reproduce" in said
    assert not git(team, "for-each-ref", "refs/greenlight") and git(team, "tag") == ""


def test_the_next_update_starts_where_the_last_one_ended(team: Path, newer: Path) -> None:
    assert update(str(newer)) == 0
    appended(team, "pipelines/core/later.py", "OURS = 1\n")
    commit(team, "ours")
    appended(newer, "docs/gate.md", "\nThe latest sentence.\n")
    appended(newer, "pipelines/problem/features.py", "\nLATEST = 1\n")
    commit(newer, "the latest")
    git(newer, "tag", "v1.10.0")  # newer than 1.1.0, and than 1.9
    assert update(str(newer)) == 0
    assert (team / "docs/gate.md").read_text().endswith("A later sentence.\n\nThe latest sentence.\n")
    assert "OURS" in (team / "pipelines/core/later.py").read_text()
    assert git(team, "log", "-1", "--format=%s") == "Update to v1.10.0 of the template"
    assert git(team, "merge-base", "HEAD", "HEAD^2") == git(newer, "rev-parse", "v1.10.0")


def test_an_update_that_was_squashed_is_known_by_its_message(team: Path, newer: Path) -> None:
    assert update(str(newer)) == 0
    message = git(team, "log", "-1", "--format=%B")
    git(team, "reset", "--quiet", "--soft", "HEAD^1")
    git(team, "commit", "--quiet", "-m", f"Take the newer template (#7)\n\n* {message}\n\n* and more")
    changed(newer, "docs/gate.md", "A later sentence.\n", "A corrected sentence.\n")
    commit(newer, "a correction")
    git(newer, "tag", "v1.2.0")
    assert update(str(newer)) == 0
    assert "corrected" in (team / "docs/gate.md").read_text()


def test_what_the_copy_has_already_is_nothing_to_do(
    team: Path, newer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = git(team, "rev-parse", "HEAD")
    assert update(str(newer), to="v1.0.0") == 0
    assert "Nothing to do" in capsys.readouterr().out and git(team, "rev-parse", "HEAD") == head
    assert update(str(newer)) == update(str(newer)) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert git(team, "rev-parse", "HEAD^1") == head


def test_a_plan_shows_what_would_change_and_changes_nothing(
    team: Path, newer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = git(team, "rev-parse", "HEAD")
    assert update(str(newer), plan=True) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"changed docs/gate.md", "new pipelines/core/later.py", "deleted CONTRIBUTING.md"} <= set(said)
    assert any(line.startswith("Yours, and kept") and "params.yaml" in line for line in said)
    assert git(team, "rev-parse", "HEAD") == head and git(team, "status", "--porcelain") == ""


def test_tests_that_a_team_put_in_place_of_the_template_s_stay(team: Path, newer: Path) -> None:
    (team / EXAMPLE).mkdir()
    (team / EXAMPLE / "test_model.py").write_text("OURS = 1\n")
    commit(team, "our tests")
    assert update(str(newer)) == 0
    assert [name for name in files(team) if name.startswith(EXAMPLE)] == [f"{EXAMPLE}/test_model.py"]
    assert (team / EXAMPLE / "test_model.py").read_text() == "OURS = 1\n"


def test_a_room_that_is_still_the_template_s_follows_it(today: Path, newer: Path, team: Path) -> None:
    git(team, "reset", "--quiet", "--hard", "HEAD^")
    assert update(str(newer)) == 0
    assert {name: files(team)[name] for name in ("params.yaml", "dvc.lock", "README.md")} == {
        name: files(newer)[name] for name in ("params.yaml", "dvc.lock", "README.md")
    }
    assert files(team) == files(newer)


def test_a_compiled_lock_in_conflict_is_the_template_s_and_made_again(
    team: Path, newer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(
        team, "requirements/dev.txt", "\nbentoml==", "\nbento-ours==1.0 \\\n    --hash=sha256:22\nbentoml=="
    )
    commit(team, "another package")
    assert update(str(newer)) == 0
    assert files(team)["requirements/dev.txt"] == files(newer)["requirements/dev.txt"]
    assert "make lock" in capsys.readouterr().out


# --- what is refused, and what is left to a person ---------------------------------------------------------


@pytest.fixture
def at_odds(team: Path, newer: Path) -> Path:
    """The team changed lines that the template changes, and deleted a file that it changes."""
    appended(team, "docs/gate.md", "\nOur own rule.\n")
    (team / "pipelines/core/stats.py").unlink()
    commit(team, "ours")
    return team


def test_a_conflict_is_left_as_git_leaves_it_and_named_with_the_way_out(
    at_odds: Path, newer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = git(at_odds, "rev-parse", "HEAD")
    assert update(str(newer)) == 3
    said = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "2 in conflict:" in lines and "docs/gate.md both changed it" in lines
    assert "pipelines/core/stats.py the template changed it, you deleted it" in lines
    assert "git merge --abort" in said
    marks = (at_odds / "docs/gate.md").read_text()
    assert "<<<<<<< greenlight/your-copy" in marks and ">>>>>>> greenlight/the-template" in marks
    assert git(at_odds, "diff", "--name-only", "--diff-filter=U").split() == [
        "docs/gate.md",
        "pipelines/core/stats.py",
    ]
    assert (at_odds / "pipelines/core/later.py").exists() and "# Rain" in (at_odds / "README.md").read_text()
    with pytest.raises(UserError, match="a merge is under way"):
        update(str(newer))
    (at_odds / "docs/gate.md").write_text("settled\n")
    git(at_odds, "add", "--all")
    git(at_odds, "commit", "--quiet", "--no-edit")
    assert git(at_odds, "log", "-1", "--format=%P").split() == [head, git(newer, "rev-parse", "v1.1.0")]
    assert template.VERSION.fullmatch("v1.1.0") and "Template-Commit: " in git(
        at_odds, "log", "-1", "--format=%B"
    )
    assert update(str(newer)) == 0  # nothing to do


def test_a_conflict_can_be_dropped_and_all_is_as_it_was(at_odds: Path, newer: Path) -> None:
    head = git(at_odds, "rev-parse", "HEAD")
    assert update(str(newer)) == 3
    git(at_odds, "merge", "--abort")
    assert git(at_odds, "status", "--porcelain") == "" and git(at_odds, "rev-parse", "HEAD") == head
    assert not (at_odds / "pipelines/core/later.py").exists()


@pytest.mark.parametrize("killed_at", ["read-tree", "update-index"])
def test_what_was_killed_while_it_left_a_conflict_can_be_dropped_too(
    at_odds: Path, newer: Path, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*command: str, **options: Any) -> str:
        if command[0] == killed_at and "given" not in options:  # not those in an index of its own
            raise KeyboardInterrupt
        return whole(*command, **options)

    whole, head = base_git.run, git(at_odds, "rev-parse", "HEAD")
    monkeypatch.setattr(base_git, "run", run)
    with pytest.raises(KeyboardInterrupt):
        update(str(newer))
    git(at_odds, "merge", "--abort")
    assert git(at_odds, "status", "--porcelain") == "" and git(at_odds, "rev-parse", "HEAD") == head


def test_a_plan_tells_of_conflicts_too(
    at_odds: Path, newer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert update(str(newer), plan=True) == 3
    assert "2 in conflict:" in capsys.readouterr().out and git(at_odds, "status", "--porcelain") == ""


def test_a_checkout_with_changes_is_refused(team: Path, newer: Path) -> None:
    appended(team, "docs/gate.md", "half a thought")
    with pytest.raises(UserError, match=r"the checkout has changes \(docs/gate.md\)"):
        update(str(newer))
    assert (team / "docs/gate.md").read_text().endswith("half a thought")


def test_a_clone_with_a_part_of_the_history_is_refused(
    team: Path, newer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{team}", "shallow")
    monkeypatch.chdir(tmp_path / "shallow")
    with pytest.raises(UserError, match="--unshallow"):
        update(str(newer))


@pytest.mark.parametrize("conflict", [False, True])
def test_what_git_does_not_know_is_not_overwritten(team: Path, newer: Path, conflict: bool) -> None:
    if conflict:
        appended(team, "docs/gate.md", "\nOur own rule.\n")
        commit(team, "ours")
    (team / "pipelines/core/later.py").write_text("mine\n")
    head = git(team, "rev-parse", "HEAD")
    with pytest.raises(UserError, match=r"later\.py"):
        update(str(newer))
    assert (team / "pipelines/core/later.py").read_text() == "mine\n"
    assert git(team, "status", "--porcelain") == "?? pipelines/core/later.py"
    assert git(team, "rev-parse", "HEAD") == head and not (team / ".git/MERGE_HEAD").exists()


def test_another_repository_is_no_template(team: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    git(other, "init", "--quiet", "--initial-branch=main")
    (other / "README.md").write_text("# Something else\n")
    commit(other, "first")
    with pytest.raises(UserError, match="not a copy of the template"):
        update(str(other))
    with pytest.raises(UserError, match="cannot be fetched"):
        update(str(tmp_path / "nowhere"))
    assert git(team, "status", "--porcelain") == "" and not git(team, "for-each-ref", "refs/greenlight")


def test_a_version_that_does_not_exist_is_refused_and_those_that_do_are_named(
    team: Path, newer: Path
) -> None:
    with pytest.raises(UserError, match=r"--to 'v9' is no tag.*v1.1.0, v1.0.0$"):
        update(str(newer), to="v9")
    with pytest.raises(UserError, match="--to"):  # of this repository, and not of the template
        update(str(newer), to=git(team, "rev-parse", "HEAD"))
    with pytest.raises(UserError, match="--to"):
        update(str(newer), to="--upload-pack=x")


def test_a_copy_that_was_changed_before_its_first_commit_names_its_version(
    team: Path, newer: Path, today: Path
) -> None:
    tree = git(team, "rev-parse", "HEAD^{tree}")
    git(team, "reset", "--quiet", "--hard", git(team, "commit-tree", tree, "-m", "all at once"))
    version = git(today, "rev-parse", "HEAD")[:12]
    with pytest.raises(UserError, match=f"`--base {version}`"):
        update(str(newer))
    assert update(str(newer), since=version) == 0
    assert (team / "pipelines/core/later.py").exists() and "# Rain" in (team / "README.md").read_text()


def test_where_the_template_is_says_the_last_update_else_nobody(
    team: Path, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="`--from URL`"):
        update()
    address = "https://ada:secret@example.com/acme/greenlight.git"
    settings = {
        f"url.{newer}.insteadOf": address,
        f"url.{newer}/.git.insteadOf": address.replace("ada:secret@", ""),
    }
    for name, value in settings.items():
        git(team, "config", name, value)
    assert update(address, to="v1.1.0") == 0
    message = git(team, "log", "-1", "--format=%B")
    assert "Template: https://example.com/acme/greenlight.git" in message and "secret" not in message
    assert template.address() == "https://example.com/acme/greenlight.git"
    assert update() == 0


def test_github_tells_of_which_template_a_copy_is(team: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub:
        def call(self, method: str, path: str) -> object:
            assert (method, path) == ("GET", "")
            return about

    class Here:
        def hub(self) -> Hub:
            return Hub()

    monkeypatch.setattr(template.where, "found", Here)
    about: dict[str, object] = {
        "template_repository": {"clone_url": "https://github.com/acme/greenlight.git"}
    }
    assert template.address() == "https://github.com/acme/greenlight.git"
    about["template_repository"] = None  # it is not a copy
    with pytest.raises(UserError, match="nor GitHub says of which template"):
        template.address()
