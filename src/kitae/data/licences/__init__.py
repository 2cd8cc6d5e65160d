"""Licences: what may be done with a model that was made of others' work. Notes of engineers, not advice of lawyers."""

from kitae.data.licences.terms import Terms, terms_of
from kitae.data.licences.verdict import ACTS, Act, Claim, Kind, LicenceVerdict, judge

__all__ = ["ACTS", "Act", "Claim", "Kind", "LicenceVerdict", "Terms", "judge", "terms_of"]
