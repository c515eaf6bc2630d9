"""`stillroom teacher`: fine-tune a CNN, or adopt given weights as they are (epochs: 0)."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from stages.console import (
    DATA,
    TEACHER,
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
@stage
def teacher(params: "Params") -> None:
    """Train the teacher, or adopt it; write artifacts/teacher/."""
    import numpy as np

    from pipeline.device import device, environment, keep_memory
    from pipeline.errors import WeightsError, listing
    from pipeline.evaluation.cost import flops, parameters
    from pipeline.evaluation.forward import centre_logits
    from pipeline.evaluation.metrics import accuracy, summarise
    from pipeline.losses import LOSSES
    from pipeline.models.create import create, data_config, save_weights, weights_digest
    from pipeline.progress import Progress
    from pipeline.samples import Samples
    from pipeline.training.batches import FreshBatches
    from pipeline.training.loop import fit
    from pipeline.views.recipe import make_recipe

    keep_memory()
    config = params.teacher
    samples = Samples.load(DATA, data_root(params))
    train, val, test = samples.of("train"), samples.of("val"), samples.of("test")
    size = params.views.size or data_config(config.arch, config.overrides)["input_size"][-1]
    recipe = make_recipe(params.views.recipe.model_dump())

    with shown() as console, whole_folder(TEACHER) as folder:
        model = create(
            config.arch,
            len(samples.classes),
            config.overrides,
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
        source = FreshBatches(train, recipe, size, config.train.batch_size, config.seed)
        smoothing = config.train.label_smoothing

        with epoch_log(folder) as log:

            def record(epoch: dict[str, Any]) -> None:
                if len(val):
                    logits = centre_logits(
                        model, val, config.train.batch_size, config.train.amp, Progress(), ""
                    )
                    epoch["val_accuracy"] = round(accuracy(logits, np.array(val.labels())), 4)
                log(epoch)

            history = fit(
                model,
                source,
                source.steps,
                lambda logits, batch: LOSSES["ce"](
                    logits, batch.labels.to(logits.device), label_smoothing=smoothing
                ),
                config.train,
                console,
                f"teacher {config.arch}",
                record,
                config.seed,
            )
        logits = centre_logits(model, test, config.train.batch_size, config.train.amp, console, "test split")
        scores = summarise(logits, np.array(test.labels()), samples.classes)
        save_weights(model.net, folder / "model.safetensors")
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
                "recipe": params.views.recipe.model_dump(),
                "epochs": len(history),
                "history": history,
                "per_class_ap": scores.pop("per_class_ap"),
                "environment": environment(),
            },
        )
        write_json(folder / "metrics.json", scores)
        console.note(
            f"teacher {model.arch}: accuracy {scores['accuracy']:.2f}%, mAP {scores['mAP']:.2f}% on test"
        )
