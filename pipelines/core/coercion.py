"""What a source gives becomes what columns.py says, or is refused in one sentence: here alone is decided.

A value is taken where its meaning is certain and nothing of it is lost; else the way out is the team's to
choose, in source.py. docs/data.md has the table.
"""

import datetime
import decimal
import math
import numbers
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.core import tables, words
from pipelines.core.contract import TEXTS, Column, Contract

NO_SIGN = 0.0  # added to -0.0, which equals 0.0 and has other bytes, it gives 0.0
EXACT = 1 << 53  # from here on a float no longer tells one whole number from the next
LONGEST = 1 << 63  # of int64
MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none"}  # in columns that are no texts
FLAGS = {"true": True, "yes": True, "t": True, "y": True, "false": False, "no": False, "f": False, "n": False}
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)
TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?))?\s*(Z|UTC|[+-]\d\d:?\d\d)?", re.ASCII
)
MARKS = ("\ufeff", "\u00ef\u00bb\u00bf")  # a BOM, and the same read as Latin-1
MUST = {
    **{"time": "must be a time as 2013-01-31 05:15", "flag": "must be true or false"},
    **{"integer": "must be a whole number", "number": "must be a number"},
    **dict.fromkeys(TEXTS, "must be a text"),
}
ZONES = (
    "and data have times without a zone: .dt.tz_localize(None) keeps the local clock (an hour that a clock "
    'change repeats is then one), .dt.tz_convert("UTC").dt.tz_localize(None) the moment'
)
COMMA = 'say what the comma is, as pd.read_csv does with thousands="," or decimal=","'


class _Doubt(Exception):
    """Why a value is not taken, with a way out."""


def typed(table: pd.DataFrame, where: str, contract: Contract) -> pa.Table:
    """The raw columns of the contract, in its order and types, of a table in any order. UserError, which
    begins with `where`, for a column that is missing, unknown or there twice, or a value that is not
    taken."""
    named = table.set_axis([_bare(name) if isinstance(name, str) else name for name in table.columns], axis=1)
    names = {column.name for column in contract.raw}
    if wrong := sorted(names.symmetric_difference(named.columns), key=str):
        lacks = (
            f"lacks column {wrong[0]}: give it, or mark it derived in columns.py and make it in features.py"
        )
        unknown = f"has the unknown column {wrong[0]}; columns.py names them"
        raise UserError(f"{where} {lacks if wrong[0] in names else unknown}")
    if (twice := named.columns.duplicated()).any():
        raise UserError(f"{where} has the column {named.columns[twice][0]} twice: drop or rename one")
    columns = [_column(named[column.name], column, where) for column in contract.raw]
    return pa.table(columns, schema=tables.schema(contract))


def _column(values: pd.Series, column: Column, where: str) -> pa.Array:
    kind = tables.kind(column)
    if (whole := _at_once(values, column)) is not None:
        given = isinstance(whole, np.ndarray | pd.Series)  # of Arrow's own, pa.array takes one by one
        return pa.array(whole, type=kind, from_pandas=True) if given else whole
    take, taken = TAKE[column.type], []
    known: dict[tuple[type, Any], Any] = {}  # 1, 1.0 and True are one key of a dict
    for row, value in enumerate(values.astype(object)):
        try:
            if (name := (type(value), value)) not in known:
                known[name] = None if _missing(value, column) else take(value)
            taken.append(known[name])
        except (_Doubt, TypeError, ValueError) as error:  # a list is no key of a dict
            why = f"; {error}" if isinstance(error, _Doubt) and str(error) else ""
            shown = value.item() if isinstance(value, np.generic) else value
            wrong = f"{column.name} is {_shown(shown)}, but {MUST[column.type]}{why}"
            raise UserError(f"{where}, row {row + 1}: {wrong}") from None
    if column.type == "time":
        if len({value.tzinfo is not None for value in taken if value is not None}) > 1:
            wrong = f"{column.name} has times with a zone (UTC) and without"
            raise UserError(f"{where}: {wrong}: give all of them one way")
        taken = [None if value is None else value.replace(tzinfo=None) for value in taken]
    return pa.array(taken, type=kind)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())[:80]


def _at_once(values: pd.Series, column: Column) -> np.ndarray | pd.Series | pa.Array | None:
    """All values of a column whose type leaves no doubt about any; None where each must be looked at."""
    dtype, types = values.dtype, pd.api.types
    if column.type in ("number", "integer") and types.is_integer_dtype(dtype):
        most = EXACT if column.type == "number" else LONGEST - 1
        if (given := values.dropna()).empty or -most <= given.min() <= given.max() <= most:
            return values if column.type == "integer" else values.to_numpy(np.float64, na_value=np.nan)
    elif column.type in ("number", "integer") and types.is_float_dtype(dtype):
        found = values.to_numpy(np.float64, na_value=np.nan)
        if column.type == "number":
            return found + NO_SIGN
        if ((np.abs(found) <= EXACT) & (found == np.floor(found)) | np.isnan(found)).all():
            return pd.Series(found).astype("Int64")
    elif column.type == "flag" and types.is_bool_dtype(dtype):
        return values
    elif column.type == "time" and isinstance(dtype, np.dtype) and types.is_datetime64_dtype(dtype):
        exact = values.astype("datetime64[us]")
        return exact if (exact.eq(values) | values.isna()).all() else None
    elif column.is_text and column.type != "words" and types.is_string_dtype(dtype):
        return _texts(values)
    return None


def _texts(values: pd.Series) -> pa.Array | None:
    try:
        texts = pa.array(values, type=pa.string(), from_pandas=True)
    except (pa.ArrowException, UnicodeError):  # a column of objects: numbers among the texts, say
        return None
    for mark in MARKS:
        if pc.any(pc.starts_with(texts, mark)).as_py():
            texts = pc.replace_substring_regex(texts, pattern=f"^{mark}", replacement="")
    bare = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(bare, ""), pa.scalar(None, pa.string()), bare)


def _bare(text: str) -> str:
    for mark in MARKS:
        text = text.removeprefix(mark)
    return text.strip()


def _missing(value: Any, column: Column) -> bool:
    if isinstance(value, str):
        return _bare(value).casefold() in ({""} if column.is_text else MISSING)
    return pd.isna(value) is True  # of a list it is many


def _number(value: Any) -> float:
    if isinstance(value, str):
        text = _bare(value)
        if GROUPED.fullmatch(text) and (text.count(",") > 1 or "." in text):
            text = text.replace(",", "")
        if not NUMBER.fullmatch(text):
            raise _Doubt(COMMA if "," in text else "")
        return float(text) + NO_SIGN
    if isinstance(value, numbers.Integral) and abs(int(value)) > EXACT:
        raise _Doubt("a number has 53 bits: a category, a text or an integer has all digits")
    if not isinstance(value, numbers.Real | decimal.Decimal | np.bool_):
        raise _Doubt
    return float(value) + NO_SIGN


def _integer(value: Any) -> int:
    if isinstance(value, str):
        text = _bare(value)
        if GROUPED.fullmatch(text) and "." not in text:  # no fraction has groups of three digits
            text = text.replace(",", "")
        value = int(text) if re.fullmatch(r"[+-]?\d+", text, re.ASCII) else _number(text)
    if isinstance(value, numbers.Integral):
        whole = int(value)
    else:
        number = _number(value)
        if not math.isfinite(number) or number != math.floor(number):
            raise _Doubt
        if abs(number) > EXACT:
            raise _Doubt("a float of that size has lost digits: read it as a whole number")
        whole = int(number)
    if not -LONGEST <= whole < LONGEST:
        raise _Doubt("and have no more than 64 bits")
    return whole


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        if (text := _bare(value).casefold()) in FLAGS:
            return FLAGS[text]
        value = _number(text) if NUMBER.fullmatch(text) else None
    if isinstance(value, numbers.Real | np.bool_) and value in (0, 1):
        return bool(value)
    raise _Doubt


def _time(value: Any) -> datetime.datetime:
    """UTC where it has a zone, which must be UTC."""
    if isinstance(value, str):
        if not (found := TIME.fullmatch(_bare(value))):
            raise _Doubt("year first: another order of day and month is for source.py to read")
        zone = (found[3] or "").replace("UTC", "+00:00").replace("Z", "+00:00")
        try:
            value = datetime.datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}{zone}")
        except ValueError as error:
            raise _Doubt(str(error)) from None
    elif isinstance(value, np.datetime64):
        value = pd.Timestamp(value)
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    if not isinstance(value, datetime.datetime):
        raise _Doubt("a number does not say its unit" if isinstance(value, numbers.Real) else "")
    # London's winter is not UTC: a zone whose clock never changes knows its offset without a date.
    if value.tzinfo is not None and value.tzinfo.utcoffset(None) != datetime.timedelta(0):
        raise _Doubt(f"it has a time zone ({value.tzinfo}), {ZONES}")
    if isinstance(value, pd.Timestamp):
        if value.nanosecond:
            raise _Doubt('a time has microseconds at most: .dt.floor("us")')
        value = value.to_pydatetime()
    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        try:
            return _bare(value.encode().decode())
        except UnicodeEncodeError:
            raise _Doubt("half a character is in it: read the source with its own encoding") from None
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real | decimal.Decimal):
        raise _Doubt("write it as one in source.py")
    try:
        return str(_integer(value))  # 540.0, which a missing value beside it made of 540, is 540
    except _Doubt:
        raise _Doubt("a fraction can be written in more than one way: source.py says how") from None


TAKE: dict[str, Callable[[Any], Any]] = {
    **{"number": _number, "integer": _integer, "flag": _flag, "time": _time},
    **dict.fromkeys(("text", "category"), _text),
    "words": lambda value: words.plain(_text(value)) or None,
}
