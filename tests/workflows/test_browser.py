"""params.yaml, edited in the browser: the real workflows, by act, make dvc.lock and judge it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.base import git
from pipelines.local import act, events, github
from pipelines.local.act import Place
from pipelines.local.github import call
from pipelines.local.rules import Rules
from pipelines.local.stage import deploy_key
from pipelines.pulls import making
from pipelines.registry.signer import VARIABLE
from pipelines.registry.signing import Key


@pytest.mark.slow
def test_values_from_the_browser_are_built_committed_and_judged_by_the_judge(
    yours: Path, place: Place, tmp_path: Path
) -> None:
    """No training but the judge's, no code of the head: the verdict is on the commit that it signs."""
    clone = shutil.copytree(yours, tmp_path / "clone", symlinks=True)
    git.run("push", "--quiet", str(place.origin), "HEAD:refs/heads/main", at=clone)
    with github.serve(place.state, place.origin, place.repository, rules=Rules.of()) as url:
        api, place = f"{url}/repos/{place.repository}", replace(place, api=url)
        key = deploy_key(api)
        params = (clone / "params.yaml").read_text()
        (clone / "params.yaml").write_text(params.replace("seed: 7", "seed: 8"))
        who = {"user.name": "ada", "user.email": "ada@example.org"}
        git.run("commit", "--quiet", "--message", "Update params.yaml", "params.yaml", at=clone, settings=who)
        git.run("push", "--quiet", str(place.origin), "HEAD:refs/heads/a'b;$(c)`d`", at=clone)
        pull = call(f"{api}/pulls", "POST", {"title": "x", "head": "a'b;$(c)`d`", "base": "main"})

        built = act.run("propose", events.pull_request(pull, "opened"), place)
        assert built.code == 0 and "the workflow `judge` trains" in built.summary
        assert not (place.state / f"artifacts/{built.id}").exists()
        ended = events.workflow_run(place.repository, built.as_json(place.repository))
        judged = act.run("judge", ended, place, secrets={VARIABLE: key})
        assert judged.code == 0, judged.log.read_text()

        now = call(f"{api}/pulls/{pull['number']}")
        new = now["head"]["sha"]
        assert git.run("rev-parse", f"{new}^", at=place.origin) == pull["head"]["sha"]
        assert git.changes(pull["head"]["sha"], new, place.origin) == ["dvc.lock"]
        content = git.tried("cat-file", "commit", new, at=place.origin).out
        assert Key.parse(key, VARIABLE).signed(content)
        assert git.run("log", "-1", "--format=%s", new, at=place.origin) == making.MESSAGE
        (status,) = call(f"{api}/commits/{new}/status")["statuses"]
        assert status["context"] == "greenlight/gate" and status["state"] == "success", status
        (comment,) = call(f"{api}/issues/{pull['number']}/comments")
        assert "**The judge made `dvc.lock`**" in comment["body"] and new[:12] in comment["body"]
