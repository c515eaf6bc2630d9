"""`stillroom export`: a finished model as ONNX, checked against the one that it was made from."""

from pathlib import Path

import click

from stillroom_stages.artifacts import STUDENTS
from stillroom_stages.inputs import chosen_model
from stillroom_stages.options import about, trusting


@click.command(epilog=about("stillroom export --student artifacts/students/vit-kd-0 --to vit.onnx"))
@click.option(
    "--student",
    type=click.Path(path_type=Path, readable=False),
    help=f"Its folder; default: the only one in {STUDENTS}.",
)
@trusting
@click.option("--to", "target", type=click.Path(path_type=Path), help="The file; default: model.onnx here.")
def export(student: Path | None, target: Path | None) -> None:
    """Write a model as ONNX.

    Input of images: `pixels`, float32 [N, 3, S, S], normalised; of clips: `skeletons`, float32 [N, persons,
    frames, joints, channels]. Output `logits`: float32 [N, C]. The file's metadata hold what the input is,
    and the class names. It needs `pip install 'stillroom[onnx]'`.
    """
    from stillroom import modalities
    from stillroom.errors import StillroomError
    from stillroom.modalities.onnx import BOUND, to_onnx

    folder = chosen_model(student)
    modality = modalities.of_model(folder)
    finished = modality.load(folder)
    model = finished.model
    target = target or Path("model.onnx")
    try:
        apart = to_onnx(model, finished.classes, target, modality.INPUTS)
        size = target.stat().st_size
    except OSError as error:  # no room, no permission
        raise StillroomError(f"{target} cannot be written", error.strerror or str(error)) from None
    click.echo(
        f"{target}: {model.arch}, {size / 1e6:.1f} MB; its logits are within {apart:.1e} of the model's "
        f"(bound {BOUND:g})"
    )
