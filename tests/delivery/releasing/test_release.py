"""A release: what goes into its id, what it refuses, what it leaves where."""

import shutil
import subprocess
from pathlib import Path

import asyncssh
import pytest
import yaml

from pipelines.artifacts.release import Proposal
from pipelines.base import console
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import read_json, sha256, sha256_of_tree, write_json
from pipelines.registry import merged
from pipelines.registry.ledger import Ledger
from pipelines.registry.signer import VARIABLE
from pipelines.registry.store import Assets, Store
from pipelines.release.release import release
from tests import project
from tests.delivery.github_releases import REPOSITORY
from tests.problems.parcels import PROBLEM
from tests.verdicts import candidate, verdict


def test_a_release_holds_the_model_its_lock_its_service_and_its_evidence(released) -> None:
    folder, store, number, summary = released
    found = store.get(number)
    about = read_json(found / "release.json")
    source = found / "bento" / "src"
    assert about["id"] == number == sha256_of_tree(source)
    assert about["commit"] == project.git(folder, "rev-parse", "HEAD")
    assert about["model"] == {"sha256": sha256(source / "models/model.onnx"), "version": "1"}
    assert about["judged"] is None, "no gate judged this commit"
    assert about["rebuilt"] == {"sha256": sha256(folder / "models/model.onnx"), "max_dp": 0.0}
    assert about["lock"] == sha256(source / "requirements/serve.txt")
    evidence = {path.name for path in (found / "evidence").iterdir()}
    assert evidence >= {"metrics.json", "model.json", "reference.json"}
    assert number in summary and "MLflow version 1" in summary


def test_a_card_goes_along_with_its_commit_and_version(checkout: Path, tmp_path: Path) -> None:
    Path("models/card.md").write_text("# Made\n\n## Lineage\n\n|  |  |\n| --- | --- |\n")
    project.lock(checkout)
    head = project.commit(checkout, "with a card")
    store = Store(tmp_path / "store")
    number = release(PROBLEM, store=store)
    said = (store.get(number) / "evidence/card.md").read_text()
    assert said.startswith("# Made\n") and f"| commit | `{head}` |" in said
    assert f"| release | `{number}` |" in said and "version 1` |" in said
    assert Path("models/card.md").read_text().endswith("| --- | --- |\n")  # the pipeline's own


def test_a_release_holds_what_the_bentofile_includes_and_nothing_else(released) -> None:
    _, store, number, _ = released
    source = store.get(number) / "bento" / "src"
    held = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert held == {"bentofile.yaml", *yaml.safe_load((source / "bentofile.yaml").read_text())["include"]}
    assert {name for name in held if name.startswith("pipelines/problem/")} == {
        "pipelines/problem/__init__.py",
        "pipelines/problem/columns.py",  # neither features nor estimators: the service has no pandas
    }


def test_a_release_is_wanted_by_staging_and_mirrored_in_mlflow(released) -> None:
    from mlflow.tracking import MlflowClient

    folder, _, number, _ = released
    entry = Ledger(folder).wanted("staging")
    assert entry is not None
    assert (entry.release, entry.why, entry.model) == (number, "release", "1")
    assert 0 < entry.evidence["roc_auc"] < 1
    address = f"sqlite:///{folder}/.greenlight/mlflow.db"
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    version = client.get_model_version_by_alias(PROBLEM.name, "staging")
    run = client.get_run(version.run_id)
    assert version.tags["release"] == number
    assert run.data.tags["model_sha256"] == sha256(folder / "models/model.onnx"), "the training's own run"


def test_the_first_release_makes_the_ledgers_branch(released) -> None:
    """The origin of `project.copy` is empty."""
    folder, *_ = released
    heads = project.git(folder, "ls-remote", "--heads", "origin").splitlines()
    assert [line.split("\t")[1] for line in heads] == ["refs/heads/environments"]
    assert project.git(folder.with_name("project.git"), "rev-list", "--count", "environments") == "1"


def test_a_release_goes_to_github_and_from_there_to_a_host(checkout: Path, tmp_path: Path, github) -> None:
    github.commits.add(project.git(checkout, "rev-parse", "HEAD"))
    number = release(PROBLEM, store=Assets(REPOSITORY, tmp_path / "store"))
    assert release(PROBLEM, store=Assets(REPOSITORY, tmp_path / "runner")) == number, (
        "it is there, and not built again"
    )
    elsewhere = Assets(REPOSITORY, tmp_path / "host")
    assert [about.id for about in elsewhere.list()] == [number]
    assert sha256_of_tree(elsewhere.get(number) / "bento/src") == number
    assert len(github.content) == 1


def test_the_checkout_stays_clean(released) -> None:
    folder, *_ = released
    assert project.git(folder, "status", "--porcelain") == ""


def test_the_same_content_is_the_same_release_and_is_not_built_twice(
    released, tmp_path, monkeypatch, capsys
) -> None:
    _, store, number, _ = released
    elsewhere = project.copy(tmp_path / "elsewhere")
    (elsewhere / "README.md").write_text("another commit\n")
    head = project.commit(elsewhere, "no part of the release")
    before = (store.folder / number / "release.json").stat().st_mtime_ns
    with project.inside(elsewhere):
        assert release(PROBLEM, store=store) == number
    assert (store.folder / number / "release.json").stat().st_mtime_ns == before
    assert f"release {number[:12]} is in " in capsys.readouterr().err
    entry = Ledger(elsewhere).wanted("staging")
    assert entry is not None and entry.commit == head
    assert entry.beside == merged.digest(store.folder / number) is not None


def test_made_again_it_holds_the_same_beside_its_bento(released, tmp_path: Path) -> None:
    _, kept, number, _ = released
    store, elsewhere = Store(shutil.copytree(kept.folder, tmp_path / "kept")), Store(tmp_path / "store")
    with project.inside(project.copy(tmp_path / "project")):
        assert release(PROBLEM, store=elsewhere) == number
    one, other = (place.folder / number for place in (store, elsewhere))
    assert (one / "release.json").read_bytes() != (other / "release.json").read_bytes()
    assert merged.digest(one) == merged.digest(other)
    write_json(other / "evidence/reference.json", {})
    assert merged.digest(one) != merged.digest(other)
    assert store.add(other) == number  # what was added last is there, and the ledger says whether it counts
    assert merged.digest(one) == merged.digest(other)


def test_what_somebody_put_beside_a_bento_is_not_signed(
    released, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, store, number, _ = released
    planted = Store(shutil.copytree(store.folder, tmp_path / "store"))
    folder = project.copy(tmp_path / "project")
    key = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    monkeypatch.setenv(VARIABLE, key)
    reference = planted.folder / number / "evidence/reference.json"
    before = reference.read_bytes()
    write_json(reference, {})
    with project.inside(folder):
        with pytest.raises(UserError, match="neither what the ledger names nor what this commit has"):
            release(PROBLEM, store=planted)
        assert Ledger(folder).wanted("staging") is None
        reference.write_bytes(before)
        assert release(PROBLEM, store=planted) == number  # as of a release that was killed
        write_json(planted.folder / number / "evidence/gate.json", verdict())  # of another commit
        entry = Ledger(folder).wanted("staging")
        assert entry
        held = merged.digest(planted.folder / number)
        Ledger(folder).write("staging", entry.model_copy(update={"beside": held}))
        assert release(PROBLEM, store=planted) == number


def nothing_was_released(folder: Path, store: Store) -> bool:
    return not store.list() and not list(store.folder.glob("*")) and Ledger(folder).wanted("staging") is None


def test_a_change_that_is_not_committed_is_refused(checkout: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with (checkout / "pipelines/serving/service.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(UserError, match=r"pipelines/serving/service\.py is not as the commit has it"):
        release(PROBLEM, store=store)
    assert nothing_was_released(checkout, store)


def test_a_model_that_its_lock_and_seed_do_not_give_is_refused(checkout: Path, tmp_path: Path) -> None:
    """Somebody trained with another seed and locked the result: every hash agrees, the answers do not."""
    text = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(text.replace("seed: 7", "seed: 8"))
    project.lock(checkout)
    project.commit(checkout, "the model is not of this seed")
    store = Store(tmp_path / "store")
    with pytest.raises(Refused, match=r"max \|Δp\| is"):
        release(PROBLEM, store=store)
    assert nothing_was_released(checkout, store)


def test_a_build_that_fails_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    bentofile = yaml.safe_load((checkout / "bentofile.yaml").read_text())
    bentofile["service"] = "pipelines.serving.service:Absent"
    (checkout / "bentofile.yaml").write_text(yaml.safe_dump(bentofile))
    project.commit(checkout, "no such service")
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="bentoml build failed"):
        release(PROBLEM, store=store)
    assert nothing_was_released(checkout, store)


def test_a_tracking_server_that_does_not_answer_is_one_sentence(released, monkeypatch) -> None:
    folder, store, *_ = released
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with project.inside(folder), pytest.raises(UserError, match="MLFLOW_TRACKING_URI names a server"):
        release(PROBLEM, store=store)


def brought(override: str | None) -> Proposal:
    """What `ml ci evidence` found."""
    return Proposal(number=12, title="x", head="1" * 40, run=7, override=override)


def judged(checkout: Path, **changes: object) -> None:
    """The report of the proposal's run, as the workflow downloads it, and what `ml ci evidence` found."""
    model = sha256(checkout / "models/model.onnx")
    given = {"word": "PASS", "candidate": candidate(model)} | changes
    write_json(checkout / "evidence/gate.json", verdict(**given))
    (checkout / "evidence/report.md").write_text("# Report\n")
    brought(None).write(checkout / "build")


def test_the_gates_report_on_this_very_model_goes_along(checkout: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    judged(checkout, word="INCONCLUSIVE", superior=False)
    brought("ada").write(checkout / "build")
    store = Store(tmp_path / "store")
    evidence = store.get(release(PROBLEM, store=store)) / "evidence"
    assert read_json(evidence / "gate.json")["verdict"] == "INCONCLUSIVE"
    assert [about.verdict for about in store.list()] == ["INCONCLUSIVE"]
    assert (evidence / "report.md").read_text() == "# Report\n"
    assert read_json(evidence / "proposal.json")["number"] == 12
    entry = Ledger(checkout).wanted("staging")
    assert entry is not None and entry.evidence["roc_auc"] > 0
    assert {k: entry.evidence[k] for k in ("verdict", "superior", "override")} == {
        "verdict": "INCONCLUSIVE",
        "superior": False,
        "override": "ada",
    }
    assert "| gate | INCONCLUSIVE, let through by ada |" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({}, {"verdict": "PASS", "superior": False}),
        ({"superior": True}, {"verdict": "PASS", "superior": True}),
        ({"word": "FAIL"}, {"verdict": "FAIL", "superior": False}),
    ],
)
def test_the_ledger_says_what_the_gate_did(checkout: Path, changes: dict, figures: dict) -> None:
    from pipelines.release.release import _review

    judged(checkout, **changes)
    assert _review(checkout, PROBLEM.contract).figures == figures


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"word": "FAIL", "candidate": None}, "judged no model"),
        ({"verdict": "SUCCESS"}, "is not what this version's gate writes"),
        ({"verdict": ["PASS"]}, "is not what this version's gate writes"),
        ({"superior": "yes"}, "is not what this version's gate writes"),
        ({"version": 2}, "is of version 2: update this checkout"),
    ],
)
def test_a_report_without_a_model_is_named_and_left_out(
    checkout: Path, tmp_path: Path, changes: dict, reason: str
) -> None:
    from pipelines.release.release import _copy_evidence, _review

    judged(checkout, **changes)
    review = _review(checkout, PROBLEM.contract)
    assert review.figures == {} and reason in review.words and review.words.startswith("left out")
    _copy_evidence(checkout, tmp_path / "evidence", review)
    names = {path.name for path in (tmp_path / "evidence").iterdir()}
    assert "metrics.json" in names and not names & {"gate.json", "report.md", "proposal.json"}


def test_without_a_report_a_release_says_so(released) -> None:
    folder, store, number, summary = released
    assert "| gate | no evidence came with this commit |" in summary
    assert not (store.get(number) / "evidence/gate.json").exists()
    entry = Ledger(folder).wanted("staging")
    assert entry is not None and "verdict" not in entry.evidence


def test_a_report_that_is_a_link_is_not_followed(checkout: Path, tmp_path: Path) -> None:
    from pipelines.release.release import _copy_evidence, _review

    judged(checkout)
    for name in ("report.md", "gate.json"):
        (checkout / "evidence" / name).unlink()
        (checkout / "evidence" / name).symlink_to(checkout / "params.yaml")
        review = _review(checkout, PROBLEM.contract)
        _copy_evidence(checkout, tmp_path / name, review)
        assert not (tmp_path / name / name).exists()
    assert "is a link" in review.words


def test_a_summary_is_added_where_there_is_a_run(tmp_path, monkeypatch) -> None:
    console.summary("nobody reads this")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    console.summary("one")
    console.summary("two\n")
    assert (tmp_path / "summary.md").read_text() == "one\n\ntwo\n\n"


def test_the_build_leaves_no_bento_in_the_users_home(released, tmp_path) -> None:
    assert not any(Path(store).exists() for store in (Path.home() / "bentoml" / "bentos" / PROBLEM.name,))
    assert subprocess.run(["git", "-C", str(released[0]), "diff", "--quiet"]).returncode == 0
