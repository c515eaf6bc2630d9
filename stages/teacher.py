"""`stillroom teacher`: fine-tune a CNN, or adopt given weights as they are (epochs: 0)."""

import hashlib
import json
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import (
    STAGING,
    TEACHER,
    epoch_log,
    tested,
    whole_folder,
    write_json,
    write_predictions,
)
from stillroom_stages.console import shown, tell_weights
from stillroom_stages.inputs import samples_to_read
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params
    from stillroom.samples import Samples


@click.command(epilog=about("stillroom teacher --set teacher.arch=convnext_tiny", "teacher"))
@stage
def teacher(params: "Params") -> None:
    """Train the teacher, or adopt it; write artifacts/teacher/. A stopped run goes on where it was."""
    import numpy as np

    from stillroom.device import device, environment, settle
    from stillroom.errors import WeightsError, listing
    from stillroom.evaluation.cost import flops, parameters
    from stillroom.evaluation.forward import centre_logits
    from stillroom.evaluation.metrics import accuracy, summarise
    from stillroom.losses.ce import ce
    from stillroom.modalities.images.models.create import (
        Model,
        create,
        data_config,
        save_weights,
        sized,
        weights_digest,
    )
    from stillroom.modalities.images.policies import make_recipe
    from stillroom.progress import Progress
    from stillroom.provenance.ahead import check_k, check_students, late
    from stillroom.training.batches import Batch, Cut, FreshBatches
    from stillroom.training.checkpoint import Checkpoint
    from stillroom.training.loop import fit

    settle()
    config = params.teacher
    samples = samples_to_read(params)
    train, val, test = samples.of("train"), samples.of("val"), samples.of("test")
    size = params.views.size or data_config(config.arch, config.overrides)["input_size"][-1]
    arguments = sized(config.arch, config.overrides, size)
    check_k(params.cache, len(samples.classes))
    notes = [*late(config.train, "teacher.train"), *check_students(params, samples, size)]
    recipe = make_recipe(params.views.recipe)

    with ExitStack() as stack:
        console = stack.enter_context(shown())
        folder = stack.enter_context(whole_folder(TEACHER))
        for line in notes:
            console.note(line)
        model = create(
            config.arch,
            len(samples.classes),
            arguments,
            size=size,
            weights=config.weights,
            drop_path=config.train.drop_path,
            seed=config.seed,
        )
        tell_weights(console, model.loaded)
        fresh = model.loaded.fresh()
        if config.train.epochs == 0 and fresh:
            raise WeightsError(
                f"{config.arch} cannot be adopted: {model.loaded.source} leaves {len(fresh)} tensors open",
                f"untrained they are random; there are {len(samples.classes)} classes\n{listing(fresh, 6)}",
                "set teacher.train.epochs to 1 or more, or give weights that are complete for these classes",
            )
        model.net.to(device())
        cut = Cut(config.train.accumulate)
        source = FreshBatches(train, recipe, size, config.train.batch_size, config.seed, cut)
        smoothing, batch_size, amp = config.train.label_smoothing, config.train.batch_size, config.train.amp

        def loss(logits: Any, batch: Batch, progress: float) -> Any:
            return ce(logits, batch.labels.to(logits.device, non_blocking=True), label_smoothing=smoothing)

        def evaluate(model: Model) -> dict[str, Any]:
            logits = centre_logits(model, val, batch_size, amp, Progress(), "")
            return {"val_accuracy": round(accuracy(logits, np.array(val.labels())), 4)}

        checkpoint = Checkpoint(STAGING, "teacher", _run(params, train, weights_digest(model.net)))
        with epoch_log(folder, "teacher") as log:
            history = fit(
                model,
                source,
                loss,
                config.train,
                console,
                f"teacher {config.arch}",
                log,
                evaluate if len(val) else None,
                config.seed,
                checkpoint=checkpoint,
            )
        logits = centre_logits(model, test, batch_size, amp, console, "test split")
        scores = summarise(logits, np.array(test.labels()), samples.classes)
        save_weights(model.net, folder / "model.safetensors")
        write_predictions(folder, logits, test)
        write_json(
            folder / "teacher.json",
            {
                "format": "stillroom-teacher/1",
                "arch": model.arch,
                "overrides": model.overrides,
                "classes": list(samples.classes),
                "digest": weights_digest(model.net),
                "input": {"size": model.size, "mean": list(model.mean), "std": list(model.std)},
                "params": parameters(model.net),
                "flops": flops(model.net, model.size),
                "weights": asdict(model.loaded),
                "config": config.model_dump(),
                "recipe": recipe.describe(),
                "epochs": len(history),
                "history": history,
                "test": tested(test),
                "per_class_ap": scores.pop("per_class_ap"),
                "environment": environment(),
            },
        )
        write_json(folder / "metrics.json", scores)
        console.note(
            f"teacher {model.arch}: accuracy {scores['accuracy']:.2f}%, mAP {scores['mAP']:.2f}% on test"
        )
    checkpoint.remove()


def _run(params: "Params", train: "Samples", start: str) -> str:
    """A digest of all that decides the teacher's weights."""
    from stillroom.modalities.images.policies import make_recipe

    told = [params.teacher.model_dump(), params.views.size, make_recipe(params.views.recipe).describe()]
    return hashlib.sha256(json.dumps([told, train.digests(), start], sort_keys=True).encode()).hexdigest()
