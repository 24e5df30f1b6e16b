"""What a release is asked before it gets traffic; `test_steps` asks a real server."""

from pathlib import Path

import pytest

from pipelines.artifacts.serving import Settings
from pipelines.base.errors import Refused
from pipelines.base.files import write_json
from pipelines.rollout import checks

NOBODY = "http://127.0.0.1:9"  # whoever asks there is refused


def release(folder: Path, api: int, said: int) -> Path:
    """The folder of a release: its source has `api`, release.json, which its id does not cover, `said`."""
    write_json(folder / "release.json", {"api": said})
    Settings(name="made", api=api, threshold=0.5, batch=10).write(folder / "bento/src/models")
    write_json(folder / "bento/src/models/golden.json", {"rows": [{"x": 1}], "p": [0.5]})
    return folder


def test_callers_of_the_live_release_are_asked_for_by_what_the_id_covers(tmp_path: Path) -> None:
    live, forged = release(tmp_path / "live", 1, 1), release(tmp_path / "forged", 1, 2)
    with pytest.raises(Refused, match="did not answer"):
        checks.accepts(NOBODY, forged, live)
    assert checks.accepts(NOBODY, release(tmp_path / "raised", 2, 1), live) == 0
