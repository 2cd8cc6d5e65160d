"""Metrics and paired statistics."""

from kitae.evaluate.scores import Share, exact_match, looping, mean_difference, stopped, worse_p_value

__all__ = ["Share", "exact_match", "looping", "mean_difference", "stopped", "worse_p_value"]
