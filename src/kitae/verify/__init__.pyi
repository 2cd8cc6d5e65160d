from .after import (
    after_training as after_training,
    inputs as inputs,
)
from .before import (
    BeforeTraining as BeforeTraining,
    stop_token_trainable as stop_token_trainable,
)
from .command import (
    verify_endpoint as verify_endpoint,
    verify_target as verify_target,
)
from .gate import (
    Gate as Gate,
    GateResult as GateResult,
    Verdict as Verdict,
    VerdictResult as VerdictResult,
    with_missing as with_missing,
)
from .observe import Observation as Observation
from .probes import (
    probe_answers as probe_answers,
    probe_texts as probe_texts,
)
from .registry import gates_of as gates_of
from .rights import (
    claims_of as claims_of,
    licence_gate as licence_gate,
    obligations as obligations,
    verdicts as verdicts,
)
from .run import RunVerifier as RunVerifier
