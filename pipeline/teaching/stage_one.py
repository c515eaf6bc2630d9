"""Stage one as a whole: what the parameters ask for, what is there, and the cache that comes of both."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stillroom import modalities
from stillroom.cache.format.estimate import estimate
from stillroom.cache.format.identity import canonical
from stillroom.cache.format.layout import Block
from stillroom.cache.format.manifest import NAME
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.store import Store
from stillroom.cache.write.publish import publish, refuse_other_content
from stillroom.cache.write.staging import Staging
from stillroom.device import about_precision, device, environment
from stillroom.distributed import Ranks
from stillroom.errors import CacheError, fetch_again
from stillroom.evaluation.metrics import accuracy
from stillroom.params import Params
from stillroom.progress import Progress
from stillroom.provenance.ahead import check_students, check_taught
from stillroom.provenance.identity import (
    check_growth,
    input_seen,
    of_data,
    of_outputs,
    other_teacher,
    read_teacher,
    refuse_other_data,
    shares,
)
from stillroom.provenance.probes import check_probes, make_probes
from stillroom.provenance.teacher import Teacher, load_teacher, with_folds
from stillroom.samples import Samples
from stillroom.teaching.generate import array_specs, divide, generate


@dataclass
class Request:
    """A cache that is to be made.

    Attributes:
        params: all of the parameters.
        train: the samples of the cache: of train, and the unlabelled.
        described: by output of `cache.folders`, what its `teacher.json` says.
        identity: of the cache.
        earlier: the cache that it would replace, where something of it is of use.
        notes: messages to show before the work begins.
    """

    params: Params
    train: Samples
    described: dict[str, dict[str, Any]]
    identity: dict[str, Any] = field(default_factory=dict)
    earlier: Store | None = None
    notes: list[str] = field(default_factory=list)
    _teachers: dict[str, Teacher] = field(default_factory=dict)

    def teacher(self, name: str) -> Teacher:
        """The teacher of an output of `cache.folders`, made once.

        Raises:
            WeightsError: its weights are missing, or not those that its `teacher.json` describes.
            CacheError: it was fitted in other folds.
        """
        if name not in self._teachers:
            folder = Path(self.params.cache.folders[name])
            self._teachers[name] = load_teacher(folder, self.described[name], self.train)
        return self._teachers[name]

    def together(self) -> list[tuple[str, dict[str, Any]]]:
        """Which outputs one forward pass gives: a teacher's; but those that the earlier cache holds keep what
        it holds.

        Returns:
            (teacher, identity of a cache of these outputs alone) each.
        """
        held = self.earlier.manifest.identity["outputs"] if self.earlier else {}
        passes = []
        for teacher in self.params.cache.folders:
            wanted = {name: self.identity["outputs"][name] for name in self.params.cache.outputs_of(teacher)}
            old = {
                name: one
                for name, one in wanted.items()
                if name in held and canonical(held[name]) == canonical(one)
            }
            new = {name: one for name, one in wanted.items() if name not in old}
            passes += [(teacher, {**self.identity, "outputs": outputs}) for outputs in (old, new) if outputs]
        return passes


class Engine(Protocol):
    """Computes blocks elsewhere than in this process.

    Attributes:
        devices: names of those that have computed so far.
    """

    devices: set[str]

    def __call__(
        self, request: Request, teacher: str, staging: Staging, todo: list[Block], progress: Progress
    ) -> None:
        """Compute blocks of the outputs of a teacher of `cache.folders`, and commit each.

        Raises:
            StillroomError: they cannot be computed, or not be kept.
        """


def read_teachers(params: Params) -> dict[str, dict[str, Any]]:
    """By output of `cache.folders`, what its `teacher.json` says.

    Raises:
        CacheError: one is not there, or damaged.
    """
    return {name: read_teacher(Path(one) / "teacher.json") for name, one in params.cache.folders.items()}


def ask(
    params: Params,
    described: dict[str, dict[str, Any]],
    samples: Samples,
    folder: Path,
    own: Path,
    replace: bool,
) -> Request:
    """What is to be made; everything that would be refused later is refused here.

    Args:
        described: see `read_teachers`.
        samples: the whole table.
        folder: where the cache is to be.
        own: the folder of the teacher that the section `teacher` describes.
        replace: whether a cache of something else may be given up.

    Raises:
        CacheError: `folder` holds something else.
        ParamsError: parameters, samples and teachers do not belong together.
    """
    for name, one in params.cache.folders.items():
        refuse_other_data(described[name], Path(one), samples)
    refuse_other_content(folder)
    modality = modalities.get(samples.modality)
    modality.check_asked(params.views, [one["input"] for one in described.values()])
    request = Request(params, samples.in_cache(), described)
    request.notes += check_students(params, samples, input_seen(described))
    for name, one in params.cache.folders.items():
        if Path(one) == own:
            request.notes += other_teacher(described[name], params.teacher)
    request.train = with_folds(request.train, described, modality.policy(params.views.recipe))
    outputs = of_outputs(described, params.cache, lambda name: request.teacher(name).models[0])
    check_taught(params, samples, input_seen(described), outputs)
    request.identity = {**of_data(request.train, params.views), "outputs": outputs}
    request.earlier = _earlier(request, folder, replace)
    # what could not be published is refused before it is computed
    estimate(
        params.cache.store,
        params.views.count,
        len(request.train),
        params.cache.block_samples,
        array_specs(request.identity, modality),
        request.train.longest_key(),
        request.identity,
    )
    return request


def _earlier(request: Request, folder: Path, replace: bool) -> Store | None:
    """The cache that is there, as far as something of it is of use."""
    if not (folder / NAME).exists():
        return None
    try:
        earlier = open_store(folder)
    except CacheError as error:
        if not replace:
            error.fix = f"{fetch_again(folder)}, or run `stillroom cache --replace`"
            raise
        return None
    if not replace:
        check_growth(earlier.manifest, request.identity, request.params.views.count)
    if not shares(earlier.manifest, request.identity):
        return None
    try:  # its planes and new ones must be of the same pictures
        warning = check_probes(earlier, request.train)
    except CacheError:
        if not replace:
            raise
        return None
    request.notes += [warning] if warning else []
    return earlier


def make(
    request: Request,
    folder: Path,
    staging: Path,
    ranks: Ranks,
    progress: Progress,
    engine: Engine | None = None,
) -> str:
    """Compute what is missing of a cache, block by block, and publish it.

    Args:
        folder: where the cache is to be.
        staging: the folder of staging folders.
        ranks: the processes that share the work; the first publishes.
        engine: has the blocks computed; None: these processes do.

    Returns:
        what to say of the cache; empty in all processes but the first.

    Raises:
        CacheError: another process writes it, it cannot be written, or a teacher gave what cannot be kept.
    """
    params, train = request.params, request.train
    modality = modalities.get(train.modality)
    keys, labels = train.packed_keys(), train.labels()
    groups = request.together()
    for line in [] if engine else about_precision(params.cache.amp, "cache.amp"):
        progress.note(line)
    with ExitStack() as stack:
        stagings: list[Staging] = []
        for turn in (True, False):  # the first process opens, the others join it
            if ranks.first == turn:
                for _, identity in groups:
                    specs, size = array_specs(identity, modality), params.cache.block_samples
                    opened = Staging(
                        staging, identity, specs, keys, labels, size, ranks.rank, request.earlier
                    )
                    stagings.append(stack.enter_context(opened))
            ranks.wait()
        for (teacher, _), opened in zip(groups, stagings, strict=True):
            todo = divide(opened, params.views.count, ranks, progress)
            if not todo and engine is not None:
                progress.note(f"{teacher}: nothing is left to compute, so the cluster is not asked")
            if todo and engine is not None:
                engine(request, teacher, opened, todo, progress)
            elif todo:
                asked = request.teacher(teacher).to(device(ranks.local))
                recipe, seed = modality.policy(params.views.recipe), params.views.seed
                settings = (params.cache.batch_size, params.cache.amp)
                generate(asked, train, recipe, seed, opened, todo, *settings, progress)
        ranks.wait()
        if not ranks.first:
            return ""
        _publish(request, stagings, folder, progress, engine.devices if engine else set())
    store = open_store(folder)
    count, stored = (
        params.views.count,
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    )
    logits = [name for name in request.identity["outputs"] if name in store.teachers()]
    known = labels >= 0
    scores = [f"{name} {accuracy(store.logits(0, name)[known], labels[known]):.2f}%" for name in logits]
    where = "" if known.all() else f", of the {known.sum():,} with a label"
    return (
        f"cache {store.manifest.id[:16]}: {count} views of {len(train)} samples, "
        f"{stored / 2**20:.2f} MiB, {stored / count / len(train):.1f} bytes a view; "
        f"accuracy on view 0{where}: {', '.join(scores)}"
    )


def _publish(
    request: Request, stagings: list[Staging], folder: Path, progress: Progress, devices: set[str]
) -> None:
    """Put the store in its place; what an earlier one says of where it was made stays.

    Args:
        devices: those that computed it, where that was not this process.
    """
    params, earlier = request.params, request.earlier
    modality = modalities.get(request.train.modality)
    made: dict[str, Any] = environment(modality.environment()) | {"amp": params.cache.amp}
    made |= {"device": ", ".join(sorted(devices))} if devices else {}
    probes = make_probes(request.train, params.views, next(iter(request.described.values()))["input"])
    if earlier is not None:  # what was rendered first is what all is compared with
        probes = earlier.manifest.probes or probes
        before = {name: value for name, value in earlier.manifest.environment.items() if name != "grown"}
        made = before if made == before else {**before, "grown": made}
    publish(stagings, folder, params.cache.store, params.views.count, made, probes, progress)
