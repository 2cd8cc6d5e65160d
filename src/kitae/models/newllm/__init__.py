"""New-LLM: a context vector carried from token to token instead of attention, trained in parallel over time.

`kitae.register_newllm()` lets transformers' Auto classes know it.
"""
