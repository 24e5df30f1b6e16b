"""What the files that cross a room share: a closed model, a version, one way to read and one to write."""

import datetime
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipelines.base.errors import UserError, one_line
from pipelines.base.files import write_json

MEGABYTE = 1 << 20
LONGEST = 600  # characters of a text


def _day(text: str) -> str:
    if str(datetime.date.fromisoformat(text)) != text:
        raise ValueError("it is not written as 2013-05-31")
    return text


Text = Annotated[str, Field(max_length=LONGEST)]
Commit = Annotated[str, Field(pattern=r"\A[0-9a-f]{40}([0-9a-f]{24})?\z")]
Digest = Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]  # a SHA-256
Day = Annotated[str, AfterValidator(_day)]
Number = float | None


class Closed(BaseModel):
    """A part of a file: no other fields, no other types, no NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Artifact(Closed):
    """A whole file, whose class says NAME, WRITER and WAY_OUT; one without a version is of version 1. A
    stranger's file is read with `extra="ignore"`: a proposal may write more than this version knows, and that
    is not looked at. All else is asked of it as of our own: types, sizes, no field twice."""

    NAME: ClassVar[str]
    WRITER: ClassVar[str]  # who writes it, in words
    WAY_OUT: ClassVar[str] = "run `dvc repro`, which makes it"  # where it does not fit
    LARGEST: ClassVar[int] = 16 * MEGABYTE  # bytes

    version: Literal[1] = 1

    @classmethod
    def found(cls, folder: Path) -> Self | None:
        """As `read`; None where `folder` has no such file."""
        return cls.read(folder) if (folder / cls.NAME).exists() else None

    @classmethod
    def read(cls, folder: Path, way_out: str = "") -> Self:
        """The file in `folder`. UserError, in one sentence with `way_out`, where there is none, or it is too
        large, of another version or in any other way not what its writer writes."""
        return cls.of_file(folder / cls.NAME, way_out)

    @classmethod
    def of_file(cls, path: Path, way_out: str = "", extra: Literal["ignore"] | None = None) -> Self:
        """As `read`, of a file under any name."""
        way_out = way_out or cls.WAY_OUT
        try:
            if not path.is_file():
                raise UserError(f"{path} does not exist: {way_out}")
            if path.stat().st_size > cls.LARGEST:
                raise UserError(f"{path} is larger than what {cls.WRITER} writes: {way_out}")
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}): {way_out}") from None
        return cls.parse(content, str(path), way_out, extra)

    @classmethod
    def parse(
        cls,
        content: bytes | str | Mapping[str, Any],
        name: str = "",
        way_out: str = "",
        extra: Literal["ignore"] | None = None,
    ) -> Self:
        """The same of JSON, or of its value, that came in another way; `name` says which."""
        text = content if isinstance(content, bytes | str) else json.dumps(content)
        try:
            made = cls.model_validate_json(text, extra=extra)
            json.loads(text, object_pairs_hook=_once)
            return made
        except ValidationError as error:
            why = _fault(cls, error)
        except ValueError as error:
            why = f"is not what {cls.WRITER} writes ({one_line(error)}): "
        raise UserError(f"{name or cls.NAME} {why}{way_out or cls.WAY_OUT}")

    def write(self, folder: Path) -> Path:
        """Write the file into `folder`, whole or not at all."""
        return write_json(folder / self.NAME, self.value)

    @property
    def value(self) -> dict[str, Any]:
        """What the file holds."""
        return self.model_dump(mode="json", by_alias=True)


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Parsers do not agree on which of two counts."""
    if twice := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise ValueError(f"{twice[0]}: it is there twice")


def _fault(artifact: type[Artifact], error: ValidationError) -> str:
    """What is wrong first: the version, where that is another one, because the rest then follows from it."""
    found = error.errors(include_url=False)
    for one in found:
        if one["loc"] == ("version",) and type(one["input"]) is int:
            version = str(one["input"])[:20]
            return f"is of version {version}: update this checkout, which reads version 1, or "
    field = ".".join(str(part) for part in found[0]["loc"][:4])
    why = f"{field}: {found[0]['msg']}".strip(": ")
    return f"is not what {artifact.WRITER} writes ({one_line(why)}): "
