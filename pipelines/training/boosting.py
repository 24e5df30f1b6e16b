"""LightGBM and XGBoost as ONNX: skl2onnx learns to convert the models of both."""

import copy
import importlib
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

OPSETS = {"": 21, "ai.onnx.ml": 3}  # the newest that their converters write


def known(pipeline: "Pipeline") -> dict[str, Any]:
    """What skl2onnx's convert_sklearn must be told, once it knows the models that the pipeline has of both;
    nothing where it has none: what else this process has imported must not change a model's bytes."""
    packages = {type(part).__module__.partition(".")[0] for part in pipeline.get_params().values()}
    found = sorted(packages & {"lightgbm", "xgboost"})
    if not found:
        return {}
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    options = {"zipmap": [True, False, "columns"], "nocl": [True, False]}
    of: dict[str, tuple[Any, dict[str, Any]]] = {
        "Classifier": (shapes.calculate_linear_classifier_output_shapes, options),
        "Regressor": (shapes.calculate_linear_regressor_output_shapes, {}),
    }
    for name in found:
        short, file = {"lightgbm": ("LGBM", "LightGbm"), "xgboost": ("XGB", "XGBoost")}[name]
        converters = importlib.import_module(f"onnxmltools.convert.{name}.operator_converters.{file}")
        converter = getattr(converters, f"convert_{name}")
        for kind, (shape, its) in of.items():
            model = getattr(sys.modules[name], f"{short}{kind}")
            exact = converter if name == "xgboost" else _of_32_bits(converter)
            update_registered_converter(model, f"{short}{kind}", shape, exact, options=its)
    return {"target_opset": OPSETS}


def _of_32_bits(converter: Any) -> Any:
    """The converter of a LightGBM model that splits at numbers of 32 bits, as ONNX has them: rows, whose
    numbers have as many, go the same ways, and none where a split would be rounded up."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        model = operator.raw_operator = copy.copy(operator.raw_operator)
        text = re.sub(r"(?m)^tree_sizes=.*\n", "", model.booster_.model_to_string())  # in bytes, as it was
        text = re.sub(r"(?m)^threshold=(.*)$", _floored, text)
        model._Booster = sys.modules["lightgbm"].Booster(model_str=text)
        converter(scope, operator, container)

    return convert


def _floored(line: re.Match[str]) -> str:
    split = np.array(line[1].split(), dtype=np.float64)
    near = split.astype(np.float32)
    below = np.where(near > split, np.nextafter(near, np.float32(-np.inf)), near)
    return f"threshold={' '.join(f'{float(value):.17g}' for value in below)}"
