"""Greenlight: proposals, gate, releases, rollouts and drift checks, as Python behind the command `ml`."""
