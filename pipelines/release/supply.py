"""What comes with a release that anybody can check: its image by digest, the SBOM, the signed statement.

All of it is made before the store has the release, and before the ledger names it: a run that is killed has
pushed an image that nobody names, and the same command makes the same digest again."""

import os
from collections.abc import Collection
from pathlib import Path

from pipelines.artifacts.release import Image, Release
from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import write_bytes
from pipelines.registry import attestation, images, keyless
from pipelines.registry.attestation import CYCLONEDX, SBOM, OwnKey, Signer
from pipelines.registry.images import Images
from pipelines.registry.ledger import Ledger
from pipelines.release import image, sbom

FILES = (SBOM, attestation.ATTESTATION, keyless.BUNDLE)  # in evidence/


def complete(folder: Path, ledger: Ledger, known: Collection[str | None] = ()) -> None:
    """Build and push the image of the release in a folder, write its SBOM, sign both and attach them.

    As far as this machine has an engine, a registry, and somebody who signs. An image that was not pushed
    here stays where it is one of `known`: whoever can write the store could have put another one there.
    UserError where one of them fails that is configured."""
    about, there = Release.read(folder), images.configured()
    if built := bool(there and not missing(there)):
        assert there
        with image.built(folder) as made:
            write_bytes(folder / "evidence" / SBOM, content := sbom.sbom(made.layout))
            step(f"pushing {made.layout.digest} to {there.name}")
            there.push(made.layout, about.id[:16])
            there.attach(made.layout.digest, CYCLONEDX, content)
            pushed = Image(name=there.name, digest=made.layout.digest, base=made.image.base)
        about = about.model_copy(update={"image": pushed})
        about.write(folder)
    elif not (named := about.image and about.image.reference) or named not in known:
        (folder / "evidence" / SBOM).unlink(missing_ok=True)
        if named:
            step(f"{named} was not pushed here, and no entry of ours names it: it is left out")
            about = about.model_copy(update={"image": None})
            about.write(folder)
    for signer in signers(ledger):
        signed = signer.sign(attestation.statement(folder, ledger.repository, built))
        write_bytes(folder / "evidence" / signer.file, signed)
        if there and about.image and about.image.reference:
            there.attach(about.image.digest, signer.media, signed)


def lacks(folder: Path, ledger: Ledger, known: Collection[str | None] = ()) -> bool:
    """Whether a release that was made before has less than would be made now, or an image that is not one of
    `known`."""
    about, there = Release.read(folder), images.configured()
    held = about.image and about.image.reference
    if held and held not in known:
        return True
    pushed = held and there and about.image and there.name == about.image.name
    if there and not missing(there) and not (pushed and about.image and there.manifest(about.image.digest)):
        return True
    return any(not (folder / "evidence" / one.file).is_file() for one in signers(ledger))


def signers(ledger: Ledger) -> list[Signer]:
    """Who signs here: the ledger's key, the identity of a public repository's run, both, or nobody."""
    found: list[Signer | None] = [OwnKey(ledger.signer) if ledger.signer else None, keyless.signer()]
    return [one for one in found if one]


def missing(there: Images) -> str | None:
    """Why no image goes to the registry; None where one does. UserError where that was asked for by name."""
    if (reason := image.missing()) and os.environ.get(images.VARIABLE):
        raise UserError(f"{images.VARIABLE} names {there.name}, and {reason}")
    return reason


def words(folder: Path) -> str:
    """Rows of the summary."""
    about = Release.read(folder)
    names = [name for name in FILES[1:] if (folder / "evidence" / name).is_file()]
    off = f"not pushed: set the variable {images.VARIABLE} (docs/supply-chain.md)"
    if (there := images.configured()) and (reason := missing(there)):
        off = f"not pushed: {reason}"
    pushed = f"`{about.image.reference}`" if about.image and about.image.reference else off
    signed = ", ".join(f"`evidence/{name}`" for name in names) or "not signed (docs/supply-chain.md)"
    return f"| image | {pushed} |\n| provenance | {signed} |"
