"""A checked cache or model to a place where others read it: what is there already is not sent again."""

import re
from dataclasses import dataclass
from pathlib import Path

from stillroom.cache import stores
from stillroom.errors import ParamsError, StillroomError
from stillroom.files import replaced
from stillroom.progress import Progress
from stillroom.sharing.card import MARK
from stillroom.sharing.contents import RECORDS, Shared, name_of
from stillroom.sharing.targets import Target, Upload


@dataclass(frozen=True)
class Done:
    """What was done.

    Attributes:
        sent: files that were uploaded, and their bytes; `kept` likewise of those that were there.
        gone: files of the earlier one that were removed.
        card: `written`; `there`: the same already; or `kept`: somebody else's lies there.
    """

    sent: tuple[int, int]
    kept: tuple[int, int]
    gone: int
    card: str


def share(
    shared: Shared, target: Target, card: str, replace: bool = False, progress: Progress | None = None
) -> Done:
    """Upload what the place lacks, the record last; an interrupted upload is gone on with.

    Args:
        shared: what `examine` found.
        target: the place.
        card: its `README.md`. One that lies there and was not written here stays.
        replace: whether another cache or model there may give way.

    Raises:
        StillroomError: the place cannot be reached, or refuses; holds another one; or is the folder itself.
    """
    check_place(shared.folder, target)
    with target.alone():
        return _share(shared, target, card, replace, progress or Progress())


def _share(shared: Shared, target: Target, card: str, replace: bool, progress: Progress) -> Done:
    held = target.held()
    _check_there(shared, target, held, replace)
    new: list[str] = []
    kept: list[str] = []
    local = {path: shared.folder / path for path in shared.files}
    progress.start("comparing", len(local), "files")
    for path, file in local.items():
        there = held.get(path)
        equal = there is not None and there[0] == shared.files[path] and target.same(path, file, there[1])
        (kept if equal else new).append(path)
        progress.advance()
    progress.finish()
    gone = sorted(path for path in held if path not in local and _ours(shared.kind).fullmatch(path))
    old = target.card()
    text = card.encode()
    state = "there" if old == text else "written"
    if old is not None and MARK not in old.decode(errors="replace"):
        state = "kept"
    if new or gone or state == "written":
        progress.start("uploading", sum(shared.files[path] for path in {*new, shared.last}), "bytes")
        target.upload(
            Upload(
                files=[(path, local[path]) for path in new if path != shared.last],
                record=(shared.last, local[shared.last]),
                card=text if state == "written" else None,
                gone=gone,
                torn=shared.last in held and any(path in held for path in new if path != shared.last),
                title=f"{shared.who[:60]} by stillroom",
                check=shared.require_unchanged,
            ),
            progress.advance,
        )
        progress.finish()
    return Done(_count(shared, new), _count(shared, kept), len(gone), state)


def check_place(folder: Path, target: Target) -> None:
    """Refuse a place on this machine where a folder cannot go: itself, one in it or above it, or a file.

    Raises:
        ParamsError: see above.
    """
    if not target.address.startswith("file:"):
        return
    here = Path(target.address.removeprefix("file://"))
    if replaced(here, [folder]) or replaced(folder, [here]):
        raise ParamsError(f"{here} and {folder} lie in each other", fix="give another folder")
    there = next(one for one in (here, *here.parents) if one.exists())
    if not there.is_dir():
        raise ParamsError(f"{there} is a file", fix="give a folder")


def _check_there(shared: Shared, target: Target, held: dict[str, tuple[int, str]], replace: bool) -> None:
    """Refuse a place where something else lies."""
    for kind, name in RECORDS.items():
        if name not in held:
            continue
        there = name_of(kind, target.record(name))
        if kind != shared.kind:
            raise StillroomError(
                f"{target.shown} holds a {kind} already",
                f"{there}: a {shared.kind} beside it would be taken for a part of it",
                "give another repository or folder",
            )
        if there != shared.who and not replace:
            raise StillroomError(
                f"{target.shown} holds another {kind} already",
                f"{there[:80]} there, {shared.who[:80]} here",
                "give another place, or --replace to put this one there",
            )


def _ours(kind: str) -> re.Pattern[str]:
    """Matches the files that an earlier one of this kind may have left, but for the card."""
    if kind == "cache":
        return re.compile("|".join(f"({stores.get(one).FILES})" for one in stores.names()))
    return re.compile(r"(model|predictions|fold-\d+)\.safetensors|(metrics|config)\.json")


def _count(shared: Shared, paths: list[str]) -> tuple[int, int]:
    return len(paths), sum(shared.files[path] for path in paths)
