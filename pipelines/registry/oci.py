"""An image as a folder, in the layout of the OCI image specification (1.1): blobs by their SHA-256, a config,
a manifest. An image's digest is the SHA-256 of its manifest's bytes."""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.base.files import write_bytes

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"


def canonical(value: Any) -> bytes:
    """JSON of which there is one."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(content: bytes) -> str:
    """As OCI writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def described(media: str, content: bytes, **more: Any) -> dict[str, Any]:
    """How a manifest names a blob."""
    return {"mediaType": media, "digest": digest_of(content), "size": len(content)} | more


@dataclass(frozen=True)
class Layout:
    """One image in a folder."""

    folder: Path
    digest: str

    @classmethod
    def write(cls, folder: Path, config: dict[str, Any], layers: Sequence[dict[str, Any]]) -> "Layout":
        """Complete a folder that has the layers' blobs already."""
        held = canonical(config)
        manifest = canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": described(CONFIG, held),
                "layers": list(layers),
            }
        )
        made = cls(folder, digest_of(manifest))
        for content in (held, manifest):
            write_bytes(made.blob(digest_of(content)), content)
        write_bytes(folder / "oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(MANIFEST, manifest)]}
        write_bytes(folder / "index.json", canonical(index))
        return made

    def blob(self, digest: str) -> Path:
        """Where a blob is."""
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    @property
    def manifest(self) -> dict[str, Any]:
        """What the image is made of."""
        return dict(json.loads(self.blob(self.digest).read_bytes()))

    @property
    def id(self) -> str:
        """The digest of the config: an engine's name for an image, however it was compressed."""
        return str(self.manifest["config"]["digest"])

    @property
    def config(self) -> dict[str, Any]:
        """How a container of it starts."""
        return dict(json.loads(self.blob(self.id).read_bytes()))

    @property
    def layers(self) -> list[Path]:
        """Their tars, the lowest first."""
        return [self.blob(layer["digest"]) for layer in self.manifest["layers"]]

    def archive(self, to: Path, name: str) -> Path:
        """A file for `docker load`, which calls the image `name`."""
        paths = [f"blobs/sha256/{layer.name}" for layer in self.layers]
        listed = [{"Config": f"blobs/sha256/{self.blob(self.id).name}", "RepoTags": [name], "Layers": paths}]
        write_bytes(self.folder / "manifest.json", canonical(listed))
        with tarfile.open(to, "w") as archive:
            for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
                archive.add(path, path.relative_to(self.folder).as_posix())
        return to
