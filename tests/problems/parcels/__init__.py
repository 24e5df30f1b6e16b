"""The problem of the machinery's tests, whatever is in the room; its rows are drawn from a seed."""

from pathlib import Path

from pipelines.core import params
from pipelines.core.problem import Problem

PROBLEM = Problem(__name__)
CONTRACT = PROBLEM.contract
PARAMS_FILE = Path(__file__).with_name("params.yaml")
PARAMS = params.load(PARAMS_FILE)
