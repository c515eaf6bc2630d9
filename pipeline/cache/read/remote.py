"""A cache at an address (`hf://`, `s3://`, `ssh://`, `https://`, any that fsspec knows), read in place.

A file is fetched when it is first read, once, into a local folder of bounded size, and then read and checked
there like any other cache's. What lies in that folder is trusted no more than the address is.
"""

import io
from pathlib import Path
from typing import ClassVar

from stillroom.cache.format.manifest import LARGEST, NAME, Manifest
from stillroom.errors import CacheError, StillroomError
from stillroom.fetched import Address, UnfetchedError
from stillroom.files import whole_file


class Remote(Address):
    """The files of a cache at an address, and the local copies of those that were read; see `Address`."""

    ERROR: ClassVar[type[StillroomError]] = CacheError
    AGAIN: ClassVar[str] = (
        "run the same command again: what was fetched is kept, and training goes on from its last checkpoint"
    )
    SUFFIX: ClassVar[str] = f"/{NAME}"

    def open(self) -> tuple[Path, Manifest]:
        """Fetch the manifest and make the folder that its cache's files will go to.

        Raises:
            CacheError: it is not there, cannot be fetched, or is not sound.
        """
        try:
            self._parent.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            try:
                self._retried(lambda: self._copy(NAME, content, LARGEST))
            except UnfetchedError as error:
                raise self._no_cache(str(error)) from None
            text = content.getvalue()
            manifest = Manifest.parse(text, f"{self.shown}/{NAME}", "put a sound cache there")
            # the folder is named by content: at whatever address a cache lies, it is fetched once
            self._folder = self._parent / f"{manifest.id[:16]}-{manifest.backend}"
            self._folder.mkdir(exist_ok=True)
            with whole_file(self._folder / NAME, durable=False) as stream:
                stream.write(text)
        except OSError as error:
            raise self._no_room(error) from None
        return self._folder, manifest

    def fetch(self, files: dict[str, int]) -> dict[str, str]:
        """See `Address`; until the next call these files stay."""
        self._in_use = set(files)
        return super().fetch(files)

    def _no_cache(self, fault: str) -> CacheError:
        why = "every cache has one"
        fix = "give the address of a cache's folder, or of its manifest.json"
        if self.address.startswith("dvc:"):
            if self._file_system().isdvc(self._root()):
                why = "DVC knows this output, but holds it neither here nor in this project's remote"
                fix = "`dvc remote list` says where it looks; whoever made the cache must `dvc push` it there"
            else:
                why = "DVC knows no such output of this project"
                fix = "give the path of one, as dvc://artifacts/cache"
        return CacheError(f"{self.shown}/{NAME} {fault}", why, fix)
