"""New-LLM: a context vector carried from token to token instead of attention, trained in parallel over time.

`import kitae` is enough for transformers' Auto classes to know it.
"""
