from .blending import blend as blend
from .cleaning import (
    CleaningOptions as CleaningOptions,
    clean_data as clean_data,
    inspect_data as inspect_data,
    split_data as split_data,
)
from .comparison import (
    compare as compare,
    comparison_rows as comparison_rows,
)
from .estimating import check_recipe as check_recipe
from .evaluation import evaluate as evaluate
from .journey import quickstart as quickstart
from .licensing import licences as licences
from .previews import preview_data as preview_data
from .pulling import (
    ROWS as ROWS,
    pull as pull,
)
from .results import (
    CleanReport as CleanReport,
    ComparedRun as ComparedRun,
    Comparison as Comparison,
    Estimate as Estimate,
    EvalReport as EvalReport,
    Exported as Exported,
    FormScores as FormScores,
    GateResult as GateResult,
    LicenceReport as LicenceReport,
    Merged as Merged,
    PreviewReport as PreviewReport,
    PullReport as PullReport,
    QuickstartReport as QuickstartReport,
    RecipeCheck as RecipeCheck,
    RoundTripProof as RoundTripProof,
    Scores as Scores,
    ShipReport as ShipReport,
    SplitReport as SplitReport,
    SweepReport as SweepReport,
    TokenizerFacts as TokenizerFacts,
    TokenizerReport as TokenizerReport,
    TrainReport as TrainReport,
    VerdictResult as VerdictResult,
)
from .selections import compare_selections as compare_selections
from .shipping import (
    export as export,
    merge as merge,
    ship as ship,
    verify as verify,
    verify_endpoint as verify_endpoint,
)
from .sweeps import sweep as sweep
from .tokenizer import (
    inspect_tokenizer as inspect_tokenizer,
    train_tokenizer as train_tokenizer,
)
from .training import train as train
