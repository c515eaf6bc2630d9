"""`stillroom cache`: stage one, the teachers' logits on every view, as a store with a manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import CACHE, STAGING, TEACHER
from stillroom_stages.console import shown, tell_locks
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params


@click.command(epilog=about("stillroom cache --set views.count=16", "cache"))
@click.option("--replace", is_flag=True, help="Give up a cache of something else in artifacts/cache.")
@stage
def cache(params: "Params", replace: bool) -> None:
    """Run the teacher once over all views; write artifacts/cache/. A stopped run goes on.

    On several GPUs, or several machines: torchrun --no-python --nproc-per-node 4 stillroom cache
    """
    from contextlib import ExitStack

    from stillroom import modalities
    from stillroom.cache.format.estimate import estimate
    from stillroom.cache.format.manifest import NAME
    from stillroom.cache.read.backends import open_store
    from stillroom.cache.write.publish import publish, refuse_other_content
    from stillroom.cache.write.staging import Staging
    from stillroom.device import device, environment, settle
    from stillroom.distributed import Ranks
    from stillroom.errors import CacheError, fetch_again
    from stillroom.evaluation.metrics import accuracy
    from stillroom.progress import Progress
    from stillroom.provenance.ahead import check_students
    from stillroom.provenance.identity import (
        check_growth,
        input_seen,
        of_data,
        of_output,
        other_teacher,
        read_teacher,
        shares,
    )
    from stillroom.provenance.probes import check_probes, make_probes
    from stillroom.provenance.teacher import load_teacher
    from stillroom.teaching.generate import array_specs, divide, generate

    settle()
    refuse_other_content(CACHE)
    described = {
        name: read_teacher(Path(folder) / "teacher.json") for name, folder in params.cache.teachers.items()
    }
    modality = modalities.of_data_set(params.data.name)
    modality.check_asked(params.views, [one["input"] for one in described.values()])
    samples = samples_to_read(params)
    train = samples.in_splits("train")
    notes = check_students(params, samples, input_seen(described))
    for name, folder in params.cache.teachers.items():
        if Path(folder) == TEACHER:
            notes += other_teacher(described[name], params.teacher)
    data = of_data(train, params.views)
    outputs = {name: of_output(teacher, params.cache) for name, teacher in described.items()}
    identity = {**data, "outputs": outputs}
    earlier = None
    if (CACHE / NAME).exists():
        try:
            earlier = open_store(CACHE)
        except CacheError as error:
            if not replace:
                error.fix = f"{fetch_again(CACHE)}, or run `stillroom cache --replace`"
                raise
    if earlier is not None and not replace:
        check_growth(earlier.manifest, identity, params.views.count)
    if earlier is not None and not shares(earlier.manifest, identity):
        earlier = None  # nothing of it is of use
    told = ""
    if earlier is not None:
        try:
            told = check_probes(earlier, train)  # its planes and new ones must be of the same pictures
        except CacheError:
            if not replace:
                raise
            earlier = None
    keys, labels = [row.key for row in train.rows], train.labels()
    count = params.views.count
    width = max(len(key.encode()) for key in keys)
    # what could not be published is refused before it is computed
    estimate(
        params.cache.store,
        count,
        len(keys),
        params.cache.block_samples,
        array_specs(identity, modality),
        width,
        identity,
    )
    with Ranks() as ranks, ExitStack() as stack:
        console = stack.enter_context(shown()) if ranks.first else Progress()
        if ranks.first:
            tell_locks()
        for line in filter(None, [*notes, told]):
            console.note(line)
        stagings = []
        for turn in (True, False):  # the first process opens, the others join it
            if ranks.first == turn:
                for name, output in outputs.items():
                    single = {**data, "outputs": {name: output}}
                    staging = Staging(
                        STAGING,
                        single,
                        array_specs(single, modality),
                        keys,
                        labels,
                        params.cache.block_samples,
                        ranks.rank,
                        earlier,
                    )
                    stagings.append(stack.enter_context(staging))
            ranks.wait()
        for (name, folder), staging in zip(params.cache.teachers.items(), stagings, strict=True):
            todo = divide(staging, count, ranks, console)
            if todo:
                model = load_teacher(Path(folder), described[name])
                model.net.to(device(ranks.local))
                recipe, seed = modality.policy(params.views.recipe), params.views.seed
                settings = (params.cache.batch_size, params.cache.amp)
                generate(model, train, recipe, seed, staging, todo, *settings, console)
        ranks.wait()
        if not ranks.first:
            return
        first = next(iter(described.values()))
        made: dict[str, Any] = environment(modality.environment()) | {"amp": params.cache.amp}
        probes = make_probes(train, params.views, first["input"])
        if earlier is not None:  # what was rendered first is what all is compared with
            probes = earlier.manifest.probes or probes
            before = {name: value for name, value in earlier.manifest.environment.items() if name != "grown"}
            made = before if made == before else {**before, "grown": made}
        publish(
            stagings,
            CACHE,
            params.cache.store,
            count,
            environment=made,
            probes=probes,
            progress=console,
        )
        store = open_store(CACHE)
        stored = sum(file.stat().st_size for file in CACHE.rglob("*") if file.is_file())
        scores = [f"{name} {accuracy(store.logits(0, name), store.labels):.2f}%" for name in outputs]
        console.note(
            f"cache {store.manifest.id[:16]}: {count} views of {len(train)} samples, "
            f"{stored / 2**20:.2f} MiB, {stored / count / len(train):.1f} bytes a view; "
            f"accuracy on view 0: {', '.join(scores)}"
        )
