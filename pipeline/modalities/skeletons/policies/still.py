"""The whole clip, the same each time: what evaluation looks at, as a policy."""

from typing import ClassVar

from stillroom.modalities.skeletons.fields import Policy, View, whole
from stillroom.modalities.skeletons.samples import Sample


class Still(Policy):
    """The whole clip, unchanged. All its views are equal: one of them is enough."""

    KEEPS: ClassVar[tuple[str, ...]] = ("start", "length")

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        return whole(sample)
