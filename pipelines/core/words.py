"""What a text says, whoever wrote it how: its words, in small letters, one blank between two of them."""

import math
import re
import unicodedata
from typing import Any

WORD = re.compile(r"\w+")


def plain(text: str) -> str:
    """`Delivery LATE, again!` as `delivery late again`; of a text of marks alone nothing is left.

    This is done here and not in the model's graph: ONNX's operator for it (StringNormalizer) asks the machine
    for a locale, which a small image does not have."""
    return " ".join(WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def count(text: Any) -> float:
    """How many words a text has, by which drift is measured; NaN where there is no text."""
    return float(len(plain(text).split())) if isinstance(text, str) else math.nan
