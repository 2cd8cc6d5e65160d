"""Gates: they read artifacts, and never trust what produced them."""

from kitae.callable import make_callable
from kitae.evaluate.observe import Observation
from kitae.verify.after import after_training, inputs
from kitae.verify.before import BeforeTraining
from kitae.verify.gate import GATES, Gate, Verdict, with_missing
from kitae.verify.probes import probe_answers, probe_texts
from kitae.verify.rights import claims_of, obligations, verdicts
from kitae.verify.run import RunVerifier
from kitae.verify.target import verify_target

__all__ = [
    "GATES",
    "BeforeTraining",
    "Gate",
    "Observation",
    "RunVerifier",
    "Verdict",
    "after_training",
    "claims_of",
    "inputs",
    "obligations",
    "probe_answers",
    "probe_texts",
    "verdicts",
    "verify_target",
    "with_missing",
]


make_callable(__name__)
