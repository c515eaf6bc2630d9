"""Views drawn from decoded pixels, against the usual loader's transform of the JPEG files."""

import statistics
from io import BytesIO

import torch
from PIL import Image
from timm.data import create_transform

from stillroom.benchmarks.figure import Figure, alternate, ratios, rounded
from stillroom.cache.read.store import Store
from stillroom.modalities.images import MODALITY
from stillroom.samples import Samples

# crop, flip and colour jitter: the same policy in our words and in timm's
JITTER = 0.4
RECIPE = {
    "name": "crop",
    "scale": [0.35, 1.0],
    "flip": 0.5,
    "brightness": JITTER,
    "contrast": JITTER,
    "saturation": JITTER,
}
SIZE = 224


def rendering(samples: Samples, store: Store, repeats: int) -> Figure:
    """Views a second on one core, at 224 pixels.

    Ours: a plane's parameters, which are in memory, and the decoded pixels, as a student's loader has them.
    timm's: `create_transform` in training mode, from the file. Both to uint8 arrays, which a loader stacks.

    Args:
        samples: with pictures; the cache's.
        store: of `RECIPE`.
    """
    reader = MODALITY.reader(samples)
    reader.preload(samples.rows)
    transform = create_transform(
        SIZE,
        is_training=True,
        use_prefetcher=True,
        scale=(0.35, 1.0),
        ratio=(3 / 4, 4 / 3),
        hflip=0.5,
        color_jitter=(JITTER, JITTER, JITTER),
        auto_augment=None,
        interpolation="bicubic",
    )
    parameters = [store.parameters(view) for view in range(store.layout.views)]

    def ours(repeat: int) -> None:
        views = MODALITY.stored(parameters[repeat % len(parameters)], samples)
        for number in range(len(samples)):
            MODALITY.render(reader, views[number], {"size": SIZE})

    def theirs(repeat: int) -> None:
        for row in samples.rows:
            with Image.open(BytesIO(samples.content(row))) as image:
                transform(image.convert("RGB"))

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        mine, usual = alternate(repeats, ours, theirs)
    finally:
        torch.set_num_threads(threads)
    ratio, spread = ratios(usual, mine)
    rates = [len(samples) / statistics.median(seconds) for seconds in (mine, usual)]
    return Figure(
        "views rendered",
        rounded(rates[0]),
        "views/s a core",
        f"timm's transform of the JPEGs: {rounded(rates[1])}",
        rounded(ratio),
        ">= 10",
        spread,
        f"crop, flip and colour jitter to {SIZE} pixels on one core; JPEGs of 500 x 375",
    )
