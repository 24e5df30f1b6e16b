"""A release.json with no more in it than a test needs."""

from pathlib import Path
from typing import Any

from pipelines.artifacts.release import Release

NONE, HEAD = "0" * 64, "c" * 40


def about(id: str = NONE, model: str = NONE, version: str = "1", **changes: Any) -> dict[str, Any]:
    """The JSON of a release of this model."""
    return {
        "version": 1,
        "id": id,
        "commit": HEAD,
        "name": "made",
        "api": 1,
        "model": {"sha256": model, "version": version},
        "rebuilt": {"sha256": model, "max_dp": 0.0},
        "lock": NONE,
        "image": None,
        "created": "2026-01-01T00:00:00+00:00",
    } | changes


def described(folder: Path, *given: str, **changes: Any) -> Path:
    """A release's folder with such a release.json."""
    return Release.parse(about(*given, **changes)).write(folder).parent
