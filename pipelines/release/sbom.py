"""What an image is made of, as CycloneDX JSON: read from its layers, so no tool is in it, and the
lock is not asked. The same image has the same SBOM, byte for byte."""

import email.parser
import re
import tarfile
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry.oci import Layout
from pipelines.release.image import LABEL

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

STATUS = re.compile(r"var/lib/dpkg/status(\.d/[^/]+)?")  # the latter in images without dpkg
METADATA = re.compile(r".+\.dist-info/METADATA")
RELEASE = ("etc/os-release", "usr/lib/os-release")
HIDDEN, ALL_HIDDEN = ".wh.", ".wh..wh..opq"  # how a layer says that a file of those below is gone
Files = dict[str, bytes]


def sbom(layout: Layout) -> bytes:
    """The SBOM of an image: its Python and Debian packages, and the model that it serves."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6
    from packageurl import PackageURL

    labels, hexadecimal = layout.config["config"].get("Labels", {}), layout.digest.removeprefix("sha256:")
    name, found = labels.get(f"{LABEL}.title", "image"), list(_components(files(layout)))
    image = Component(
        type=ComponentType.CONTAINER,
        name=name,
        version=layout.digest,
        bom_ref=layout.digest,
        purl=PackageURL("oci", None, name, layout.digest),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hexadecimal)],
    )
    if (model := labels.get("greenlight.model", "")).startswith("sha256:"):
        held = HashType(alg=HashAlgorithm.SHA_256, content=model.removeprefix("sha256:"))
        version, kind = labels.get(f"{LABEL}.version"), ComponentType.MACHINE_LEARNING_MODEL
        found.append(Component(type=kind, name=name, version=version, bom_ref=model, hashes=[held]))
    made = datetime.fromisoformat(layout.config["created"])
    bom = Bom(
        components=found,
        serial_number=uuid.UUID(hex=hexadecimal[:32], version=5),
        metadata=BomMetaData(component=image, timestamp=made),
    )
    bom.register_dependency(image, found)
    return JsonV1Dot6(bom).output_as_string(indent=1).encode() + b"\n"


def files(layout: Layout) -> Files:
    """What a container sees of the files that say which packages there are, by their paths."""
    found: Files = {}
    for layer in layout.layers:
        with tarfile.open(layer, "r:") as archive:
            for entry in archive:
                path = Path(entry.name)
                folder = "" if str(path.parent) == "." else f"{path.parent}/"
                if path.name == ALL_HIDDEN:
                    _hide(found, folder)
                elif path.name.startswith(HIDDEN):
                    gone = folder + path.name.removeprefix(HIDDEN)
                    found.pop(gone, None)
                    _hide(found, f"{gone}/")
                elif entry.isreg() and _telling(str(path)) and (file := archive.extractfile(entry)):
                    found[str(path)] = file.read()
    return found


def _hide(found: Files, folder: str) -> None:
    for name in [name for name in found if name.startswith(folder)]:
        del found[name]


def _telling(path: str) -> bool:
    return bool(STATUS.fullmatch(path) or METADATA.fullmatch(path) or path in RELEASE)


def _components(there: Files) -> "Iterator[Component]":
    from packageurl import PackageURL

    distribution = dict(
        re.findall(r'^(\w+)="?([^"\n]*)', b"\n".join(there.get(p, b"") for p in RELEASE).decode(), re.M)
    )
    named = distribution.get("ID", "debian")
    system = f"{named}-{distribution.get('VERSION_ID', 'unknown')}"
    for path, content in sorted(there.items()):
        said = [content.decode("utf-8", "replace")]
        if METADATA.fullmatch(path):
            fields = email.parser.HeaderParser().parsestr(said[0])
            name, version = re.sub(r"[-_.]+", "-", fields["Name"]).lower(), fields["Version"]
            url = PackageURL("pypi", None, name, version)
            yield _package(name, version, url)
        elif STATUS.fullmatch(path):
            for paragraph in said[0].strip().split("\n\n"):
                fields = email.parser.HeaderParser().parsestr(paragraph)
                if not fields["Status"] or fields["Status"].endswith(" installed"):
                    name, version = fields["Package"], fields["Version"]
                    more = {"arch": fields["Architecture"], "distro": system}
                    url = PackageURL("deb", named, name, version, more)
                    yield _package(name, version, url)


def _package(name: str, version: str, url: "PackageURL") -> "Component":
    from cyclonedx.model.component import Component, ComponentType

    return Component(type=ComponentType.LIBRARY, name=name, version=version, purl=url, bom_ref=str(url))
