"""The SBOM of an image says what is in its layers, no more and no less: by images made by hand."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pipelines.registry.oci import Layout
from pipelines.release.layers import normalise
from pipelines.release.sbom import sbom
from tests.delivery import images

LABELS = {"org.opencontainers.image.title": "little", "greenlight.model": f"sha256:{'d' * 64}"}


def image(folder: Path, *ours: dict[str, str]) -> Layout:
    layers = [images.layer(files) for files in (images.BASE, *ours)]
    diffs = images.saved(folder.with_suffix(".tar"), *layers, Labels=LABELS)
    return normalise(folder.with_suffix(".tar"), folder, diffs[:1], 1_700_000_000)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return image(tmp_path / "one", images.OURS)


def test_it_names_each_package_and_the_model_and_the_image_that_it_is_of(layout: Layout) -> None:
    told = json.loads(sbom(layout))
    assert [part["purl"] for part in told["components"] if "purl" in part] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u9?arch=amd64&distro=debian-12",
        "pkg:pypi/small-package@1.2",
    ]
    (model,) = [part for part in told["components"] if part["type"] == "machine-learning-model"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": "d" * 64}]
    assert told["metadata"]["component"]["version"] == layout.digest
    assert told["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"


def test_it_is_valid_and_an_edited_one_is_not(layout: Layout) -> None:
    validator, text = JsonStrictValidator(SchemaVersion.V1_6), sbom(layout).decode()
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"library"', '"books"')) is not None


def test_the_same_image_has_the_same_sbom_and_another_has_another(layout: Layout, tmp_path: Path) -> None:
    assert sbom(layout) == sbom(image(tmp_path / "two", images.OURS))
    assert sbom(layout) != sbom(image(tmp_path / "three", images.OURS | {"bento/x": "1"}))


@pytest.mark.parametrize("hides", [".wh.small_package-1.2.dist-info", ".wh..wh..opq"])
def test_what_a_layer_above_takes_away_is_not_in_it(tmp_path: Path, hides: str) -> None:
    told = sbom(image(tmp_path / "one", images.OURS, {f"{images.SITE}/{hides}": ""})).decode()
    assert "small-package" not in told and "libc6" in told
