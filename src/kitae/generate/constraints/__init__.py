"""Answers that are what was asked for: JSON by a schema, an expression, a grammar, one of some texts."""

from kitae.generate.constraints.checked import first_problem
from kitae.generate.constraints.constraint import Constraint, Kind
from kitae.generate.constraints.matcher import Grammars, Matcher

__all__ = ["Constraint", "Grammars", "Kind", "Matcher", "first_problem"]
