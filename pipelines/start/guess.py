"""What a column of a table most likely is, by its name and its values: type, unit, range."""

import math
import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from pipelines.core import coercion
from pipelines.core.contract import Type
from pipelines.core.words import plain

MOST_VALUES = 50  # of a category of few rows; else a twentieth of the rows, up to
MOST_OF_ANY = 200
NEARLY = 0.9  # of a column's texts: the others are what keeps it from being a number
OFTEN = 5  # rows that have a word, and words that so many rows, or a hundredth of all, have
HEADROOM = 0.1  # of the range, at each end
WRITTEN = ("%Y/%m/%d", "%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p")

_words = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))
UNITS: dict[str, str] = {word: unit for unit, words in _words.pop("units").items() for word in words.split()}
WORDS: dict[str, list[str]] = {what: words.split() for what, words in _words.items()}


def named(original: str, taken: Iterable[str]) -> str:
    """The column's name in the room: the table's own where it is one word, else its words, joined."""
    name = original.strip()
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        bare = re.sub(r"[(\[].*?[)\]]", " ", name)
        name = re.sub(r"[^a-z0-9]+", "_", _plain(bare)).strip("_") or "column"
        name = f"column_{name}" if name[0].isdigit() else name
    taken, number = set(taken), 2
    while name in taken:
        name, number = f"{name.rstrip('0123456789').rstrip('_')}_{number}", number + 1
    return name


def words(name: str) -> list[str]:
    """`sepalLength (cm)` as sepal, length, cm."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^a-z0-9]+", _plain(apart)) if word]


def _plain(text: str) -> str:
    """`Größe` as grosse."""
    return unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()


def unit(original: str) -> str:
    """By the last word of a name that has more than it, or what stands there in brackets."""
    found = re.search(r"[(\[]\s*(.{1,12}?)\s*[)\]]\s*$", original)
    if found and found[1].isprintable():  # it is in a comment of params.yaml
        return UNITS.get(found[1].lower(), found[1])
    said = words(original)
    alone = len(said) == 1 and len(said[0]) > 3
    return UNITS.get(said[-1], "") if len(said) > 1 or alone else ""


def known_afterwards(original: str) -> str:
    """The word by which a name says that its value is known only afterwards; empty where it does not."""
    said = words(original)
    late = [word for word in said if word in WORDS["afterwards"]]
    return late[0] if late and not set(WORDS["planned"]) & set(said) else ""


def kind(values: pd.Series) -> tuple[Type, str]:
    """The type, and how its dates are written: nothing where they are dates already, `utc` where they have a
    zone, else a format; `?` where day and month could be either."""
    given, types = values.dropna(), pd.api.types
    if types.is_bool_dtype(given.dtype) or all(type(value) is bool for value in given):
        return "flag", ""
    if types.is_datetime64_any_dtype(given.dtype):
        return "time", "utc" if isinstance(given.dtype, pd.DatetimeTZDtype) else ""
    if all(isinstance(value, Decimal) for value in given):
        given = given.astype(float)
    if types.is_numeric_dtype(given.dtype):
        if set(given.unique()) == {0, 1}:
            return "flag", ""
        return ("integer" if (given == given.round()).all() else "number"), ""
    texts = given.astype(str).str.strip()
    found = pd.Series(texts.unique())
    if len(found) == 2 and found.str.casefold().isin(coercion.FLAGS).all():
        return "flag", ""
    dates = [coercion.TIME.fullmatch(text) for text in found]
    if all(dates):
        return "time", "utc" if any(date and date[3] for date in dates) else "ISO8601"
    if len(written := _written(found)) == 1:
        return "time", written[0]
    few = max(MOST_VALUES, min(MOST_OF_ANY, len(given) // 20))
    several = len(found) <= few and len(found) <= len(given) / 2
    return ("category" if several else "text"), "?" if written else ""


def has_words(values: pd.Series) -> bool:
    """Whether texts are several words each, enough of which come again in other rows."""
    said = values.dropna().astype(str).map(lambda text: plain(text).split())
    often = said.explode().value_counts() >= max(OFTEN, len(said) // 100)
    return bool(len(said) and said.map(len).mean() >= 2 and often.sum() >= OFTEN)


def nearly(values: pd.Series) -> str:
    """Why texts look like numbers and are none; empty where they do not."""
    texts = values.dropna().astype(str).str.strip()
    if texts.str.fullmatch(r"[+-]?\d[\d.]*(,\d+)?").all() and texts.str.contains(r",(?!\d{3}$)").any():
        return "looks like numbers with a decimal comma: read it with decimal=','"
    are = pd.to_numeric(texts, errors="coerce").notna()
    if not NEARLY <= are.mean() < 1:
        return ""
    return f"{math.floor(100 * are.mean())} % are numbers, {texts[~are].iloc[0][:40]!r} is not"


def times(values: pd.Series, written: str) -> pd.Series:
    """Times without a zone, as `source.py` makes them of dates written so."""
    if written == "utc":
        return pd.to_datetime(values, utc=True).dt.tz_localize(None)
    return pd.to_datetime(values, format=written or None)


def _written(texts: pd.Series) -> list[str]:
    """The formats by which each of the texts is a date."""
    formats = [day + clock for day in WRITTEN for clock in CLOCKS]
    for rows in (5, len(texts)):
        tried = [(one, pd.to_datetime(texts.head(rows), format=one, errors="coerce")) for one in formats]
        formats = [one for one, found in tried if found.notna().all()]
    return formats


def bounds(values: pd.Series, whole: bool, unit: str) -> tuple[float, float]:
    """The range of the values with some room; what is never negative stays so, and a share below 100 %."""
    low, high = float(values.min()), float(values.max())
    room = HEADROOM * (high - low) or abs(high) or 1.0
    scale = 1.0 if whole else 10.0 ** (1 - math.floor(math.log10(room)))
    below, above = math.floor((low - room) * scale) / scale, math.ceil((high + room) * scale) / scale
    below = max(below, 0.0) if low >= 0 else below
    if unit == "%" and low >= 0 and high <= 100:
        return 0.0, 100.0
    return below, above


def share(values: pd.Series, period: np.ndarray) -> float:
    """The share of missing values to allow: half more than the worst period has; 0 where none is missing."""
    worst = float(values.isna().groupby(period).mean().max())
    return min(1.0, math.ceil((1.5 * worst + 0.01) * 100) / 100) if worst else 0.0


def numbered(original: str) -> bool:
    """Whether a name says that it names the row, or a thing, and does not measure it."""
    return original.startswith("Unnamed") or bool(set(words(original)[-1:]) & set(WORDS["key"]))


def meaning(original: str) -> str:
    """The name in words, without its unit in brackets."""
    return " ".join(words(re.sub(r"[(\[].*?[)\]]", " ", original))) or original
