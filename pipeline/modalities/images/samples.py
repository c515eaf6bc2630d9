"""One image as a row of the samples table."""

from dataclasses import dataclass
from typing import Any

from stillroom import samples


@dataclass(frozen=True)
class Sample(samples.Sample):
    """One image.

    Attributes:
        key, path, split, label, sha256, group, span: as of every sample.
        box: the annotated person, (xmin, ymin, xmax, ymax) in pixels of the image, or None.
        size: (width, height) in pixels, EXIF orientation applied.
    """

    key: str
    path: str
    split: str
    label: int
    box: tuple[int, int, int, int] | None
    size: tuple[int, int]
    sha256: str
    group: str = ""
    span: tuple[int, int] | None = None

    @classmethod
    def read(cls, entry: dict[str, Any], classes: int) -> "Sample":
        """A row from its fields.

        Raises:
            KeyError, TypeError, ValueError: it is not one that `prepare` writes.
        """
        fields, box = samples.checked(entry, classes), entry["box"]
        width, height = entry["size"]
        sound = (
            all(type(side) is int and 0 < side < 2**31 for side in (width, height)),
            box is None or (len(box) == 4 and all(type(edge) is int for edge in box)),
        )
        if not all(sound):
            raise samples.unsound(entry["key"])
        return cls(**fields, box=tuple(box) if box else None, size=(width, height))
