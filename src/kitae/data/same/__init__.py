"""The only answer to "are these two rows the same, or nearly?": duplicates, leaks and splitting all ask here."""

from kitae.data.same.code import looks_like_code
from kitae.data.same.dealing import Groups, dealt, ties
from kitae.data.same.duplicates import Twin, twins
from kitae.data.same.likeness import Parts, draw, likeness, normalised, plain, tokens, untidiness
from kitae.data.same.overlap import Overlap, overlap, without_duplicates
from kitae.data.same.signature import BANDS, Bands, Hashes, bands, grams, hashed, whole

__all__ = [
    "BANDS",
    "Bands",
    "Groups",
    "Hashes",
    "Overlap",
    "Parts",
    "Twin",
    "bands",
    "dealt",
    "draw",
    "grams",
    "hashed",
    "likeness",
    "looks_like_code",
    "normalised",
    "overlap",
    "plain",
    "ties",
    "tokens",
    "twins",
    "untidiness",
    "whole",
    "without_duplicates",
]
