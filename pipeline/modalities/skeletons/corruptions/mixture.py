"""Several corruptions: one of them for each view, or all one after the other."""

from functools import cached_property
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator

from stillroom import draw
from stillroom.errors import ParamsError
from stillroom.modalities import base, named
from stillroom.modalities.skeletons.corrupted import Corruption
from stillroom.modalities.skeletons.layouts import Layout
from stillroom.params import Plain

PACKAGE = __name__.rpartition(".")[0]


class Mixture(Corruption):
    """`of` lists corruptions: `[{name: joint_loss, joints: 4}, {name: jitter, size: 0.1}]`. Each view gets
    one of them, all alike likely; with `together` all of them, in their order.
    """

    of: Annotated[list[Plain], Field(min_length=1, max_length=32)]
    together: bool = False

    @field_validator("of")
    @classmethod
    def _sound(cls, of: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for place, one in enumerate(of):
            shared = [key for key in base.Corruption.model_fields if key in one]
            if shared:
                raise ValueError(f"its {shared[0]} belongs to the mixture, not to one of its parts")
            try:
                _made(place, one)
            except ParamsError as error:
                raise ValueError(f"{error}") from None
        return of

    @cached_property
    def parts(self) -> list[Corruption]:
        """What it is made of."""
        return [_made(place, one) for place, one in enumerate(self.of)]

    def check(self, spec: base.Spec) -> None:
        for part in self.parts:
            part.check(spec)

    def draw(self, seed: int, sample: Any, number: int) -> tuple[tuple[int, Any], ...]:
        """The parts that a view gets, each with what it drew; two of one kind draw apart."""
        chosen = range(len(self.parts))
        if not self.together:
            place = int(base.uniforms(seed, "mixture", sample, number, 1)[0] * len(chosen))
            chosen = range(place, place + 1)
        return tuple((one, self.parts[one].draw(_seed(seed, one), sample, number)) for one in chosen)

    def apply(self, content: np.ndarray, drawn: Any, layout: Layout | None = None) -> np.ndarray:
        for place, one in drawn:
            content = self.parts[place].apply(content, one, layout)
        return content


def _made(place: int, config: dict[str, Any]) -> Corruption:
    key = ("student", "corruption", "of", str(place))
    return named.made(PACKAGE, Corruption, config, "a part", key)  # type: ignore[arg-type]


def _seed(seed: int, place: int) -> int:
    """Of a part's own draws, in [0, 2^63)."""
    return int(draw.words(seed, "corruption mixture", place, 1)[0]) >> 1
