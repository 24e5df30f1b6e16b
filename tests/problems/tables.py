"""Tables that somebody has, the room that `ml new` makes of one, and what it says where it makes none."""

from pathlib import Path

import numpy as np
import pandas as pd

from tests.problems.yours import ROOM, run


def write(folder: Path, name: str, table: pd.DataFrame) -> str:
    (folder / "tables").mkdir(exist_ok=True)
    path = folder / "tables" / name
    table.to_parquet(path) if name.endswith(".parquet") else table.to_csv(path, index=False)
    return f"tables/{name}"


def room(folder: Path) -> dict[str, str]:
    return {name: (folder / "pipelines/problem" / name).read_text() for name in ROOM}


def refused(folder: Path, *words: str) -> str:
    """What `ml new` says of its last line, after exit code 2; the room is as it was."""
    before = room(folder)
    done = run(folder, "ml", "new", *words, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert room(folder) == before
    return done.stderr.splitlines()[-1]


def plain(rows: int = 200) -> pd.DataFrame:
    """A dated table of a flag, without a date in its order."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=rows).round(3)
    return pd.DataFrame(
        {
            "order_id": [f"A{n}" for n in range(rows)],
            "created_at": pd.date_range("2024-01-01", periods=rows, freq="D").strftime("%d.%m.%Y"),
            "price_eur": (x * 10 + 50).round(2),
            "temp (f)": draw.integers(20, 90, rows),
            "Kunde": draw.choice(["alt", "neu", "fremd"], rows),
            "always": 1,
            "until": ["9999-12-31", "2024-05-01"] * (rows // 2),  # "never" is no event
            "vip": [None, True, False, True] * (rows // 4),
            "bought": np.where(x + draw.normal(size=rows) > 0, "yes", "no"),
        }
    )


def complaints(rows: int = 400) -> pd.DataFrame:
    """The same table with a text: who says that something is broken mostly does not buy."""
    draw, said = np.random.default_rng(3), "parcel door rain box paper left again street phone".split()
    broken = draw.random(rows) < 0.4
    texts = [" ".join(draw.permutation([*draw.choice(said, 4), *(["Broken!"] if b else [])])) for b in broken]
    buys = np.where(broken ^ (draw.random(rows) < 0.1), "no", "yes")
    return plain(rows).assign(note=texts, bought=buys)
