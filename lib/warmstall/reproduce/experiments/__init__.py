"""The experiments, in files by what they try, the table of them all, and what runs one."""

from .catalogue import EXPERIMENTS, experiment_named
from .running import run_experiment

__all__ = ["EXPERIMENTS", "experiment_named", "run_experiment"]
