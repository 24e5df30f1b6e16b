"""The estimators that params.yaml may name: each takes its settings by keyword and the seed."""

from collections.abc import Callable

from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from tests.problems.parcels.columns import CONTRACT

CATEGORIES = [column.name for column in CONTRACT.features if column.type == "category"]
NUMBERS = [column.name for column in CONTRACT.features if column.type != "category"]


def hist_gradient_boosting(
    *,
    seed: int,
    max_iter: int = 100,
    learning_rate: float = 0.05,
    max_leaf_nodes: int = 15,
    min_samples_leaf: int = 1000,
    max_features: float = 0.5,
    l2_regularization: float = 0.0,
) -> Pipeline:
    """Gradient-boosted trees on histograms; missing numbers go their own way in each split."""
    columns = ColumnTransformer(
        [
            ("categories", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), CATEGORIES),
            ("numbers", "passthrough", NUMBERS),
        ]
    )
    trees = HistGradientBoostingClassifier(
        max_iter=max_iter,
        learning_rate=learning_rate,
        max_leaf_nodes=max_leaf_nodes,
        min_samples_leaf=min_samples_leaf,
        max_features=max_features,
        l2_regularization=l2_regularization,
        early_stopping=False,  # its random split would put flights of one day on both sides
        random_state=seed,
    )
    return make_pipeline(columns, trees)


def logistic_regression(*, seed: int, C: float = 1.0, max_iter: int = 200) -> Pipeline:
    """A linear model: the one to beat."""
    columns = ColumnTransformer(
        [
            ("categories", OneHotEncoder(handle_unknown="ignore", min_frequency=100), CATEGORIES),
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
        ]
    )
    return make_pipeline(columns, LogisticRegression(C=C, max_iter=max_iter, random_state=seed))


ESTIMATORS: dict[str, Callable[..., Pipeline]] = {
    "hist_gradient_boosting": hist_gradient_boosting,
    "logistic_regression": logistic_regression,
}
