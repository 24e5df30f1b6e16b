"""The estimators that params.yaml may name."""

from collections.abc import Callable

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from tests.problems.delay.columns import CONTRACT

CATEGORIES = [column.name for column in CONTRACT.features if column.type == "category"]
NUMBERS = [column.name for column in CONTRACT.features if not column.is_text]


def boosted(
    *, seed: int, trees: int = 60, leaf: int = 200, features: float = 1.0, penalty: float = 0.0
) -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    parts = [("categories", encoder, CATEGORIES), ("numbers", "passthrough", NUMBERS), *_words()]
    columns = ColumnTransformer(parts, sparse_threshold=0)
    trees_of_a_class = HistGradientBoostingClassifier(
        max_iter=trees,
        min_samples_leaf=leaf,
        max_leaf_nodes=8,
        learning_rate=0.07,
        max_features=features,  # of each split, drawn by the seed
        l2_regularization=penalty,
        early_stopping=False,
        random_state=seed,
    )
    return make_pipeline(columns, trees_of_a_class)


def linear(*, seed: int, C: float = 1.0) -> Pipeline:
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=50)
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer(
        [("categories", encoder, CATEGORIES), ("numbers", numbers, NUMBERS), *_words()]
    )
    return make_pipeline(columns, LogisticRegression(C=C, max_iter=300, random_state=seed))


def _words() -> list[tuple[str, TfidfVectorizer, str]]:
    """A dozen words of an airport's name: `international`, say."""
    words = TfidfVectorizer(lowercase=False, token_pattern=r"\S+", max_features=12, dtype=np.float32)
    return [("airport", words, "airport")]


ESTIMATORS: dict[str, Callable[..., Pipeline]] = {"boosted": boosted, "linear": linear}
