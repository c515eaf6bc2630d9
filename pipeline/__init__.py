"""stillroom: two-stage offline distillation with cached teacher outputs.

    cache = stillroom.open_cache("artifacts/cache")            # a folder, or an address: hf://, s3://, ssh://
    views = stillroom.CachedDataset(cache, data="artifacts/data")
    model = stillroom.load_model("artifacts/students/vit-kd-0")
    loss = stillroom.losses.load("kd", {"alpha": 0.9, "temperature": 2.0})

Each name is imported when it is first used: reading a cache needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stillroom import losses
    from stillroom.cache.read.backends import open_store as open_cache
    from stillroom.modalities import load_model
    from stillroom.training.dataset import BatchOrder, CachedDataset

__all__ = ["BatchOrder", "CachedDataset", "load_model", "losses", "open_cache"]

_EXPORTS = {
    "BatchOrder": ("stillroom.training.dataset", "BatchOrder"),
    "CachedDataset": ("stillroom.training.dataset", "CachedDataset"),
    "load_model": ("stillroom.modalities", "load_model"),
    "open_cache": ("stillroom.cache.read.backends", "open_store"),
}


def __getattr__(name: str) -> Any:
    if name == "losses":
        return importlib.import_module("stillroom.losses")
    if name in _EXPORTS:
        module, attribute = _EXPORTS[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'stillroom' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
