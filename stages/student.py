"""`stillroom student`: train one student from the cache, with or without the teacher's logits."""

from typing import TYPE_CHECKING, Any

import click

from stages.console import (
    CACHE,
    DATA,
    STUDENTS,
    data_root,
    epoch_log,
    shown,
    stage,
    tell_weights,
    whole_folder,
    write_json,
)

if TYPE_CHECKING:
    from pipeline.config import Params


@click.command()
@click.option("--family", required=True, help="vit, pvt, convit, mvit, swin or twins.")
@click.option("--arm", required=True, help="ce (labels only) or kd (labels and cached logits).")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@stage
def student(params: "Params", family: str, arm: str, seed: int) -> None:
    """Train one student; write artifacts/students/FAMILY-ARM-SEED/. It needs no teacher and no network."""
    import difflib

    import numpy as np

    from pipeline.cache.backends import open_store
    from pipeline.device import device, environment, keep_memory
    from pipeline.errors import ParamsError
    from pipeline.evaluation.cost import flops, parameters
    from pipeline.evaluation.forward import centre_logits
    from pipeline.evaluation.metrics import accuracy, summarise
    from pipeline.generation.identity import check_against_cache, ignored, input_of
    from pipeline.generation.probes import check_probes
    from pipeline.losses import LOSSES
    from pipeline.models.create import create, save_weights
    from pipeline.models.families import FAMILIES, student_arch
    from pipeline.progress import Progress
    from pipeline.samples import Samples
    from pipeline.training.batches import CachedBatches
    from pipeline.training.loop import fit
    from pipeline.training.pairing import digests

    for what, name, known in (("family", family, list(FAMILIES)), ("arm", arm, list(LOSSES))):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise ParamsError(f"unknown {what} {name!r}", fix=f"{hint}valid: {', '.join(known)}")
    keep_memory()
    config = params.student
    train_config = config.train_of(family)
    samples = Samples.load(DATA, data_root(params))
    train, val, test = samples.of("train"), samples.of("val"), samples.of("test")
    store = open_store(CACHE)
    settings = getattr(config.losses, arm).model_dump()
    outputs = settings.pop("outputs", [])
    check_against_cache(store.manifest, train, params, outputs)
    size = config.model.image_size or input_of(store.manifest)["size"]
    arch, arguments = student_arch(family, config.model.size, size)
    arguments |= config.model.overrides
    weights = config.model.weights_of(family)
    target = STUDENTS / f"{family}-{arm}-{seed}"

    with shown() as console, whole_folder(target) as folder:
        for line in (*ignored(store.manifest, params), check_probes(store, train)):
            if line:
                console.note(line)
        model = create(
            arch,
            len(samples.classes),
            arguments,
            size=size,
            weights=weights,
            drop_path=train_config.drop_path,
            seed=seed,
        )
        tell_weights(console, model.loaded)
        source = CachedBatches(
            train, store, size, train_config.batch_size, seed, outputs, settings.get("temperature", 1.0)
        )
        evidence = digests(model.net, source, train_config.epochs)
        cost = {"params": parameters(model.net), "flops": flops(model.net, size)}
        where = device()
        model.net.to(where)
        smoothing = train_config.label_smoothing

        def loss(logits: Any, batch: Any) -> Any:
            soft = None if batch.teacher is None else batch.teacher.to(where)
            return LOSSES[arm](logits, batch.labels.to(where), soft, label_smoothing=smoothing, **settings)

        with epoch_log(folder) as log:

            def record(epoch: dict[str, Any]) -> None:
                if len(val):
                    logits = centre_logits(
                        model, val, train_config.batch_size, train_config.amp, Progress(), ""
                    )
                    epoch["val_accuracy"] = round(accuracy(logits, np.array(val.labels())), 4)
                log(epoch)

            history = fit(
                model,
                source,
                source.steps,
                loss,
                train_config,
                console,
                f"{family} {arm} {seed}",
                record,
                seed,
            )
        logits = centre_logits(model, test, train_config.batch_size, train_config.amp, console, "test split")
        scores = summarise(logits, np.array(test.labels()), samples.classes)
        save_weights(model.net, folder / "model.safetensors")
        write_json(
            folder / "student.json",
            {
                "format": "stillroom-student/1",
                "family": family,
                "arm": arm,
                "seed": seed,
                "arch": arch,
                "overrides": arguments,
                "classes": list(samples.classes),
                "input": {"size": size, "mean": list(model.mean), "std": list(model.std)},
                "cache": store.manifest.id,
                "views": store.manifest.layout.views,
                "digests": evidence,
                **cost,
                "config": {
                    "model": config.model.model_dump(),
                    "train": train_config.model_dump(),
                    "loss": settings | ({"outputs": outputs} if outputs else {}),
                },
                "history": history,
                "seconds": round(sum(epoch["seconds"] for epoch in history), 3),
                "per_class_ap": scores.pop("per_class_ap"),
                "environment": environment(),
            },
        )
        write_json(folder / "metrics.json", scores)
        console.note(
            f"{family} {arm} {seed}: accuracy {scores['accuracy']:.2f}%, mAP {scores['mAP']:.2f}% on test"
        )
