"""Values as the model takes them."""

from typing import Any

import numpy as np
import pytest

from pipelines.core.contract import Column
from pipelines.core.model import encode

CATEGORY = Column("kind", "category", "")


@pytest.mark.parametrize(
    ("given", "texts"),
    [
        (np.array([np.nan, np.nan]), ["", ""]),
        (np.array([1.0, np.nan]), ["1.0", ""]),
        (np.array([True, 1, 1.0, None, "x", "x"], dtype=object), ["True", "1", "1.0", "", "x", "x"]),
    ],
)
def test_a_category_is_the_same_text_alone_and_among_others(given: Any, texts: list[str]) -> None:
    assert encode(CATEGORY, given)[:, 0].tolist() == texts
    assert encode(CATEGORY, list(given))[:, 0].tolist() == texts
