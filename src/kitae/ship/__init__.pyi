from .calibration import general_sequences as general_sequences
from .chain import Chain as Chain
from .conversion import converter as converter
from .export import to_gguf as to_gguf
from .importance_matrix import (
    importance as importance,
    weighs as weighs,
)
from .quantisation import (
    check_plain as check_plain,
    quantise as quantise,
)
from .results import FormScores as FormScores, ShipReport as ShipReport
