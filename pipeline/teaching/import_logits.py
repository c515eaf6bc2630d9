"""A cache of logits that were computed elsewhere, for the views that `export_views` wrote."""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stillroom import modalities
from stillroom.cache import encodings
from stillroom.cache.encodings import UnstorableError, encoding_for
from stillroom.cache.format.divergence import measure
from stillroom.cache.format.estimate import estimate
from stillroom.cache.format.identity import identity_id
from stillroom.cache.format.layout import VIEWS, Block
from stillroom.cache.format.manifest import NAME as MANIFEST
from stillroom.cache.format.outputs import imported
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import publish, refuse_other_content
from stillroom.cache.write.staging import Staging
from stillroom.distributed import Ranks
from stillroom.errors import AccessError, CacheError, DataError, ParamsError, fetch_again
from stillroom.evaluation.metrics import accuracy
from stillroom.files import require_regular
from stillroom.lock import Lock
from stillroom.modalities.base import Policy
from stillroom.modalities.entries import plain
from stillroom.params import Params
from stillroom.progress import Progress
from stillroom.provenance import exported
from stillroom.provenance.ahead import check_k, check_students
from stillroom.provenance.identity import of_data
from stillroom.samples import Samples
from stillroom.teaching.generate import array_specs, divide
from stillroom.teaching.logits_files import Faults, Given, named, open_logits, order_of, read_classes
from stillroom.views.planes import drawn

OUTPUT = "logits"
LONGEST_TEXT = 500  # characters of `origin.text`
_PIECE = 2**20


@dataclass(frozen=True)
class Import:
    """What is to become a cache.

    Attributes:
        params: all of the parameters.
        samples: the whole table.
        train: those of them that a cache is made of.
        file: the logits.
        views: the folder of the exported views, or its `views.json`.
        classes: a file that names the columns; None: the file of the logits may.
        text: where the logits come from, for people; None: their file's digest says it.
        folder: where the cache is to be.
        replace: whether a cache of something else may be given up.
    """

    params: Params
    samples: Samples
    train: Samples
    file: Path
    views: Path
    classes: Path | None
    text: str | None
    folder: Path
    replace: bool = False


@dataclass
class _Work:
    """An import that was checked as far as can be without reading logits."""

    views: exported.Exported
    recipe: Policy
    digest: str
    notes: list[str] = field(default_factory=list)
    identity: dict[str, Any] = field(default_factory=dict)
    earlier: Store | None = None
    order: np.ndarray | None = None


def import_logits(asked: Import, staging: Path, progress: Progress) -> str:
    """Check logits, and publish a cache of them.

    Its identity has `origin` instead of `teacher`: the digest of the file, and a text. Nothing is published,
    and an earlier cache stays, unless all is well; what was staged of a file that is not is removed.

    Args:
        staging: the folder of staging folders.

    Returns:
        what to say of the cache.

    Raises:
        DataError: the logits are not those of these views, or cannot be kept: all that is wrong is named.
        CacheError: there is another cache, or it cannot be written.
        ParamsError: samples, students and logits do not belong together.
    """
    work = _begin(asked, progress)
    try:
        staging.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(
            f"{staging} cannot be written", error.strerror or str(error), "make it writable"
        ) from None
    scratch = staging / "import.rows"
    lock = Lock(scratch.with_suffix(".lock"), f"an import in {staging}")
    try:
        scratch.unlink(missing_ok=True)  # of a run that was killed
        views, count = asked.params.views.count, len(asked.train.classes)
        keys = asked.train.rows.column("key")
        given = open_logits(asked.file, keys, views, count, scratch)
        try:
            _settle(asked, work, given)
            for line in work.notes:
                progress.note(line)
            given.place(progress)
            _write(asked, work, given, staging, progress)
        finally:
            given.close()
    finally:
        lock.release()
    return _told(asked)


def _begin(asked: Import, progress: Progress) -> _Work:
    """All that can be refused before a logit is looked at."""
    params, train = asked.params, asked.train
    refuse_other_content(asked.folder)
    if asked.text is not None and not 0 < len(asked.text.strip()) <= LONGEST_TEXT:
        raise ParamsError(
            f"--origin has {len(asked.text)} characters",
            f"expected 1 to {LONGEST_TEXT}",
            "say where they come from",
        )
    if asked.text is not None and not plain(asked.text):
        raise ParamsError(
            "--origin has control characters, or is no text", fix="say in one line where they come from"
        )
    views = exported.read(asked.views)
    exported.check(views, train, params, asked.views)
    if views.views.stop < params.views.count:
        raise DataError(
            f"views.count = {params.views.count}, and {asked.views} has views up to {views.views.stop - 1}",
            "no teacher was shown the others",
            f"set views.count to {views.views.stop}, or write the others with --from {views.views.stop}",
        )
    check_k(params.cache, len(train.classes))
    modality = modalities.get(train.modality)
    recipe = modality.policy(params.views.recipe)
    return _Work(
        views, recipe, _digest(asked.file, progress), check_students(params, asked.samples, views.input)
    )


def _digest(file: Path, progress: Progress) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    try:
        require_regular(file)
        progress.start("digest", os.stat(file).st_size, "bytes")
        with file.open("rb") as stream:
            while part := stream.read(_PIECE):
                digest.update(part)
                progress.advance(len(part))
        progress.finish()
    except PermissionError:
        raise AccessError(file) from None
    except (OSError, ValueError) as error:
        what = "is not there" if isinstance(error, FileNotFoundError) else "cannot be read"
        why = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{file} {what}", why, "name the file with the teacher's logits") from None
    return digest.hexdigest()


def _settle(asked: Import, work: _Work, given: Given) -> None:
    """The order of the classes, the identity, and the cache that is there."""
    params, train = asked.params, asked.train
    names, where = given.classes, str(asked.file)
    if asked.classes is not None:
        names, where = read_classes(asked.classes), str(asked.classes)
    if names is None:
        work.notes.append(
            f"note: {asked.file} names no classes: its columns are taken to be in label order, from "
            f"{train.classes[0]} to {train.classes[-1]} (--classes FILE says otherwise)"
        )
    else:
        order = order_of(names, train.classes, where)
        work.order = None if (order == np.arange(len(order))).all() else order
    origin = {"text": asked.text or f"sha256 {work.digest[:16]}", "sha256": work.digest}
    if work.order is not None:  # the same file with its columns called otherwise is another cache
        origin["columns"] = hashlib.sha256(json.dumps(work.order.tolist()).encode()).hexdigest()
    output = {
        "kind": "logits",
        **encodings.described(params.cache),
        "shape": [len(train.classes)],
        "origin": origin,
        "input": work.views.input,
    }
    work.identity = {**of_data(train, params.views), "outputs": {OUTPUT: output}}
    estimate(
        params.cache.store,
        params.views.count,
        len(train),
        params.cache.block_samples,
        array_specs(work.identity, modalities.get(train.modality)),
        train.longest_key(),
        work.identity,
    )
    work.earlier = _earlier(asked, work.identity)


def _earlier(asked: Import, identity: dict[str, Any]) -> Store | None:
    """The cache that is there, if it is this very one.

    Raises:
        CacheError: it is another, and is not to be replaced.
    """
    if not (asked.folder / MANIFEST).exists():
        return None
    again = "name another place (--set cache.path=FOLDER), or give it up (--replace)"
    try:
        earlier = open_store(asked.folder)
    except CacheError as error:
        if not asked.replace:
            error.fix = f"{fetch_again(asked.folder)}, or {again}"
            raise
        return None
    held = earlier.manifest.identity
    if earlier.manifest.id == identity_id(identity):
        return earlier
    if not asked.replace:
        origins = imported(held["outputs"])
        of = ", ".join(
            f"{name} from {origins[name]}" if name in origins else f"{name} of a teacher"
            for name in sorted(held["outputs"])
        )
        raise CacheError(
            f"{asked.folder} holds another cache, {earlier.manifest.id[:16]} ({of})",
            "it is kept unless it is said that it may go",
            again,
        )
    return None


def _write(asked: Import, work: _Work, given: Given, staging: Path, progress: Progress) -> None:
    """Stage block by block, checking each, and publish."""
    params, train = asked.params, asked.train
    modality = modalities.get(train.modality)
    fields, count, faults = tuple(work.recipe.fields()), params.views.count, Faults()
    specs = array_specs(work.identity, modality)
    rows = train.packed_keys(), train.labels()
    with Staging(
        staging, work.identity, specs, *rows, params.cache.block_samples, earlier=work.earlier
    ) as opened:
        todo = divide(opened, count, Ranks(), progress)
        progress.start("import", sum(block.stop - block.start for block in todo), "views")
        for block in todo:
            arrays, measured = _block(work, given, train, block, faults)
            if not faults:
                requests = drawn(
                    work.recipe,
                    params.views.seed,
                    train,
                    [train.rows[row] for row in range(block.start, block.stop)],
                    block.view,
                )
                told = modality.pack([request.parameters for request in requests], fields)
                arrays |= {f"{VIEWS}{name}": values for name, values in told.items()}
                opened.commit(block, arrays, measured)
            progress.advance(block.stop - block.start)
        progress.finish()
        if faults:
            opened.remove()
            faults.refuse(asked.file)
        publish(
            [opened],
            asked.folder,
            params.cache.store,
            count,
            work.views.environment,
            work.views.probes,
            progress,
        )


def _block(
    work: _Work, given: Given, train: Samples, block: Block, faults: Faults
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a block and how far they are from what was given; `faults` gets what cannot be kept."""
    values = given.read(block.view, block.start, block.stop)
    if work.order is not None:
        values = values[:, work.order]

    def names(places: list[int]) -> list[str]:
        return [named(train.rows.text("key", block.start + place), block.view) for place in places]

    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    faults.add("% views have logits that are NaN or infinite", names(bad[:5].tolist()), len(bad))
    output = work.identity["outputs"][OUTPUT]
    codec = encoding_for(output)
    with np.errstate(over="ignore"):
        truth = np.ascontiguousarray(values, dtype=np.float32)
    if len(bad):
        return {}, {}
    try:
        encoded = codec.encode(OUTPUT, truth)
    except UnstorableError as error:
        (name,) = names([error.row])
        largest = float(np.abs(values[error.row]).max())
        kind = f"logits that {output['encoding']} cannot hold ({error.reason}), in % blocks, first"
        faults.add(kind, [f"{largest:.6g} of {name}"])
        return {}, {}
    return encoded, {OUTPUT: measure(output, truth, codec.decode(OUTPUT, truth.shape[1:], encoded))}


def _told(asked: Import) -> str:
    store, count = open_store(asked.folder), asked.params.views.count
    _, size = store.size_on_disk()
    known = store.labels >= 0
    score = accuracy(store.logits(0, OUTPUT)[known], store.labels[known])
    of = "" if known.all() else f", of the {known.sum():,} with a label"
    origin = imported(store.manifest.identity["outputs"])[OUTPUT]
    return (
        f"{asked.folder}: cache {store.manifest.id[:16]}, imported from {origin}: {count} views of "
        f"{len(asked.train)} samples, {size / 2**20:.2f} MiB; accuracy on view 0{of}: {score:.2f}%"
    )
