from .engine import Engine as Engine
from .engines.llama_engine import LlamaEngine as LlamaEngine
from .engines.llama_speed import measure as measure
from .engines.torch_engine import TorchEngine as TorchEngine
from .loop import (
    complete as complete,
    stream as stream,
)
from .open import open_engine as open_engine
from .pieces import token_bytes as token_bytes
from .settings import (
    Chunk as Chunk,
    Completion as Completion,
    Settings as Settings,
)
