"""The estimators that params.yaml may name."""

from collections.abc import Callable

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.problems.seldom.columns import CONTRACT

CATEGORIES = [column.name for column in CONTRACT.features if column.type == "category"]
NUMBERS = [column.name for column in CONTRACT.features if column.type != "category"]


def linear(*, seed: int, weight: float = 1.0) -> Pipeline:
    columns = ColumnTransformer(
        [
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), CATEGORIES),
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        ]
    )
    return make_pipeline(columns, LogisticRegression(C=weight, random_state=seed))


ESTIMATORS: dict[str, Callable[..., Pipeline]] = {"linear": linear}
