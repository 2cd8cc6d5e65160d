from .feature_cache import FeatureModel as FeatureModel
from .language import (
    bigrams as bigrams,
    predict as predict,
    summary as summary,
)
from .results import Scores as Scores
from .statistics import (
    Share as Share,
    exact_match as exact_match,
    looping as looping,
    mean_difference as mean_difference,
    stopped as stopped,
    worse_p_value as worse_p_value,
)
from .suites import (
    answer_sizes as answer_sizes,
    difference as difference,
    score_rows as score_rows,
)
