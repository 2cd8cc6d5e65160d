from .ranking import (
    READ_BY_MODEL as READ_BY_MODEL,
    Amount as Amount,
)
from .selecting import (
    Choice as Choice,
    SelectReport as SelectReport,
    choose as choose,
    feature_model as feature_model,
    select_data as select_data,
    ways_of as ways_of,
)
from .synth import Growth as Growth
from .synthesis import (
    Synthesis as Synthesis,
    SynthReport as SynthReport,
    synthesise as synthesise,
)
