"""Images without a label: any under a folder, however deep."""

from pathlib import Path

from stillroom.errors import DataError, listing
from stillroom.modalities.images.decode import SUFFIXES
from stillroom.modalities.images.preparation.labelled import key_of
from stillroom.modalities.images.preparation.scan import Account, Entry
from stillroom.samples import UNLABELLED


def in_folder(root: Path, name: str, account: Account) -> list[Entry]:
    """The images in a folder of a data set and in the folders below, hidden ones aside.

    Args:
        root: the data set's folder.
        name: of the folder with the images.
        account: gets the other files, which are passed over.

    Raises:
        DataError: a folder cannot be listed, or is a link: it can lead back into the data set.
    """
    found: list[Entry] = []
    others: list[str] = []
    links: list[str] = []
    waiting = [root / name]
    while waiting:
        folder = waiting.pop()
        if folder.is_symlink():
            links.append(f"{folder.relative_to(root)} -> {folder.readlink()}")
            continue
        try:
            inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise DataError(f"{folder} cannot be listed", str(error)) from None
        for path in inside:
            if path.is_dir():
                waiting.append(path)
            elif path.suffix.lower() in SUFFIXES:
                found.append(entry(path.relative_to(root).as_posix()))
            else:
                others.append(path.relative_to(root).as_posix())
    if links:
        raise DataError(
            f"{root} has links to folders:\n{listing(sorted(links))}",
            "a linked folder can lead back into the data set",
            "set data.path to the real folder, or link the single files",
        )
    account.pass_over("of no format that is read", others)
    return found


def entry(path: str) -> Entry:
    """The entry of an unlabelled image, by its path from the data set's folder."""
    return Entry(key_of(path), path, UNLABELLED, -1)


def is_inside(path: str) -> bool:
    """Whether a path that a table names can only lie in the data set's folder, and is not hidden."""
    return bool(path) and "\\" not in path and not any(part[:1] in ("", ".") for part in path.split("/"))
