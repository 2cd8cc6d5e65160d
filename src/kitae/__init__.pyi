from .ask.answering import generate as generate
from .curate.selecting import select_data as select_data
from .curate.synthesis import synthesise as synthesise
from .models.auto import register_newllm as register_newllm
from .workflows.blending import blend as blend
from .workflows.cleaning import (
    clean_data as clean_data,
    inspect_data as inspect_data,
    split_data as split_data,
)
from .workflows.comparison import compare as compare
from .workflows.evaluation import evaluate as evaluate
from .workflows.journey import quickstart as quickstart
from .workflows.licensing import licences as licences
from .workflows.pulling import pull as pull
from .workflows.shipping import (
    export as export,
    merge as merge,
    ship as ship,
    verify as verify,
)
from .workflows.sweeps import sweep as sweep
from .workflows.tokenizer import (
    inspect_tokenizer as inspect_tokenizer,
    train_tokenizer as train_tokenizer,
)
from .workflows.training import train as train

__version__: str
