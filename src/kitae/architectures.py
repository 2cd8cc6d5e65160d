"""Makes transformers' Auto classes know Kitae's own architectures.

`import kitae` must not import transformers, so what is to be known waits until transformers' own registries are imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

# When the first has been imported, the second is: it registers itself.
_FOLLOWERS = {
    "transformers.models.auto.configuration_auto": "kitae.models.newllm.config",
    "transformers.models.auto.modeling_auto": "kitae.models.newllm.modeling",
}


def announce() -> None:
    """Now for registries that are there already, later for the others."""
    for registry, follower in _FOLLOWERS.items():
        if registry in sys.modules:
            import_module(follower)
        else:
            sys.meta_path.insert(0, _Waiting(registry, follower))


class _Waiting(MetaPathFinder):
    def __init__(self, registry: str, follower: str) -> None:
        self._registry = registry
        self._follower = follower

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._registry:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _AndThen(spec.loader, self._follower)
        return spec


class _AndThen(Loader):
    def __init__(self, loader: Loader, follower: str) -> None:
        self._loader = loader
        self._follower = follower

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self._loader  # who asks the module later gets its own
        self._loader.exec_module(module)
        if self._follower not in sys.modules:  # else it is being imported right now, and registers itself at its end
            import_module(self._follower)
