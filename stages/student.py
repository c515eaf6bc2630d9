"""`stillroom student`: train one student from the cache, with or without the teacher's logits."""

import hashlib
import json
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import (
    STAGING,
    STUDENTS,
    epoch_log,
    tested,
    whole_folder,
    write_json,
    write_predictions,
)
from stillroom_stages.checks import check_family
from stillroom_stages.console import shown, tell_weights
from stillroom_stages.inputs import cache_to_read, samples_to_read
from stillroom_stages.options import about, some_arms, some_families, stage

if TYPE_CHECKING:
    from stillroom.params import Params
    from stillroom.samples import Samples


@click.command(
    epilog=about("stillroom student --family swin --arm kd --seed 0", "student (dvc repro student@swin-kd-0)")
)
@click.option(
    "--family",
    required=True,
    shell_complete=some_families,
    help="vit, pvt, convit, mvit, swin, twins, or any timm model's name.",
)
@click.option(
    "--arm",
    required=True,
    shell_complete=some_arms,
    help="ce (labels only), kd (labels and cached logits), or another loss.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@stage
def student(params: "Params", family: str, arm: str, seed: int) -> None:
    """Train one student; write artifacts/students/FAMILY-ARM-SEED/. It needs no teacher and no network.

    A stopped run goes on where it was. On several GPUs: torchrun --no-python --nproc-per-node 4 stillroom
    student ...
    """
    from stillroom import losses

    check_family(family, "--family")  # what is wrong or missing is said before torch is loaded
    losses.check(arm, "--arm")
    samples = samples_to_read(params)
    store = cache_to_read(params)

    import numpy as np

    from stillroom.device import device, environment, settle
    from stillroom.distributed import Ranks
    from stillroom.evaluation.cost import flops, latency, parameters
    from stillroom.evaluation.forward import centre_logits
    from stillroom.evaluation.metrics import accuracy, summarise
    from stillroom.modalities.images.models.create import Model, create, save_weights
    from stillroom.modalities.images.models.families import student_arch
    from stillroom.progress import Progress
    from stillroom.provenance.ahead import check_arm, late
    from stillroom.provenance.identity import check_against_cache, ignored, input_of, parts
    from stillroom.provenance.probes import check_probes
    from stillroom.training.batches import Batch, CachedBatches, Cut
    from stillroom.training.checkpoint import Checkpoint
    from stillroom.training.loop import fit
    from stillroom.training.pairing import digests

    settle()
    config = params.student
    chosen = losses.load(arm, config.losses.of(arm))
    train_config = config.train_of(family)
    train, val, test = samples.of("train"), samples.of("val"), samples.of("test")
    check_against_cache(store.manifest, train, params, chosen.outputs)
    size = config.model.image_size or input_of(store.manifest)["size"]
    arch, arguments = student_arch(family, config.model.size, size, config.model.overrides)
    notes = [*check_arm(arm, params, samples, family), *late(train_config, "student.train")]
    name = f"{family}-{arm}-{seed}"

    with Ranks() as ranks, ExitStack() as stack:
        console = stack.enter_context(shown()) if ranks.first else Progress()
        folder = stack.enter_context(whole_folder(STUDENTS / name)) if ranks.first else None
        for line in (*notes, *ignored(store.manifest, params), check_probes(store, train)):
            if line:
                console.note(line)
        model = create(
            arch,
            len(samples.classes),
            arguments,
            size=size,
            weights=config.model.weights_of(family),
            drop_path=train_config.drop_path,
            seed=seed,
        )
        tell_weights(console, model.loaded)
        source = CachedBatches(
            train,
            store,
            size,
            train_config.batch_size,
            seed,
            chosen.outputs,
            chosen.settings.get("temperature", 1.0),
            train_config.view_order,
            Cut(train_config.accumulate, ranks.rank, ranks.world),
        )
        evidence = digests(model.net, source.whole(), train_config.epochs)
        told = {
            "model": config.model.model_dump(),
            "train": train_config.model_dump(),
            "loss": chosen.described(),
        }
        cost = {"params": parameters(model.net), "flops": flops(model.net, size)}
        where = device(ranks.local)
        model.net.to(where)

        def loss(logits: Any, batch: Batch, progress: float) -> Any:
            teacher = None if batch.teacher is None else batch.teacher.to(where, non_blocking=True)
            labels = batch.labels.to(where, non_blocking=True)
            return chosen(logits, labels, teacher, progress, train_config.label_smoothing)

        def logits_of(model: Model, rows: "Samples", shown: Progress, what: str) -> Any:
            return centre_logits(model, rows, train_config.batch_size, train_config.amp, shown, what, ranks)

        def evaluate(model: Model) -> dict[str, Any]:
            found = accuracy(logits_of(model, val, Progress(), ""), np.array(val.labels()))
            return {"val_accuracy": round(found, 4)}

        run = {"name": name, "arch": [arch, arguments], "cache": store.manifest.id, **told, **evidence}
        checkpoint = Checkpoint(STAGING, name, _digest(run))
        title = f"{family} {arm} {seed}"
        validate = evaluate if len(val) else None
        with epoch_log(folder, name) if folder else nullcontext(lambda record: None) as log:
            history = fit(
                model, source, loss, train_config, console, title, log, validate, seed, ranks, checkpoint
            )
        logits = logits_of(model, test, console, "test split")
        if folder is None:
            return
        scores = summarise(logits, np.array(test.labels()), samples.classes)
        save_weights(model.net, folder / "model.safetensors")
        write_predictions(folder, logits, test)
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
                "cache_parts": parts(store.manifest.identity, chosen.outputs),
                "views": store.manifest.layout.views,
                "digests": evidence,
                "test": tested(test),
                **cost,
                "latency_ms": {str(count): latency(model.net, size, count) for count in (1, 32)},
                "config": told,
                "notes": notes,
                "history": history,
                "seconds": round(sum(epoch["seconds"] for epoch in history), 3),
                "per_class_ap": scores.pop("per_class_ap"),
                "environment": environment() | {"processes": str(ranks.world)},
            },
        )
        write_json(folder / "metrics.json", scores)
        told_scores = f"accuracy {scores['accuracy']:.2f}%, mAP {scores['mAP']:.2f}% on test"
        console.note(f"{title}: {told_scores}")
    checkpoint.remove()


def _digest(run: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()
