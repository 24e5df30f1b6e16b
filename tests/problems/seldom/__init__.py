"""A problem of few rows or rare events, as `source.PLAN` says: will a pump stop within a day?"""

from pathlib import Path

from pipelines.core import params
from pipelines.core.problem import Problem

PROBLEM = Problem(__name__)
PARAMS = params.load(Path(__file__).with_name("params.yaml"))
