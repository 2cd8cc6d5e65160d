"""The folder that a run leaves, and the index over all runs."""

from kitae.runs.folder import STATES, Run, all_runs, all_states, create_run, find_run, is_run

__all__ = ["STATES", "Run", "all_runs", "all_states", "create_run", "find_run", "is_run"]
