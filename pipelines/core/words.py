"""What a text says, whoever wrote it how: its words, in small letters, one blank between two of them."""

import math
import re
import unicodedata
from functools import cache
from typing import Any

LONGEST = 10_000  # characters of a text that count
INSIDE = re.compile("[\u00ad\u200c\u200d\u2060\ufeff]")  # of a word, unseen
ASCII = re.compile(r"\w+")


def plain(text: str) -> str:
    """`Delivery LATE, again!` as `delivery late again`; of a text of marks alone nothing is left.

    This is done here and not in the model's graph: ONNX's operator for it (StringNormalizer) asks the machine
    for a locale, which a small image does not have."""
    text, word = text[:LONGEST], ASCII
    if not text.isascii():
        many, word = _marked()
        text = unicodedata.normalize("NFKC", many.sub(r"\1", INSIDE.sub("", text)))[:LONGEST]
        text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(word.findall(text.lower()))[:LONGEST].rstrip()


def count(text: Any) -> float:
    """How many words a text has, by which drift is measured; NaN where there is no text."""
    return float(len(plain(text).split())) if isinstance(text, str) else math.nan


@cache
def _marked() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Too many marks in a row (composing takes the square of their number: stream-safe text has 30), and a
    word with marks on and beside its letters, which `\\w` has not."""
    marks = "".join(chr(n) for n in range(0x300, 0x20000) if unicodedata.category(chr(n)).startswith("M"))
    return re.compile(f"([{marks}]{{30}})[{marks}]+"), re.compile(rf"\w[\w{marks}]*")
