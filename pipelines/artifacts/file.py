"""What the files that cross a room share: a closed model, a version, one way to read and one to write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.base.errors import UserError
from pipelines.base.files import write_json

MEGABYTE = 1 << 20
LONGEST = 600  # characters of a text

Text = Annotated[str, Field(max_length=LONGEST)]
Commit = Annotated[str, Field(pattern=r"\A[0-9a-f]{40}([0-9a-f]{24})?\z")]
Digest = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]  # a SHA-256
Number = float | None


class Closed(BaseModel):
    """A part of a file: no other fields, no other types, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Artifact(Closed):
    """A whole file. One without a version is of version 1, which the first hosts wrote without it."""

    NAME: ClassVar[str]
    WRITER: ClassVar[str]  # who writes it, in words
    WAY_OUT: ClassVar[str]  # what to do where it does not fit
    LARGEST: ClassVar[int] = 16 * MEGABYTE  # bytes

    version: Literal[1] = 1

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The file in `folder`. UserError, in one sentence, where there is none, or where it is too large, of
        another version or in any other way not what its writer writes.
        """
        path = folder / cls.NAME
        try:
            if not path.is_file():
                raise UserError(f"{path} does not exist: {cls.WAY_OUT}")
            if path.stat().st_size > cls.LARGEST:
                raise UserError(f"{path} is larger than what {cls.WRITER} writes: {cls.WAY_OUT}")
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): {cls.WAY_OUT}") from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes | str | Mapping[str, Any], name: str = "", way_out: str = "") -> Self:
        """The same of JSON, or of its value, that came in another way; `name` says which."""
        text = content if isinstance(content, bytes | str) else json.dumps(content)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError(f"{name or cls.NAME} {_fault(cls, error, way_out or cls.WAY_OUT)}") from None

    def write(self, folder: Path) -> Path:
        """Write the file into `folder`, whole or not at all."""
        return write_json(folder / self.NAME, self.value)

    @property
    def value(self) -> dict[str, Any]:
        """What the file holds."""
        return self.model_dump(mode="json")


def _fault(artifact: type[Artifact], error: ValidationError, way_out: str) -> str:
    """What is wrong first: the version, where that is another one, because the rest then follows from it."""
    found = error.errors(include_url=False)
    for one in found:
        if one["loc"] == ("version",) and type(one["input"]) is int:
            version = str(one["input"])[:20]
            return f"is of version {version}: update this checkout, which reads version 1, or {way_out}"
    field = ".".join(str(part) for part in found[0]["loc"][:4])
    why = f"{field}: {found[0]['msg']}".strip(": ")
    printable = "".join(c if c.isprintable() else " " for c in why)[:200]
    return f"is not what {artifact.WRITER} writes ({printable}): {way_out}"
