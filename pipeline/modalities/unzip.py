"""Unpack a zip file that nobody vouches for: nothing outside the folder, no bomb, whole or not at all."""

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from stillroom.errors import DataError, listing
from stillroom.progress import Progress

MAX_BYTES = 4 * 2**30  # unpacked; the largest official file, JPEGImages, unpacks to under 0.5 GiB
MAX_MEMBERS = 100_000  # the same file has under 10,000
CHUNK = 2**20


def unzip(file: Path, folder: Path, progress: Progress) -> None:
    """Unpack `file` as the folder `folder`, which must not exist yet.

    The members may lie at the top of the zip or inside one folder named like `folder`; both give the same
    result. They are unpacked under a temporary name, which is renamed when all of them are there and their
    checksums agree.

    Raises:
        DataError: the file is no zip, is damaged or encrypted, names a place outside the folder, holds a
            link, or is too large for the limits of this module or for the disk. Nothing is left behind.
    """
    temporary = folder.with_name(f".{folder.name}.part")
    again = f"remove {file} and download or copy it again, or unpack it by hand as {folder}"
    try:
        with zipfile.ZipFile(file) as archive:
            members = members_of(file, archive, folder.name)
            if not members:
                raise DataError(f"{file} holds no file", fix=again)
            total = sum(info.file_size for info, _ in members)
            if total > MAX_BYTES or len(members) > MAX_MEMBERS:
                raise DataError(
                    f"{file} would unpack to {len(members):,} files of {total:,} bytes",
                    f"the limits are {MAX_MEMBERS:,} files and {MAX_BYTES:,} bytes",
                    again,
                )
            free = shutil.disk_usage(folder.parent).free
            if total > free:
                raise DataError(
                    f"{file} needs {total:,} bytes in {folder.parent}, {free:,} are free", fix="make room"
                )
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            progress.start(f"unpack {file.name}", len(members), "files")
            for info, path in members:
                target = temporary / path
                target.parent.mkdir(parents=True, exist_ok=True)
                # zipfile reads no more than the size that was summed up above, and checks the CRC at the end
                with archive.open(info) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, CHUNK)
                progress.advance()
            progress.finish()
        temporary.rename(folder)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        # RuntimeError: encrypted; NotImplementedError: a compression that zipfile does not know
        raise DataError(f"{file} cannot be unpacked", " ".join(str(error).split()), again) from None
    except OSError as error:
        raise DataError(
            f"{file} cannot be unpacked into {folder.parent}",
            str(error),
            f"make the folder writable, or unpack the file by hand as {folder}",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def members_of(
    file: Path, archive: zipfile.ZipFile, name: str
) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The files of a zip with the path of each inside `name`."""
    members = []
    faults = []
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
            faults.append(f"{info.filename!r}: leaves the folder")
        elif stat.S_ISLNK(info.external_attr >> 16):
            faults.append(f"{info.filename!r}: is a link")
        elif not info.is_dir() and "__MACOSX" not in path.parts and not path.name.startswith("."):
            members.append((info, path))
    if faults:
        raise DataError(
            f"{file} is not a plain archive:\n{listing(faults)}",
            "unpacking it could write outside its folder",
            "get the file again from its official address",
        )
    if members and all(path.parts[0] == name and len(path.parts) > 1 for _, path in members):
        members = [(info, path.relative_to(name)) for info, path in members]
    if len({path for _, path in members}) < len(members):
        raise DataError(
            f"{file} holds two members of one name", fix="get the file again from its official address"
        )
    return members
