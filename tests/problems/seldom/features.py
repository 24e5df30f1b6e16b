"""No column is derived."""

import pandas as pd

HISTORY_DAYS = 0


def build(raw: pd.DataFrame) -> pd.DataFrame:
    return raw
