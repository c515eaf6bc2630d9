"""Some joints lost for the whole clip: what is behind something, or outside the picture."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from stillroom.errors import ParamsError
from stillroom.modalities.base import Spec
from stillroom.modalities.skeletons.corrupted import Corruption, without
from stillroom.modalities.skeletons.layouts import MOST_JOINTS, Layout, read


class JointLoss(Corruption):
    """`joints` joints, drawn for the clip, are nowhere: in no frame, and of no person."""

    joints: Annotated[int, Field(ge=0, lt=MOST_JOINTS)]

    def check(self, spec: Spec) -> None:
        self._check(len(read(spec["layout"]).joints))

    def _check(self, count: int) -> None:
        if self.joints >= count:
            raise ParamsError(
                f"student.corruption.joints = {self.joints}: a skeleton has {count} joints",
                fix=f"take {count - 1} at most",
            )

    def apply(self, content: np.ndarray, drawn: Any, layout: Layout | None = None) -> np.ndarray:
        """See `Corruption`.

        Raises:
            ParamsError: there are not so many joints.
        """
        if not self.joints:
            return content
        count = content.shape[2]
        self._check(count)
        lost = np.zeros(count, bool)
        lost[np.argsort(drawn.uniforms(count), kind="stable")[: self.joints]] = True
        return without(content, lost)
