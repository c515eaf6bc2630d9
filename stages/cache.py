"""`stillroom cache`: stage one, the teacher's logits on every view, as a store with a manifest."""

from typing import TYPE_CHECKING

import click

from stages.console import CACHE, DATA, STAGING, TEACHER, data_root, shown, stage

if TYPE_CHECKING:
    from pipeline.config import Params


@click.command()
@stage
def cache(params: "Params") -> None:
    """Run the teacher once over all views; write artifacts/cache/. A stopped run goes on."""
    import numpy as np

    from pipeline.cache.backends import open_store
    from pipeline.cache.publish import publish
    from pipeline.cache.staging import Staging
    from pipeline.device import device, environment, keep_memory
    from pipeline.errors import WeightsError
    from pipeline.evaluation.metrics import accuracy
    from pipeline.generation.generate import OUTPUT, array_specs, generate
    from pipeline.generation.identity import make_probes, of_data, of_teacher, read_teacher
    from pipeline.models.create import create, weights_digest
    from pipeline.samples import Samples
    from pipeline.views.recipe import make_recipe

    keep_memory()
    described = read_teacher(TEACHER / "teacher.json")
    train = Samples.load(DATA, data_root(params)).of("train")
    size = described["input"]["size"]
    with shown() as console:
        model = create(
            described["arch"],
            len(described["classes"]),
            described["overrides"],
            size=size,
            weights=str(TEACHER / "model.safetensors"),
        )
        if weights_digest(model.net) != described["digest"]:
            raise WeightsError(
                f"{TEACHER / 'model.safetensors'} does not hold the weights that teacher.json describes",
                f"digest expected {described['digest'][:16]}..., found {weights_digest(model.net)[:16]}...",
                "run `stillroom teacher` again, or put the right weights back",
            )
        model.net.to(device())
        classes = len(train.classes)
        identity = {
            **of_teacher(described),
            **of_data(train, params.views),
            "outputs": {OUTPUT: {"encoding": params.cache.encoding, "shape": [classes]}},
        }
        specs = array_specs(params.cache.encoding, classes)
        keys = [row.key for row in train.rows]
        with Staging(STAGING, identity, specs, keys, train.labels(), params.cache.block_samples) as staging:
            generate(
                model,
                train,
                make_recipe(params.views.recipe.model_dump()),
                params.views.seed,
                staging,
                params.views.count,
                params.cache.encoding,
                params.cache.batch_size,
                params.cache.amp,
                console,
            )
            publish(
                staging,
                CACHE,
                params.cache.store,
                params.views.count,
                environment=environment() | {"amp": params.cache.amp},
                probes=make_probes(train, params.views, size),
                quality={},
                progress=console,
            )
        store = open_store(CACHE)
        agreement = accuracy(store.logits(0), np.array(train.labels()))
        stored = sum(file.stat().st_size for file in CACHE.rglob("*") if file.is_file())
        console.note(
            f"cache {store.manifest.id[:16]}: {params.views.count} views of {len(train)} samples, "
            f"{stored / 2**20:.2f} MiB; the teacher's accuracy on view 0 is {agreement:.2f}%"
        )
