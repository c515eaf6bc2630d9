"""The centre view, the same each time: what evaluation looks at, as a policy."""

from typing import Annotated, ClassVar

from pydantic import Field

from stillroom.modalities.images.fields import Policy, View, centre
from stillroom.modalities.images.samples import Sample


class Centre(Policy):
    """The centred square with `share` of the short side. All its views are equal: one of them is enough."""

    KEEPS: ClassVar[tuple[str, ...]] = ("box",)

    share: Annotated[float, Field(gt=0, le=1)] = 1.0

    def draw(self, seed: int, sample: Sample, view: int) -> View:
        return centre(sample.size, self.share)
