from .constraints import (
    Constraint as Constraint,
    first_problem as first_problem,
)
from .engine import Engine as Engine
from .engines.llama_engine import LlamaEngine as LlamaEngine
from .engines.llama_speed import measure as measure
from .engines.torch_engine import TorchEngine as TorchEngine
from .loop import (
    answers as answers,
    complete as complete,
    stream as stream,
)
from .open import (
    open_adapters as open_adapters,
    open_engine as open_engine,
)
from .pieces import token_bytes as token_bytes
from .sampling import Wish as Wish
from .scheduler import Scheduler as Scheduler
from .settings import (
    Chunk as Chunk,
    Completion as Completion,
    Settings as Settings,
    TokenLogprob as TokenLogprob,
    mean_logprob as mean_logprob,
)
from .sizing import (
    room as room,
    room_for_prompt as room_for_prompt,
)
from .speculation import (
    DraftModel as DraftModel,
    PromptLookup as PromptLookup,
    Speculation as Speculation,
)
from .thoughts import (
    Thoughts as Thoughts,
    has_thoughts as has_thoughts,
)
from .why import (
    Stage as Stage,
    candidates as candidates,
    stages as stages,
)
