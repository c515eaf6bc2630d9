"""Any images of your own: one folder a class, split by folders or by a table; or classes in `metadata.csv`.

    path/train/CLASS/IMAGE and path/test/CLASS/IMAGE, and path/val/CLASS/IMAGE if there is one

or

    path/CLASS/IMAGE and path/split.csv, with the columns file (as CLASS/IMAGE) and split (train, val or test)

or, as Hugging Face's ImageFolder has it,

    path/train/metadata.csv and path/test/metadata.csv, with the columns file_name (from there) and label; or
    path/metadata.csv, with the split in a column or in the first folder of file_name; .jsonl and .parquet too

Images without a label: any under path/unlabelled/, and files that the table gives the split unlabelled.
"""

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from stillroom.errors import DataError, ParamsError, listing
from stillroom.modalities.entries import (
    MEANINGS,
    WITHOUT_LABELS,
    composed,
    leave_out,
    one_form,
    plain,
    require_distinct,
    require_every_class,
    require_two_classes,
)
from stillroom.modalities.images.decode import SUFFIXES
from stillroom.modalities.images.preparation import labelled, unlabelled
from stillroom.modalities.images.preparation.scan import Account, Entry, scan
from stillroom.modalities.images.settings import MISSING, Data
from stillroom.progress import Progress
from stillroom.samples import UNLABELLED, Samples

TAKES = ("skip", "split_file", "splits", "classes", "columns", "allow_missing_classes")  # of data's keys
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
AMBIGUOUS = ("holdout",)  # some mean validation by it, some the test
LAYOUT = "expected train/CLASS/IMAGE and test/CLASS/IMAGE, or CLASS/IMAGE and a split.csv"
UNREAD = "of no format that is read"


@dataclass(frozen=True)
class Options:
    """What `data` says of a folder.

    Attributes:
        splits: what each name of a folder or in the table means; where there is any, no other name counts.
        split_file: the table, where it does not lie in the folder.
        skip: a list of images to leave out (`entries.leave_out`).
        accept_unread: whether a class may be without most of its files, because they are of no format that is
            read.
        classes: a list of the classes in label order.
        columns: which column of a metadata file says what, where it has no usual name.
        allow_missing: whether a class may be without an image in train, or in test.
    """

    splits: dict[str, str] = field(default_factory=dict)
    split_file: Path | None = None
    skip: Path | None = None
    accept_unread: bool = False
    classes: Path | None = None
    columns: dict[str, str] = field(default_factory=dict)
    allow_missing: bool = False

    def meaning(self, name: str) -> str | None:
        """The split that a name means."""
        return self.splits.get(name) if self.splits else (MEANINGS | WITHOUT_LABELS).get(name.casefold())


def read(
    root: Path, *, progress: Progress, options: Options = Options(), account: Account | None = None
) -> Samples:
    """Read a folder of images, in one of the layouts of this module.

    Where class folders and a metadata file both tell the classes, they must tell the same.

    An image is known by its suffix (`decode.SUFFIXES`), in any case. Hidden files and folders are skipped;
    `account` gets the other files, which are passed over. A key is the path from `root`
    without its suffix (`train/cat/007`), and the class order is the sorted order of the class names. A class
    whose name is written with composed accents in one place and with combining ones in another is one class.

    Links: a link to a file counts as that file, wherever it leads, so that a subset can be made of links (its
    bytes are digested like any other's). A link to a folder is refused: it can lead back into the data set
    and put one image into two classes or splits under different names.

    Args:
        root: the folder.
        progress: gets the steps of the scan.
        options: see `Options`.
        account: gets the formats, and what is not read.

    Raises:
        DataError: neither layout or both, no image, fewer than two classes, a class that is not in both train
            and test or that loses most of its files, two files with one key, a link to a folder, folders
            inside a class folder, a table or a skip list that cannot be used, or files that are missing or
            unreadable; all of a kind are named at once.
        ParamsError: a folder's name may mean two splits, or two folders one.
    """
    account = Account() if account is None else account
    if not root.is_dir():
        raise DataError(f"{root} is not a folder", fix="set data.path to the folder of the images")
    table = options.split_file or root / "split.csv"
    if options.split_file and not options.split_file.is_file():
        raise DataError(
            f"{table}, which data.split_file names, is not there", fix="set data.split_file to where it is"
        )
    found = None
    if options.split_file is None and not table.is_file():
        found = _by_metadata(root, options)
        if found is None:
            entries, classes = _by_folders(root, _split_folders(root, options), options, account)
        else:
            entries, classes = found.entries + _beside(root, found, options, account), found.classes
    else:
        there = {} if options.split_file else _split_folders(root, options)
        folders = [name for name, split in there.items() if split != UNLABELLED]
        if folders:
            raise DataError(
                f"{root} has both split.csv and the folder {' and '.join(sorted(folders))}: "
                "the split is told twice",
                fix="remove or rename one of them",
            )
        entries, classes = _by_table(root, table, options, account)
    if options.columns and found is None:
        raise ParamsError(
            f"data.columns is given, and {root} has no metadata file whose columns tell the classes",
            fix="remove data.columns, or set data.name to table and data.table to the file",
        )
    entries = leave_out(entries, options.skip, root, account)
    groups = None
    if found is not None:
        groups = labelled.groups_of(found, entries)
        entries = labelled.require_there(found, entries, root)
        _pass_over_unlisted(root, entries, account)
    _require_plain_names(root, entries)
    require_two_classes(classes, root)
    require_distinct(entries)
    require_every_class(entries, classes, MISSING, allowed=options.allow_missing)
    rows = scan(entries, root, progress, account)
    return Samples("folder", classes, rows if groups is None else rows.with_texts("group", groups), root)


def load(data: Data, folder: Path, progress: Progress, account: Account) -> Samples:
    """The images at `data.path`; see `datasets.load`.

    Raises:
        ParamsError: there is no `data.path`.
    """
    if data.path is None:
        raise ParamsError(
            "data.name = 'folder' needs data.path, the folder of the images",
            fix="for example --set data.path=my_images",
        )
    options = Options(
        splits=dict(data.splits),
        split_file=Path(data.split_file) if data.split_file else None,
        skip=Path(data.skip) if data.skip else None,
        accept_unread=data.unread == "accept",
        classes=Path(data.classes) if data.classes else None,
        columns=dict(data.columns),
        allow_missing=data.allow_missing_classes,
    )
    samples = read(Path(data.path), progress=progress, options=options, account=account)
    if data.groups and any(samples.rows.texts("group")):
        raise ParamsError(
            "data.groups names groups, and a column of the metadata file does too",
            fix="remove data.groups, or take the column out",
        )
    return samples


def _split_folders(root: Path, options: Options) -> dict[str, str]:
    """The folders of `root` that are a split, and which."""
    here = [path.name for path in _listed(root) if path.is_dir()]
    lacking = [name for name in options.splits if name not in here]
    if lacking:
        raise ParamsError(
            f"data.splits names {' and '.join(lacking)}, and {root} has no such folder",
            f"it has {', '.join(here) or 'none'}",
            "name the folders of the splits as they are written there",
        )
    splits = {name: split for name in here if (split := options.meaning(name)) is not None}
    unsure = [name for name in here if name.casefold() in AMBIGUOUS and not options.splits]
    if splits and unsure:
        named = ", ".join(f"{name}: {split}" for name, split in splits.items())
        raise ParamsError(
            f"{root / unsure[0]}: it may mean the validation split or the test split",
            fix=f"say which: --set 'data.splits={{{named}, {unsure[0]}: test}}', or leave it out there",
        )
    for split in splits.values():
        twice = [name for name in splits if splits[name] == split]
        if len(twice) > 1:
            raise ParamsError(
                f"{root} has the folders {' and '.join(twice)}, and both mean {split}",
                fix=f"say which folders count: --set 'data.splits={{{twice[0]}: {split}, ...}}'",
            )
    return splits


def _by_folders(
    root: Path, folders: dict[str, str], options: Options, account: Account
) -> tuple[list[Entry], tuple[str, ...]]:
    missing = [split for split in ("train", "test") if split not in folders.values()]
    if missing and any(path.suffix.lower() == ".tar" for path in (*_listed(root), *_inside(root, folders))):
        raise DataError(
            f"{root} has tar files, and data.name = 'folder' reads folders of images",
            fix="for tar shards in WebDataset's layout: --set data.name=shards",
        )
    if missing:
        raise _no_split(root, folders, missing)
    account.pass_over(
        "neither a split nor in one", [_counted(path) for path in _listed(root) if path.name not in folders]
    )
    rows = []  # (split, class, path)
    unread: dict[str, list[Path]] = defaultdict(list)
    names = []
    without: list[Entry] = []
    for name, split in folders.items():
        if split == UNLABELLED:
            without += unlabelled.in_folder(root, name, account)
            continue
        _refuse_links(root, [root / name])
        inside = _listed(root / name)
        loose = [path.relative_to(root).as_posix() for path in inside if not path.is_dir()]
        classes = [path for path in inside if path.is_dir()]
        if not classes and any(_is_image(Path(path)) for path in loose):
            raise DataError(
                f"{root / name} has images and no class folder:\n{listing(loose, 3)}",
                "an image's class is the folder that it lies in",
                f"make a folder for each class: {root / name}/CLASS/IMAGE",
            )
        account.pass_over("in no class folder", loose)
        images, others = _class_files(root, classes)
        rows += [(split, file.parent.name, file.relative_to(root).as_posix()) for file in images]
        names += [path.name for path in classes]
        for file in others:
            unread[composed(file.parent.name)].append(file)
    _account_unread(root, unread, Counter(composed(name) for _, name, _ in rows), options, account)
    entries, named = _entries(rows, one_form(names), root, options)
    return entries + without, named


def _by_metadata(root: Path, options: Options) -> labelled.Found | None:
    """What metadata files tell; None: there is none, or class folders tell the same."""
    means = {path.name: options.meaning(path.name) for path in _listed(root) if path.is_dir()}
    means = {name: split for name, split in means.items() if split is not None}
    there = [root / name for name in METADATA if (root / name).is_file()]
    there += [root / name / one for name in means for one in METADATA if (root / name / one).is_file()]
    if not there:
        return None
    classes = {path.name for name in means for path in _listed(root / name) if path.is_dir()}
    if len(classes) < 2 or not {"train", "test"} <= set(means.values()):
        return _gathered(root, there, options)
    try:  # class folders are enough, and a file beside them may be about something else
        found = _gathered(root, there, options)
    except DataError:
        return None
    _require_agreement(root, found)
    more = options.columns or any(found.groups) or any(entry.box for entry in found.entries)
    return found if more else None


def _gathered(root: Path, there: list[Path], options: Options) -> labelled.Found:
    """The images that metadata files name.

    Args:
        there: all of them.
    """
    tables = [labelled.Table(file, options.columns) for file in there]
    telling = [table for table in tables if table.has("label") and table.has("file")]
    if not telling:
        raise tables[0].lacks("label" if tables[0].has("file") else "file")
    places = [table.file.parent for table in telling]
    if len(places) > len(set(places)) or (root in places and len(places) > 1):
        several = ", ".join(table.file.relative_to(root).as_posix() for table in telling)
        raise DataError(
            f"{root} has several files that tell the classes: {several}",
            fix="keep one, or one in each of the splits' folders",
        )
    # where a column tells the split, data.splits is about its words
    folders = {} if root in places and telling[0].has("split") else _split_folders(root, options)
    without = [name for name, split in folders.items() if split != UNLABELLED and root / name not in places]
    if root not in places and without:
        raise DataError(
            f"{root} has {telling[0].file.relative_to(root)}, and none in {' and '.join(without)}",
            fix="give each of the splits' folders one, or write one for all of them at the top",
        )
    known = ", ".join(options.splits or ("train", "val", "test"))
    given = labelled.class_list(options.classes) if options.classes else None
    gathered = labelled.Gathered(root, options.meaning, known, given)
    for table in telling:
        folder = table.file.parent.relative_to(root).as_posix()
        gathered.add(table, "" if folder == "." else folder, folders.get(folder))
    return gathered.found()


def _beside(root: Path, found: labelled.Found, options: Options, account: Account) -> list[Entry]:
    """The images of folders for unlabelled ones that metadata files do not name."""
    listed = {entry.path for entry in found.entries}
    folders = [one.name for one in _listed(root) if one.is_dir() and options.meaning(one.name) == UNLABELLED]
    images = (one for name in folders for one in unlabelled.in_folder(root, name, account))
    return [one for one in images if one.path not in listed]


def _require_agreement(root: Path, found: labelled.Found) -> None:
    """Refuse a metadata file whose classes are others than those of the folders that the images lie in."""
    folder_of: dict[int, str] = {}
    label_of: dict[str, int] = {}
    for place, entry in enumerate(found.entries):
        if entry.split == UNLABELLED:
            continue
        parts = entry.path.split("/")
        name = composed(parts[1]) if len(parts) == 3 else ""
        same = folder_of.setdefault(entry.label, name) == name
        if not (name and label_of.setdefault(name, entry.label) == entry.label and same):
            raise DataError(
                f"{root} tells the classes twice, and differently: {found.lines(place)} says "
                f"{found.classes[entry.label]} of {entry.path}",
                "class folders and a metadata file may both be there where they agree",
                "move the metadata file away, or take it alone: --set data.name=table --set data.table=FILE",
            )


def _pass_over_unlisted(root: Path, entries: list[Entry], account: Account) -> None:
    """Note the images that a metadata file does not name."""
    known = {entry.path for entry in entries} | set(account.skipped)
    others = []
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        start = "" if Path(folder) == root else f"{Path(folder).relative_to(root).as_posix()}/"
        images = (f"{start}{name}" for name in files if not name.startswith(".") and _is_image(Path(name)))
        others += [path for path in images if path not in known]
    account.pass_over("in no line of a metadata file", others)


def _inside(root: Path, folders: Iterable[str]) -> list[Path]:
    return [path for name in folders for path in _listed(root / name)]


def _no_split(root: Path, folders: dict[str, str], missing: list[str]) -> DataError:
    there = ", ".join(sorted(folders)) or "neither"
    fix = f"make {root}/train/CLASS/ and {root}/test/CLASS/, or {root}/split.csv with the columns file,split"
    vals = [name for name, split in folders.items() if split == "val"]
    if missing == ["test"] and vals:
        others = ", ".join(f"{name}: {split}" for name, split in folders.items() if split != "val")
        fix += f"; to measure results on {vals[0]}: --set 'data.splits={{{others}, {vals[0]}: test}}'"
    return DataError(
        f"{root} has no split: expected split.csv, or the folders train and test; found "
        + (f"only {there}" if folders else there),
        fix=fix,
    )


def _by_table(
    root: Path, table: Path, options: Options, account: Account
) -> tuple[list[Entry], tuple[str, ...]]:
    rows, without = _rows(table, options)
    if not rows:
        raise DataError(
            f"{table} names no image", fix="give every image a line: CLASS/IMAGE,train or CLASS/IMAGE,test"
        )
    folders = [path for path in _listed(root) if path.is_dir()]
    named = {composed(name) for _, name, _ in rows}
    files, _ = _class_files(root, [path for path in folders if composed(path.name) in named])
    there = {file.relative_to(root).as_posix() for file in files} - {one.path for one in without}
    by_look = {composed(path): path for path in there}
    # the table and the file system may write an accent in two ways
    rows = [
        (split, name, path if (root / path).is_file() else by_look.get(composed(path), path))
        for split, name, path in rows
    ]
    beside, others = [], {one.path.split("/")[0] for one in without}
    for path in folders:
        if options.meaning(path.name) == UNLABELLED and not options.split_file and path.name not in named:
            listed = {one.path for one in without}
            more = unlabelled.in_folder(root, path.name, account)
            without += [one for one in more if one.path not in listed]
        elif composed(path.name) not in named and path.name not in others:
            beside.append(_counted(path))
    account.pass_over(f"not in {table.name}", [*(there - {path for _, _, path in rows}), *beside])
    entries, classes = _entries(rows, one_form([path.split("/")[0] for _, _, path in rows]), root, options)
    return entries + without, classes


def _rows(table: Path, options: Options) -> tuple[list[tuple[str, str, str]], list[Entry]]:
    """(split, class, path) of each line of a table, and the entries of those without a label."""
    rows, faults, without = [], [], []
    known = ", ".join(options.splits or ("train", "val", "test"))
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
                path, word = row["file"] or "", row["split"] or ""
                parts, split = path.split("/"), options.meaning(word)
                if split == UNLABELLED and unlabelled.is_inside(path) and _is_image(Path(path)):
                    without.append(unlabelled.entry(path))
                elif len(parts) != 2 or not all(parts) or parts[0].startswith(".") or "\\" in path:
                    faults.append(f"line {reader.line_num}: {path!r} is not of the form CLASS/IMAGE")
                elif not _is_image(Path(path)):
                    faults.append(f"line {reader.line_num}: {path!r} does not end in {', '.join(SUFFIXES)}")
                elif split is None:
                    faults.append(f"line {reader.line_num}: unknown split {word!r}, expected {known}")
                else:
                    rows.append((split, parts[0], path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read", str(error), "save it as CSV in UTF-8") from None
    if faults:
        raise DataError(
            f"{table} has lines that cannot be used:\n{listing(faults)}",
            fix="mend these lines, or say what the words mean: --set 'data.splits={train: train, eval: test}'"
            if any("unknown split" in fault for fault in faults)
            else "mend these lines",
        )
    return rows, without


def _entries(
    rows: list[tuple[str, str, str]], forms: dict[str, str], root: Path, options: Options
) -> tuple[list[Entry], tuple[str, ...]]:
    """Entries of (split, class, path), and the class names in their order."""
    if not rows:
        raise DataError(
            f"{root} has no image in a class folder", f"{LAYOUT}, which end in {', '.join(SUFFIXES)}"
        )
    given = labelled.class_list(options.classes) if options.classes else tuple(sorted(forms.values()))
    order = {composed(name): label for label, name in enumerate(given)}
    unknown = sorted(name for look, name in forms.items() if look not in order)
    if unknown:
        raise DataError(
            f"{root} has classes that {options.classes} (data.classes) does not name:\n{listing(unknown)}",
            fix="add them there, or move their folders away",
        )
    return [
        Entry(labelled.key_of(path), path, split, order[composed(path.split("/")[-2])])
        for split, _, path in rows
    ], given


def _class_files(root: Path, folders: list[Path]) -> tuple[list[Path], list[Path]]:
    """The images of class folders, and other files there; folders inside are refused."""
    _refuse_links(root, folders)
    images: list[Path] = []
    others: list[Path] = []
    nested: list[str] = []
    for folder in folders:
        for path in _listed(folder):
            if path.is_dir():
                nested.append(f"{path.relative_to(root).as_posix()}/")
            else:
                (images if _is_image(path) else others).append(path)
    if nested:
        raise DataError(
            f"{root} has folders inside class folders:\n{listing(nested)}",
            "a class is one folder of images, and images further down would be lost",
            "move their images up, or the folders away",
        )
    return images, others


def _account_unread(
    root: Path, unread: dict[str, list[Path]], read: Counter[str], options: Options, account: Account
) -> None:
    """Note files of no format that is read; refuse a class that loses most of its files so."""
    account.pass_over(
        UNREAD, [file.relative_to(root).as_posix() for files in unread.values() for file in files]
    )
    faults = []
    for name, files in sorted(unread.items()):
        if len(files) > read[name]:
            kinds = Counter(file.suffix.lower() or "no suffix" for file in files).most_common(4)
            counts = ", ".join(f"{kind} {count}" for kind, count in kinds)
            faults.append(f"{name}: {len(files)} of {len(files) + read[name]} files ({counts})")
    if faults and not options.accept_unread:
        raise DataError(
            f"most files of some classes are {UNREAD}:\n{listing(faults)}",
            f"read are {', '.join(SUFFIXES)}",
            "convert them, or move them away; if they are no images: --set data.unread=accept",
        )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _counted(path: Path) -> str:
    """A name in the data set's folder; of a folder, with the number of images under it."""
    if not path.is_dir():
        return path.name
    images = sum(_is_image(file) for file in path.rglob("*"))
    return f"{path.name}/ ({images:,} image{'s' * (images > 1)})" if images else f"{path.name}/"


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
    odd = [ascii(entry.path) for entry in entries if not plain(entry.path)]
    if odd:
        raise DataError(
            f"{root} has file names with control characters, line separators, or bytes that are not UTF-8:\n"
            + listing(odd),
            fix="rename them",
        )
