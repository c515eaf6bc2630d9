"""What a cache holds, in numbers: its size, and how well its teachers do on the cached views."""

from collections.abc import Callable
from typing import Any

import numpy as np

from stillroom.cache.format.outputs import kind_of
from stillroom.cache.read.store import Store
from stillroom.evaluation.agreement import agreement
from stillroom.evaluation.calibration import Calibration
from stillroom.progress import Progress

AGREEING = 64  # views that are compared with each other at most, evenly chosen
_VALUES = 2**22  # logits taken at a time


def summarise(store: Store, progress: Progress | None = None) -> dict[str, Any]:
    """Read a whole cache, a plane at a time.

    Returns:
        `id`, `backend`, `views`, `samples`, `blocks`; `files` and `bytes` on disk, `bytes_per_view`; of each
        array its bytes a view before compression (`arrays`); and for each output of logits (`outputs`), over
        all cached views: `accuracy` and `accuracy_by_view` (percent), `confidence` (mean largest
        probability), `entropy` (mean, nats), `calibration_error` (percent), `agreement` between the views of
        a sample (percent, None for one view), `divergence` (stored to computed, see `Manifest.quality`); of
        an output of features `kind`, `length` (mean Euclidean), `zeros` (views of which all are zero) and
        `divergence`.

    Raises:
        CacheError: the cache is damaged.
    """
    progress = progress or Progress()
    manifest, layout = store.manifest, store.layout
    files, size = store.size_on_disk()
    count = layout.views * layout.samples
    facts: dict[str, Any] = {
        "id": manifest.id,
        "backend": manifest.backend,
        "views": layout.views,
        "samples": layout.samples,
        "blocks": len(manifest.blocks),
        "files": files,
        "bytes": size,
        "bytes_per_view": round(size / count, 2),
        "arrays": {name: spec.row_bytes for name, spec in sorted(layout.arrays.items())},
        "outputs": {},
    }
    entries = manifest.identity["outputs"]
    summaries = {
        name: summary for name, entry in entries.items() if (summary := _summary_of(entry)) is not None
    }
    progress.start("reading", layout.views * len(summaries), "planes")
    for name, summary in summaries.items():
        measured = summary(store, name, progress)
        facts["outputs"][name] = measured | {"divergence": manifest.quality.get(name, {})}
    progress.finish()
    return facts


def _summary_of(entry: dict[str, Any]) -> Callable[[Store, str, Progress], dict[str, Any]] | None:
    """What sums up an output, by its kind."""
    if kind_of(entry) == "features":
        return _features
    return _logits if len(entry["shape"]) == 1 else None


def _features(store: Store, output: str, progress: Progress) -> dict[str, Any]:
    layout, total, zeros = store.layout, 0.0, 0
    for view in range(layout.views):
        plane = store.logits(view, output).reshape(layout.samples, -1)
        length = np.sqrt(np.einsum("ij,ij->i", plane, plane, dtype=np.float64))
        total, zeros = total + float(length.sum()), zeros + int((length == 0).sum())
        progress.advance()
    count = layout.views * layout.samples
    return {"kind": "features", "length": round(total / count, 6), "zeros": zeros}


def _logits(store: Store, output: str, progress: Progress) -> dict[str, Any]:
    layout, labels = store.layout, store.labels
    classes = int(store.manifest.identity["outputs"][output]["shape"][0])
    known = bool(((labels >= 0) & (labels < classes)).all())
    rows = max(1, _VALUES // classes)
    calibration = Calibration()
    right, entropy, confidence = [], 0.0, 0.0
    compared = set(np.linspace(0, layout.views - 1, min(AGREEING, layout.views)).astype(int).tolist())
    answers = np.empty((len(compared), layout.samples), np.uint32)
    for view in range(layout.views):
        plane, hits = store.logits(view, output), 0
        position = len([other for other in compared if other < view])
        for start in range(0, layout.samples, rows):
            part = plane[start : start + rows].astype(np.float64)
            part -= part.max(axis=1, keepdims=True)
            raised = np.exp(part)
            total = raised.sum(axis=1)
            answer = part.argmax(axis=1)
            # the largest probability is exp(0) / total; -sum p log p = log(total) - sum p * part
            entropy += float((np.log(total) - (raised * part).sum(axis=1) / total).sum())
            confidence += float((1 / total).sum())
            hit = answer == labels[start : start + rows]
            hits += int(hit.sum())
            calibration.add(1 / total, hit)
            if view in compared:
                answers[position, start : start + rows] = answer
        right.append(100 * hits / layout.samples)
        progress.advance()
    count = layout.views * layout.samples
    agreed = agreement(answers)
    return {
        "accuracy": round(float(np.mean(right)), 4) if known else None,
        "accuracy_by_view": [round(value, 4) for value in right] if known else None,
        "confidence": round(confidence / count, 6),
        "entropy": round(entropy / count, 6),
        "calibration_error": round(calibration.result(), 4) if known else None,
        "agreement": None if agreed is None else round(agreed, 4),
    }
