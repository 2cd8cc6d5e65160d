from .ask import Answer as Answer, Budget as Budget, ClientSpec as ClientSpec
from .ask.answering import generate as generate
from .curate import (
    Amount as Amount,
    Choice as Choice,
    Growth as Growth,
    SelectReport as SelectReport,
    Synthesis as Synthesis,
    SynthReport as SynthReport,
)
from .curate.selecting import select_data as select_data
from .curate.synthesis import synthesise as synthesise
from .data.split import Shares as Shares
from .generate import Settings as Settings
from .models.newllm.register import register_newllm as register_newllm
from .recipe import Recipe as Recipe
from .workflows.blending import blend as blend
from .workflows.cleaning import (
    CleaningOptions as CleaningOptions,
    clean_data as clean_data,
    inspect_data as inspect_data,
    split_data as split_data,
)
from .workflows.comparison import compare as compare
from .workflows.estimating import check_recipe as check_recipe
from .workflows.evaluation import evaluate as evaluate
from .workflows.journey import quickstart as quickstart
from .workflows.licensing import licences as licences
from .workflows.previews import preview_data as preview_data
from .workflows.pulling import pull as pull
from .workflows.results import (
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
from .workflows.shipping import (
    export as export,
    merge as merge,
    ship as ship,
    verify as verify,
    verify_endpoint as verify_endpoint,
)
from .workflows.sweeps import sweep as sweep
from .workflows.tokenizer import (
    inspect_tokenizer as inspect_tokenizer,
    train_tokenizer as train_tokenizer,
)
from .workflows.training import train as train

__version__: str
