"""What a cache holds, in numbers: its size, and how well its teachers do on the cached views."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stillroom.cache.format.outputs import kind_of
from stillroom.cache.read.store import Store
from stillroom.evaluation.agreement import agreement
from stillroom.evaluation.calibration import Calibration
from stillroom.progress import Progress

AGREEING = 64  # views that are compared with each other at most, evenly chosen
_VALUES = 2**22  # logits taken at a time


def summarise(
    store: Store, progress: Progress | None = None, folds: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """Read a whole cache, a plane at a time.

    Args:
        folds: of outputs whose teacher is cross-fitted: which fold each row is in, int [N].

    Returns:
        `id`, `backend`, `views`, `samples` (`unlabelled` of them, where there are any), `blocks`; `files` and
        `bytes` on disk, `bytes_per_view`; of each array its bytes a view before compression (`arrays`); and
        for each output of logits (`outputs`), over all cached views: `accuracy` and `accuracy_by_view`
        (percent, of samples with a label), `confidence` (mean largest probability), `entropy` (mean, nats),
        `calibration_error` (percent, likewise), `agreement` between the views of a sample (percent, None for
        one view), `divergence` (stored to computed, see `Manifest.quality`),
        `folds` (of each fold, accuracy to calibration error: by a model that was not fitted to it); of an
        output of features `kind`, `length` (mean Euclidean), `zeros` (views of which all are zero) and
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
        **({"unlabelled": unlabelled} if (unlabelled := int((store.labels < 0).sum())) else {}),
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
        fold = (folds or {}).get(name)
        measured = (
            _logits(store, name, progress, fold) if summary is _logits else summary(store, name, progress)
        )
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


class _Scores:
    """Adds up how well a teacher does on some of its views."""

    def __init__(self) -> None:
        self.views, self.labelled, self.right, self.entropy, self.confidence = 0, 0, 0, 0.0, 0.0
        self.calibration = Calibration()

    def add(
        self, entropy: np.ndarray, confidence: np.ndarray, right: np.ndarray, labelled: np.ndarray
    ) -> None:
        """More views: float64 [n] nats, float64 [n] in (0, 1], bool [n], and whether there is a label."""
        self.views += len(right)
        self.labelled += int(labelled.sum())
        self.right += int(right.sum())
        self.entropy += float(entropy.sum())
        self.confidence += float(confidence.sum())
        self.calibration.add(confidence[labelled], right[labelled])

    def result(self, known: bool) -> dict[str, Any]:
        """`accuracy` and `calibration_error` of views with a label in percent (None where there are none),
        mean `confidence` and `entropy` (nats) of all.
        """
        known = known and self.labelled > 0
        return {
            "accuracy": round(100 * self.right / self.labelled, 4) if known else None,
            "confidence": round(self.confidence / self.views, 6),
            "entropy": round(self.entropy / self.views, 6),
            "calibration_error": round(self.calibration.result(), 4) if known else None,
        }


def _logits(store: Store, output: str, progress: Progress, fold: np.ndarray | None = None) -> dict[str, Any]:
    layout, labels = store.layout, store.labels
    classes = int(store.manifest.identity["outputs"][output]["shape"][0])
    labelled = labels >= 0
    known = bool((labels < classes).all() and labelled.any())
    rows = max(1, _VALUES // classes)
    right, scores = [], _Scores()
    by_fold = [] if fold is None else [_Scores() for _ in range(int(fold.max()) + 1)]
    compared = set(np.linspace(0, layout.views - 1, min(AGREEING, layout.views)).astype(int).tolist())
    answers = np.empty((len(compared), layout.samples), np.uint32)
    for view in range(layout.views):
        plane, hits = store.logits(view, output), 0
        index = len([other for other in compared if other < view])
        for start in range(0, layout.samples, rows):
            part = plane[start : start + rows].astype(np.float64)
            part -= part.max(axis=1, keepdims=True)
            raised = np.exp(part)
            total = raised.sum(axis=1)
            answer = part.argmax(axis=1)
            # the largest probability is exp(0) / total; -sum p log p = log(total) - sum p * part
            entropy = np.log(total) - (raised * part).sum(axis=1) / total
            hit = answer == labels[start : start + rows]
            has = labelled[start : start + rows]
            hits += int(hit.sum())
            scores.add(entropy, 1 / total, hit, has)
            for number, one in enumerate(by_fold):
                assert fold is not None
                own = fold[start : start + rows] == number
                one.add(entropy[own], 1 / total[own], hit[own], has[own])
            if view in compared:
                answers[index, start : start + rows] = answer
        right.append(100 * hits / max(1, int(labelled.sum())))
        progress.advance()
    agreed = agreement(answers)
    return {
        **scores.result(known),
        "accuracy_by_view": [round(value, 4) for value in right] if known else None,
        "agreement": None if agreed is None else round(agreed, 4),
        **({"folds": [one.result(known) for one in by_fold]} if by_fold else {}),
    }
