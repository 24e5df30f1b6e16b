"""What a fault says: callers of the edge choose the values that they send, and an issue shows one."""

import pandas as pd

from pipelines.core.contract import Column
from pipelines.monitoring import faults


def test_a_callers_text_is_no_markup_in_the_issue() -> None:
    column = Column("origin", "category", "an airport", loggable=True)
    seen = pd.Series(["@everyone\n\n# Log in [here](https://evil.example) <img src=x>" + "x" * 200] * 9)
    said = faults._skewed(column, seen, pd.Series(["EWR"] * 9))
    assert "\n" not in said and "@everyone" not in said and "[here]" not in said and "<img" not in said
    assert "where it says EWR" in said and len(said) < 200
