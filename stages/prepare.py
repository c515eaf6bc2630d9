"""`stillroom prepare`: the samples table of a data set."""

from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.artifacts import ARTIFACTS, DATA, STAGING, whole_folder
from stillroom_stages.console import shown
from stillroom_stages.options import about, stage

if TYPE_CHECKING:
    from stillroom.params import Params


@click.command(
    epilog=about(
        "stillroom prepare --set data.name=folder --set data.path=photos", "prepare; source, with --look"
    )
)
@click.option(
    "--look",
    is_flag=True,
    help="Only digest what lies at data.path, and write artifacts/source.json, for DVC to see changes.",
)
@stage
def prepare(params: "Params", look: bool) -> None:
    """Read, draw or download a data set; write artifacts/data/: samples.parquet, and a report on it."""
    from stillroom import modalities

    modality = modalities.of_data_set(params.data.name)
    if look:
        _keep(modality.look(params.data, STAGING / "source.json"))
        return
    with shown() as console, whole_folder(DATA) as folder:
        samples = modality.prepare(params.data, folder, console)
        parts = ", ".join(f"{count} {name}" for name, count in samples.splits().items())
        console.note(
            f"{samples.dataset}: {len(samples)} {modality.SAMPLES} of {len(samples.classes)} classes "
            f"({parts})"
        )


def _keep(content: dict[str, Any]) -> None:
    """Write `artifacts/source.json`, whole or not at all."""
    from stillroom.errors import StillroomError
    from stillroom.files import as_json, whole_file

    file = ARTIFACTS / "source.json"
    try:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        with whole_file(file, durable=False) as stream:
            stream.write(as_json(content))
    except OSError as error:
        raise StillroomError(
            f"{file} cannot be written",
            error.strerror or str(error),
            "free the disk, make the folder writable, or move away what lies in its place",
        ) from None
