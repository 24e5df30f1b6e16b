"""The systemd unit of `ml watch`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.rollout import watch as watching
from tests.project import ROOT


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here: apt-get install systemd")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    return subprocess.run(command, capture_output=True, text=True)


def test_systemd_takes_the_unit_and_would_refuse_a_broken_one(tmp_path: Path) -> None:
    text = watching.unit()
    assert "@CHECKOUT@" not in text and "@HOME@" not in text and "@USER@" not in text
    unit = tmp_path / "greenlight-watch@staging.service"
    unit.write_text(text)
    # An environment made elsewhere has its `ml` elsewhere too: what is judged is the unit.
    unit.write_text(text.replace(f"{ROOT}/.venv/bin/ml", shutil.which("true") or "/bin/true"))
    done = verify(unit)
    assert done.returncode == 0 and str(unit) not in done.stderr, done.stderr
    unit.write_text(text.replace("KillMode=process", "KillMode=nobody").replace(".venv/bin/ml", "no/such"))
    done = verify(unit)
    assert done.returncode != 0 or "KillMode" in done.stderr


def test_the_unit_leaves_what_a_deploy_started_running_and_its_socket_in_sight() -> None:
    settings = dict(
        line.split("=", 1) for line in watching.unit().splitlines() if "=" in line and line[0] != "#"
    )
    assert settings["KillMode"] == "process" and settings["Restart"] == "always"
    assert settings["NoNewPrivileges"] == "yes" and settings["ProtectSystem"] == "full"
    assert not {"PrivateTmp", "PrivateUsers", "ProtectHome"} & set(settings)


def test_a_path_that_systemd_would_misread_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_HOME", "/srv/100%")
    with pytest.raises(UserError, match="a systemd unit cannot name"):
        watching.unit()
