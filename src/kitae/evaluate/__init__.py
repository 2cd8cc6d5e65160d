"""Metrics and paired statistics."""

from kitae.callable import make_callable
from kitae.evaluate.scores import Share, exact_match, looping, mean_difference, stopped, worse_p_value

__all__ = ["Share", "exact_match", "looping", "mean_difference", "stopped", "worse_p_value"]

make_callable(__name__)
