"""`stillroom store show`: a picture of a sample's views and of the teacher's outputs for them."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stillroom_stages.artifacts import DATA
from stillroom_stages.inputs import data_root
from stillroom_stages.options import about, stage
from stillroom_stages.store_options import as_json, cache_path

if TYPE_CHECKING:
    from stillroom.params import Params
    from stillroom.samples import Samples


@click.command(epilog=about("stillroom store show applauding_013 --out applauding.png"))
@click.argument("key")
@cache_path
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The PNG file; KEY.png if left out."
)
@click.option("--output", "output", default=None, help="Of which teacher, where the cache has several.")
@stage
@as_json
def show(
    params: "Params", key: str, path: Path | str, out: Path | None, output: str | None, as_json: bool
) -> None:
    """Draw a sample's views and the teacher's answers.

    KEY is the sample's name, as `applauding_013`. The PNG shows where each view was cut, the view as the
    teacher saw it, and its five likeliest classes. It needs the images or clips, and no teacher.
    """
    import numpy as np

    from stillroom import modalities
    from stillroom.cache.format.outputs import imported
    from stillroom.cache.read.backends import open_store
    from stillroom.errors import StillroomError
    from stillroom.evaluation.metrics import softmax
    from stillroom.files import whole_file
    from stillroom.modalities.base import SHEET_CLASSES, SHEET_VIEWS
    from stillroom.provenance.identity import check_against_cache, input_of

    opened = open_store(path)
    outputs = opened.manifest.identity["outputs"]
    output = output or opened.teachers()[0]
    samples = modalities.load_samples(DATA, data_root(params))
    modality, train = modalities.get(samples.modality), samples.in_cache()
    check_against_cache(opened.manifest, train, params, [output])
    row = _row_of(key, opened.keys, samples)
    count = min(SHEET_VIEWS, opened.layout.views)
    requests, logits = [], []
    for view in range(count):
        requests.append(modality.stored(opened.parameters(view), train)[row])
        logits.append(opened.logits(view, output)[row])
    sample, shares = train.rows[row], softmax(np.stack(logits))
    who = imported(outputs).get(output) or outputs[output].get("teacher", {}).get("arch", output)
    sheet = modality.sheet(
        modality.reader(train),
        requests,
        outputs[output].get("input", input_of(opened.manifest)),
        shares,
        train.classes,
        key,
        f"{who}, cache {opened.manifest.id[:16]}, {count} of {opened.layout.views} views",
    )
    target = out or Path(f"{key.replace('/', '-')}.png")
    picture = io.BytesIO()
    sheet.save(picture, "PNG")
    try:
        with whole_file(target, durable=False) as stream:
            stream.write(picture.getvalue())
    except OSError as error:
        raise StillroomError(f"{target} cannot be written", error.strerror or str(error)) from None
    if as_json:
        views = [
            {
                "view": view,
                **modality.describe(requests[view].parameters),
                "mixed_with": partner[0].key if (partner := requests[view].partner) else None,
                "top": [
                    [train.classes[c], float(shares[view][c])]
                    for c in np.argsort(-shares[view])[:SHEET_CLASSES]
                ],
            }
            for view in range(count)
        ]
        facts = {
            "key": key,
            "label": None if sample.label < 0 else train.class_of(sample),
            "file": str(target),
            "views": views,
        }
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(f"{target}: {count} views of {key} ({train.class_of(sample)})")


def _row_of(key: str, keys: list[str], samples: "Samples") -> int:
    """Where a sample stands in the cache.

    Raises:
        ParamsError: it is not in it; names the nearest keys.
    """
    import difflib

    from stillroom.errors import ParamsError

    if key in keys:
        return keys.index(key)
    near = difflib.get_close_matches(key, keys, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"for example {keys[0]}"
    why = f"it holds the {len(keys)} of the train split" + (
        " and without a label" if samples.unlabelled() else ""
    )
    split = next((f"; this one is of {row.split}" for row in samples.rows if row.key == key), "")
    raise ParamsError(f"the cache has no sample {key!r}", why + split, hint)
