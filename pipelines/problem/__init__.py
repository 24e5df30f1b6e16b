"""The team's room: what is predicted, from which data, with which features and estimators."""

from pipelines.core.problem import Problem

PROBLEM = Problem(__name__)
