"""Any images of your own: one folder a class, split by folders or by a table.

    path/train/CLASS/IMAGE and path/test/CLASS/IMAGE

or

    path/CLASS/IMAGE and path/split.csv, with the columns file (as CLASS/IMAGE) and split (train or test)
"""

import csv
from pathlib import Path

from pipeline.datasets.scan import SUFFIXES, Entry, require_distinct, require_every_class, scan
from pipeline.errors import DataError, listing
from pipeline.progress import Progress
from pipeline.samples import Samples

SPLITS = ("train", "test")
NO_VAL = "a validation slice is drawn from train, with data.val_fraction"


def read(root: Path, *, progress: Progress) -> Samples:
    """Read a folder of images, in one of the two layouts of this module.

    Images end in .jpg, .jpeg, .png, .bmp or .webp, in any case. Hidden files and folders are skipped;
    `progress` is told of other files that are passed over. A key is the path from `root` without its suffix
    (`train/cat/007`), and the class order is the sorted order of the class names.

    Links: a link to a file counts as that file, wherever it leads, so that a subset can be made of links (its
    bytes are digested like any other's). A link to a folder is refused: it can lead back into the data set
    and put one image into two classes or splits under different names.

    Args:
        root: the folder.
        progress: told of the scan.

    Raises:
        DataError: neither layout or both, a class that is not in both splits, two files with one key, a link
            to a folder, folders inside a class folder, a table that cannot be used, or files that are missing
            or unreadable; all of a kind are named at once.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", fix="set data.path to the folder of the images")
    table = root / "split.csv"
    folders = [name for name in SPLITS if (root / name).is_dir()]
    if table.is_file() and folders:
        raise DataError(
            f"{root} has both split.csv and the folder {' and '.join(folders)}: the split is told twice",
            fix="remove or rename one of them",
        )
    if table.is_file():
        entries, classes = _by_table(root, table, progress)
    elif len(folders) == len(SPLITS):
        entries, classes = _by_folders(root, progress)
    else:
        raise DataError(
            f"{root} has no split: expected split.csv, or the folders train and test; found "
            + (f"only {folders[0]}" if folders else "neither"),
            fix=f"make {root}/train/CLASS/ and {root}/test/CLASS/, or {table} with the columns file,split",
        )
    _require_plain_names(root, entries)
    require_distinct(entries)
    require_every_class(
        entries, classes, "add images of these classes, or remove the classes from the other split"
    )
    return Samples("folder", classes, scan(entries, root, progress), root)


def _by_folders(root: Path, progress: Progress) -> tuple[list[Entry], tuple[str, ...]]:
    passed_over = [path.name for path in _listed(root) if path.name not in SPLITS]
    if "val" in passed_over:
        raise DataError(
            f"{root / 'val'}: unknown split 'val'", NO_VAL, "move its images to train, or the folder away"
        )
    found = []  # (split, class, path)
    for split in SPLITS:
        _refuse_links(root, [root / split])
        inside = _listed(root / split)
        passed_over += [f"{split}/{path.name}" for path in inside if not path.is_dir()]
        files, others = _class_files(root, [path for path in inside if path.is_dir()])
        found += [(split, file.parent.name, file.relative_to(root).as_posix()) for file in files]
        passed_over += others
    _tell(passed_over, "no image in a class folder", progress)
    classes = tuple(sorted({name for split in SPLITS for name in _folder_names(root / split)}))
    labels = {name: label for label, name in enumerate(classes)}
    return [Entry(_key(path), path, split, labels[name]) for split, name, path in found], classes


def _by_table(root: Path, table: Path, progress: Progress) -> tuple[list[Entry], tuple[str, ...]]:
    found = []  # (split, class, path)
    faults = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as source:
            reader = csv.DictReader(source)
            header = reader.fieldnames or []
            if not {"file", "split"} <= set(header):
                raise DataError(
                    f"{table} has the columns {', '.join(header) or '(none)'}; expected file,split",
                    fix="make file,split its first line, with commas between",
                )
            for row in reader:
                path, split = row["file"] or "", row["split"] or ""
                parts = path.split("/")
                if len(parts) != 2 or not all(parts) or parts[0].startswith(".") or "\\" in path:
                    faults.append(f"line {reader.line_num}: {path!r} is not of the form CLASS/IMAGE")
                elif Path(path).suffix.lower() not in SUFFIXES:
                    faults.append(f"line {reader.line_num}: {path!r} does not end in {', '.join(SUFFIXES)}")
                elif split not in SPLITS:
                    hint = f" ({NO_VAL})" if split == "val" else ""
                    faults.append(
                        f"line {reader.line_num}: unknown split {split!r}, expected train or test{hint}"
                    )
                else:
                    found.append((split, parts[0], path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read", str(error), "save it as CSV in UTF-8") from None
    if faults:
        raise DataError(f"{table} has lines that cannot be used:\n{listing(faults)}", fix="mend these lines")
    if not found:
        raise DataError(
            f"{table} names no image", fix="give every image a line: CLASS/IMAGE,train or CLASS/IMAGE,test"
        )
    classes = tuple(sorted({name for _, name, _ in found}))
    _refuse_links(root, [root / name for name in classes])
    labels = {name: label for label, name in enumerate(classes)}
    named = {path for _, _, path in found}
    files, _ = _class_files(root, [path for path in _listed(root) if path.is_dir()])
    unnamed = {file.relative_to(root).as_posix() for file in files} - named
    _tell(sorted(unnamed), f"not in {table.name}", progress)
    return [Entry(_key(path), path, split, labels[name]) for split, name, path in found], classes


def _class_files(root: Path, folders: list[Path]) -> tuple[list[Path], list[str]]:
    """The images of class folders, and the names of other files there; folders inside are refused."""
    _refuse_links(root, folders)
    images: list[Path] = []
    others: list[str] = []
    nested: list[str] = []
    for folder in folders:
        for path in _listed(folder):
            name = path.relative_to(root).as_posix()
            if path.is_dir():
                nested.append(f"{name}/")
            elif path.suffix.lower() in SUFFIXES:
                images.append(path)
            else:
                others.append(name)
    if nested:
        raise DataError(
            f"{root} has folders inside class folders:\n{listing(nested)}",
            "a class is one folder of images, and images further down would be lost",
            "move their images up, or the folders away",
        )
    return images, others


def _folder_names(folder: Path) -> list[str]:
    return [path.name for path in _listed(folder) if path.is_dir()]


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, sorted by name."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed", str(error)) from None


def _refuse_links(root: Path, folders: list[Path]) -> None:
    links = [f"{path.relative_to(root)} -> {path.readlink()}" for path in folders if path.is_symlink()]
    if links:
        raise DataError(
            f"{root} has links to folders:\n{listing(links)}",
            "a linked folder can put one image into two classes or splits",
            "set data.path to the real folder, or link the single files",
        )


def _require_plain_names(root: Path, entries: list[Entry]) -> None:
    """Digests join keys by line, in UTF-8: a line break or other bytes would make them ambiguous."""
    odd = [ascii(entry.path) for entry in entries if not entry.path.isprintable()]
    if odd:
        raise DataError(
            f"{root} has file names with control characters or not in UTF-8:\n{listing(odd)}",
            fix="rename them",
        )


def _key(path: str) -> str:
    return path.removesuffix(Path(path).suffix)


def _tell(names: list[str], why: str, progress: Progress) -> None:
    if names:
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        progress.note(f"passed over, {why}: {', '.join(names[:3])}{more}")
