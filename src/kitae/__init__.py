"""Kitae: train, verify and ship small language models.

`kitae.train`, `kitae.verify`, `kitae.ship`, `kitae.generate`, `kitae.merge`, `kitae.blend`, `kitae.compare`, `kitae.export` and
`kitae.quickstart` do what the commands of the same names do, and return the value that the command prints with `--json`; so do
`kitae.evaluate` (`eval`), `kitae.verify_endpoint` (`verify --endpoint`), `kitae.train_tokenizer`, `kitae.inspect_tokenizer`,
`kitae.clean_data`, `kitae.inspect_data`, `kitae.split_data`, `kitae.select_data`, `kitae.synthesise` (`data synth`),
`kitae.pull` and `kitae.licences`. All of them and their types are named in __init__.pyi. Importing this package imports neither
torch nor transformers.
"""

import lazy_loader

__version__ = "0.1.0"

from kitae import evaluate, generate, ship, train, verify

# These rooms have the names of functions. Python sets a package's name when it is first loaded, which must not be later.
del evaluate, generate, ship, train, verify

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
