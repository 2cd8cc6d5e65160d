"""Making vocabularies, and looking at them."""

from kitae.models.vocabulary.folder import made_here
from kitae.models.vocabulary.kinds import KINDS, Order
from kitae.models.vocabulary.make import check_specials, make_vocabulary
from kitae.models.vocabulary.measure import LANGUAGES, kind_of, longest_tokens, measure, rare_tokens, sample_text
from kitae.models.vocabulary.proof import RoundTrip, round_trip
from kitae.models.vocabulary.sample import Sample

__all__ = [
    "KINDS",
    "LANGUAGES",
    "Order",
    "RoundTrip",
    "Sample",
    "check_specials",
    "kind_of",
    "longest_tokens",
    "made_here",
    "make_vocabulary",
    "measure",
    "rare_tokens",
    "round_trip",
    "sample_text",
]
