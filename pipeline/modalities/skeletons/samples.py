"""One clip as a row of the samples table."""

from dataclasses import dataclass
from typing import Any

from stillroom import samples
from stillroom.modalities.skeletons.layouts import LAYOUTS, MOST_JOINTS

MOST = 2**24  # frames, persons, pixels: what no clip has


@dataclass(frozen=True)
class Sample(samples.Sample):
    """One clip: a file [frames, persons, joints, dims + 1], float32, in `.npy`.

    The last channel is how sure the joint is (1 where nobody says); a joint that was not found has NaN for
    its coordinates, and 0 there.

    Attributes:
        key, path, split, label, sha256, group, span: as of every sample.
        frames, persons, joints: T, M and J of its file, each at least 1.
        dims: 2 (pixels, y downwards) or 3 (metres, y upwards).
        layout: the name of its joint layout.
        size: (width, height) of the picture in pixels; (0, 0): nobody knows.
    """

    key: str
    path: str
    split: str
    label: int
    frames: int
    persons: int
    joints: int
    dims: int
    layout: str
    size: tuple[int, int]
    sha256: str
    group: str = ""
    span: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of its file's array."""
        return self.frames, self.persons, self.joints, self.dims + 1

    @classmethod
    def read(cls, entry: dict[str, Any], classes: int) -> "Sample":
        """A row from its fields.

        Raises:
            KeyError, TypeError, ValueError: it is not one that `prepare` writes.
        """
        fields = samples.checked(entry, classes)
        counts = {name: entry[name] for name in ("frames", "persons", "joints", "dims")}
        width, height = entry["size"]
        sound = (
            all(type(count) is int and 0 < count < MOST for count in counts.values()),
            all(type(side) is int and 0 <= side < MOST for side in (width, height)),
            counts["joints"] <= MOST_JOINTS and counts["dims"] in (2, 3),
            isinstance(entry["layout"], str),
            entry["layout"] not in LAYOUTS or len(LAYOUTS[entry["layout"]].joints) == counts["joints"],
        )
        if not all(sound):
            raise samples.unsound(entry["key"])
        return cls(**fields, **counts, layout=entry["layout"], size=(width, height))
