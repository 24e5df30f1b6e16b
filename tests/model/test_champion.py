"""The champion that a proposal is compared with: from where it can be trusted, with its own feature code."""

import hashlib
import shutil
from pathlib import Path

import onnx
import pytest

from pipelines.base.errors import UserError
from pipelines.core.tasks.binary import BINARY
from pipelines.judge import champion
from pipelines.judge.champion import ChampionUnavailable, Production, find
from tests import project
from tests.model.proposals import Made, commit, cut, git, judge, released, settings


def test_a_champion_cut_in_half_comes_from_dvcs_cache(fitted, base, window, tmp_path) -> None:
    for name in ("model.onnx", "model.json", "golden.json", "serving.json"):
        content = (base / "models" / name).read_bytes()
        md5 = hashlib.md5(content).hexdigest()
        cached = base / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(content)
    cut(base / "models/model.onnx")
    verdict, findings, _ = judge(fitted(settings(max_iter=3)).write(tmp_path / "candidate", window), base)
    assert verdict == "FAIL" and "log_loss" in findings and "champion" not in findings


@pytest.mark.parametrize("whole", [True, False])
def test_a_champion_cut_in_half_comes_from_the_dvc_remote_by_its_bytes(base, tmp_path, whole: bool) -> None:
    remote = tmp_path / "remote"
    for name in ("model.onnx", "model.json", "golden.json", "serving.json"):
        content = (base / "models" / name).read_bytes()
        md5 = hashlib.md5(content).hexdigest()
        kept = remote / "files/md5" / md5[:2] / md5[2:]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content if whole or name != "model.onnx" else content + b"?")
    (base / ".dvc").mkdir(exist_ok=True)
    url = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {remote}\n"
    (base / ".dvc/config").write_text(url)
    sha256 = hashlib.sha256((base / "models/model.onnx").read_bytes()).hexdigest()
    cut(base / "models/model.onnx")
    if whole:
        found = find(base, BINARY, None, "the release")
        assert found and (
            found.sha256,
            found.words.count("built"),
        ) == (
            sha256,
            0,
        )
    else:
        with pytest.raises(ChampionUnavailable, match="could not be built again"):
            find(base, BINARY, None, "the release")


def test_a_champion_cut_in_half_that_cannot_be_built_again_is_inconclusive(
    fitted, base, window, tmp_path
) -> None:
    cut(base / "models/model.onnx")
    verdict, findings, written = judge(
        fitted(settings(max_iter=50)).write(tmp_path / "candidate", window), base
    )
    assert verdict == "INCONCLUSIVE" and written["champion"] is None
    assert "could not be built again" in findings["champion"]["sentence"]
    assert "roc_auc" not in findings


BUILDER = """
import shutil, sys
def main():
    assert sys.argv[1] == "reproduce"
    shutil.copytree("made", "models", dirs_exist_ok=True)
"""


def test_a_champion_is_built_again_by_its_own_commit(fitted, window, tmp_path) -> None:
    folder = fitted().write(tmp_path / "base")
    shutil.copytree(folder / "models", folder / "made")
    (folder / "pipelines").mkdir()
    (folder / "pipelines/__init__.py").write_text("")
    (folder / "pipelines/cli.py").write_text(BUILDER)
    base = commit(folder)
    shutil.rmtree(base / "models")
    bad = fitted(settings(max_iter=3)).write(tmp_path / "candidate", window)

    def origin() -> str:
        verdict, findings, written = judge(bad, base)
        assert verdict == "FAIL" and "log_loss" in findings
        return written["champion"]["origin"]

    assert origin().endswith("built again")
    assert not origin().endswith("built again")  # from DVC's cache, where the first one was put
    for kept in (base / ".dvc/cache").rglob("*"):
        if kept.is_file():
            kept.write_bytes(b"what a proposal's build left in a shared cache")
    assert origin().endswith("built again")


def test_a_champion_is_built_again_without_a_remote_that_denies(
    fitted, window, tmp_path, monkeypatch, capsys
) -> None:
    folder = fitted().write(tmp_path / "base")
    shutil.copytree(folder / "models", folder / "made")
    (folder / "pipelines").mkdir()
    (folder / "pipelines/__init__.py").write_text("")
    off = "assert 'remote = \"\"' in pathlib.Path('.dvc/config.local').read_text()"
    refuses = f"import pathlib\ndef main():\n    {off}\n"
    (folder / "pipelines/cli.py").write_text(refuses + "    inner()\n" + BUILDER.replace("main", "inner"))
    (folder / ".dvc").mkdir()
    url = f"[core]\n    remote = storage\n['remote \"storage\"']\n    url = {tmp_path}/remote\n"
    (folder / ".dvc/config").write_text(url)
    base = commit(folder)
    shutil.rmtree(base / "models")

    def deny(repo, names):
        raise UserError("the DVC remote 'storage' did not bring it: AccessDenied")

    monkeypatch.setattr(champion.remote, "bring", deny)
    found = find(base, BINARY, None, "the release")
    assert found and found.words.endswith("built again")
    assert "AccessDenied; it is built again, without the remote" in capsys.readouterr().err


def test_a_champion_that_comes_out_with_other_bytes_is_built_once_and_named_so(
    fitted, window, tmp_path
) -> None:
    folder = Made(fitted().model, lock="0" * 32).write(tmp_path / "base")
    shutil.copytree(folder / "models", folder / "made")
    (folder / "pipelines").mkdir()
    (folder / "pipelines/__init__.py").write_text("")
    once = "import pathlib\ndef main():\n    pathlib.Path('again').touch(exist_ok=False)\n"
    (folder / "pipelines/cli.py").write_text(once + "    inner()\n" + BUILDER.replace("main", "inner"))
    base = commit(folder)
    shutil.rmtree(base / "models")
    bad = fitted(settings(max_iter=3)).write(tmp_path / "candidate", window)
    for _ in range(2):
        verdict, _, written = judge(bad, base)
        assert verdict == "FAIL" and "not byte for byte" in written["champion"]["origin"]


def test_productions_release_is_the_champion_and_not_the_base_branch(fitted, base, window, tmp_path) -> None:
    weak = fitted(settings(learning_rate=0.005))
    production = Production("f" * 64, git(base, "rev-parse", "HEAD"), released(weak, tmp_path / "release"))
    verdict, findings, written = judge(
        fitted(settings(max_iter=50)).write(tmp_path / "candidate", window), base, production
    )
    assert verdict == "PASS" and "shown better" in findings["log_loss"]["sentence"]
    assert written["champion"]["origin"] == "production's release ffffffffffff"


def test_a_release_with_another_model_than_it_says_is_not_trusted(fitted, base, window, tmp_path) -> None:
    folder = released(fitted(settings(max_iter=3)), tmp_path / "release")
    cut(folder / "bento/src/models/model.onnx")
    production = Production("f" * 64, git(base, "rev-parse", "HEAD"), folder)
    verdict, findings, _ = judge(
        fitted(settings(max_iter=50)).write(tmp_path / "candidate", window), base, production
    )
    assert verdict == "INCONCLUSIVE" and findings["champion"]["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize("stored", [False, True])
def test_a_release_of_a_commit_that_was_never_merged_is_inconclusive(
    fitted, base, window, tmp_path, stored
) -> None:
    """Whoever can write the ledger could name a commit of their own, whose code would run beside the gate."""
    pushed = git(base, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "never merged")
    folder = released(fitted(), tmp_path / "release") if stored else None
    for number in ("0" * 40, pushed):
        verdict, findings, _ = judge(
            fitted(settings(max_iter=50)).write(tmp_path / f"candidate{number[0]}", window),
            base,
            Production("f" * 64, number, folder),
        )
        assert verdict == "INCONCLUSIVE"
        assert "the base branch was never at its commit" in findings["champion"]["sentence"]


def test_a_champion_is_scored_with_its_own_feature_code(fitted, window, tmp_path) -> None:
    """Production's features.py called midnight every departure; the base has put that right since."""
    folder = fitted().write(tmp_path / "base")
    shutil.copytree(project.code() / "pipelines", folder / "pipelines")
    code = folder / "pipelines/problem/features.py"
    right = code.read_text()
    code.write_text(right.replace("departure.dt.hour * 60 + departure.dt.minute", "0"))
    assert code.read_text() != right
    base = commit(folder)
    old = git(base, "rev-parse", "HEAD")
    code.write_text(right)
    git(base, "commit", "--quiet", "-am", "right")
    production = Production("f" * 64, old, released(fitted(), tmp_path / "release"))
    same_model = onnx.load_from_string(fitted().model)
    same_model.doc_string = "again"
    candidate = Made(same_model.SerializeToString()).write(tmp_path / "candidate", window)
    verdict, findings, _ = judge(candidate, base, production)
    assert verdict == "PASS" and "equal" not in findings
    assert "shown better" in findings["roc_auc"]["sentence"]


def test_the_base_branch_is_origins_default_one_whatever_its_name(tmp_path: Path) -> None:
    """A runner's checkout is at the base's commit, without `origin/HEAD`, and production may be newer."""
    team, base, origin = tmp_path / "team", tmp_path / "base", tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=trunk", str(origin))
    git(tmp_path, "clone", "--quiet", str(origin), str(team))
    commits = []
    for branch in ("trunk", "trunk", "proposal"):
        git(team, "commit", "--quiet", "--allow-empty", "--message", branch)
        git(team, "push", "--quiet", "origin", f"HEAD:{branch}")
        commits.append(git(team, "rev-parse", "HEAD"))
    git(tmp_path, "init", "--quiet", str(base))
    git(base, "remote", "add", "origin", str(origin))
    git(base, "fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*")
    git(base, "checkout", "--quiet", "--detach", commits[0])
    known = {commit for ref in champion._refs(base) for commit in champion._line(base, ref)}
    assert known == set(commits[:2]), "a proposal's own commit is none of the base branch's"
