"""Evidence that two arms differ in the target alone: digests of what both must share."""

import hashlib

import numpy as np
import torch

from stillroom.modalities.weights import weights_digest
from stillroom.training.batches import CachedBatches

# Batches whose rendered views are digested: enough to see another recipe, plane, spec, order or torch.
DIGESTED = 2


def order_digest(source: CachedBatches, epochs: int) -> str:
    """sha256 over each epoch's plane and the row numbers of its batches, in order."""
    digest = hashlib.sha256()
    for epoch in range(epochs):
        digest.update(np.int64(source.plane(epoch)).tobytes())
        for batch in source.order(epoch):
            digest.update(np.int64(len(batch)).tobytes() + batch.astype("<i8").tobytes())
    return digest.hexdigest()


def inputs_digest(source: CachedBatches) -> str:
    """sha256 over the rendered views of the first batches of the first epoch."""
    digest = hashlib.sha256()
    for batch in source(0, count=DIGESTED):
        digest.update(batch.inputs.numpy().tobytes())
    return digest.hexdigest()


def digests(net: torch.nn.Module, source: CachedBatches, epochs: int) -> dict[str, str]:
    """`init` (weights before training), `order`, and the inputs by the modality's name for them (`pixels`):
    equal between the arms of a family and seed.
    """
    return {
        "init": weights_digest(net),
        "order": order_digest(source, epochs),
        source.modality.INPUTS: inputs_digest(source),
    }
