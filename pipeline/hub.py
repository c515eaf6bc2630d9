"""The Hugging Face Hub: addresses of its repositories, their files at one commit, and why it refuses.

    hf://datasets/USER/REPO[@REVISION]/path     hf://USER/REPO/path, or hf://models/...: of a model

Who may read and write, `huggingface_hub` knows: HF_TOKEN, or what `hf auth login` kept. No token is ever put
into a message, a file or an address.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote

PROTOCOL = "hf"
USUAL = "https://huggingface.co"  # where the Hub is, unless HF_ENDPOINT says otherwise
FORM = "hf://datasets/USER/REPO/path, or hf://USER/REPO for a model; @REVISION after REPO pins one"
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_KINDS = {"datasets": "dataset", "models": "model", "spaces": "space"}
_PREFIXES = {"dataset": "datasets/", "model": "", "space": "spaces/"}
_REPO = r"[\w-][\w.-]*/[\w-][\w.-]*"
_SHORT = re.compile(
    rf"(?:(?P<kind>datasets|models|spaces)/)?(?P<repo>{_REPO})"
    r"(?:@(?P<revision>refs/(?:pr/\d+|convert/[\w.-]+)|[^/]+))?(?:/(?P<path>.*))?"
)
_LONG = re.compile(
    rf"(?:(?P<kind>datasets|spaces)/)?(?P<repo>{_REPO})/resolve/(?P<revision>[^/]+)(?:/(?P<path>.*))?"
)
_SILENCE = 30  # seconds until an answer begins


@dataclass(frozen=True)
class Place:
    """A folder in a repository.

    Attributes:
        kind: `dataset`, `model` or `space`.
        repo: `USER/REPO`.
        revision: a branch, tag or commit; None: the usual branch.
        path: of the folder, with slashes; empty: the repository itself.
    """

    kind: str
    repo: str
    revision: str | None = None
    path: str = ""

    @property
    def name(self) -> str:
        """The repository as an address."""
        return f"hf://{_PREFIXES[self.kind]}{self.repo}"


def endpoint() -> str:
    """Where the Hub is, without a final slash."""
    return (os.environ.get("HF_ENDPOINT") or USUAL).rstrip("/")


def place_of(address: str) -> Place | None:
    """The place that an address names; None: it is not one of the Hub's.

    It is either `hf://...`, or the Hub's own `https://.../resolve/REVISION/path`.

    Raises:
        ValueError: it names no repository.
    """
    short = address.lower().startswith(f"{PROTOCOL}://")
    if not short and not address.startswith(f"{endpoint()}/"):
        return None
    form, rest = (_SHORT, address[5:]) if short else (_LONG, address[len(endpoint()) + 1 :])
    found = form.fullmatch(rest.strip("/"))
    parts = (found["path"] or "").split("/") if found else []
    if found is None or found["repo"].split("/")[0] in (*_KINDS, "buckets") or ".." in parts:
        if not short:
            return None
        raise ValueError("it names no USER/REPO" if ".." not in parts else "a path has no ..")
    revision = found["revision"]
    return Place(
        _KINDS[found["kind"] or "models"],
        found["repo"],
        unquote(revision) if revision else None,
        "/".join(part for part in parts if part),
    )


class Files:
    """The files of a repository at one commit, read only: what `fetched.Address` asks of a file system.

    Attributes:
        commit: the one that the revision named when this was made.
    """

    def __init__(self, place: Place, commit: str | None = None, **options: Any) -> None:
        """
        Args:
            commit: the one to read; None: the newest of the revision, which the Hub is asked for.
            options: of the HTTP file system.

        Raises:
            huggingface_hub.errors.HfHubHTTPError: the Hub refuses, or fails.
        """
        from fsspec.implementations.http import HTTPFileSystem
        from huggingface_hub import utils

        self._place, self._api = place, api()
        if commit is None:
            commit = self._api.repo_info(
                place.repo, revision=place.revision, repo_type=place.kind, timeout=_SILENCE
            ).sha
        self.commit = str(commit)
        self._base = f"{endpoint()}/{_PREFIXES[place.kind]}{place.repo}/resolve/{self.commit}"
        # what follows is plain HTTP; a redirect to another host goes there without the token
        self._http = HTTPFileSystem(headers=utils.build_hf_headers(library_name="stillroom"), **options)
        self._listed: dict[str, dict[str, Any]] | None = None

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """A file of the repository, as a stream."""
        # whatever size is given, fsspec then asks for the file alone, not for its size before
        return self._http.open(f"{self._base}/{quote(path.strip('/'))}", mode, block_size=0, size=1)

    def info(self, path: str) -> dict[str, Any]:
        """The `size` of a file in bytes, and its `ETag`: a digest.

        Raises:
            FileNotFoundError: there is none.
        """
        try:
            return self._tree()[path.strip("/")]
        except KeyError:
            raise FileNotFoundError(path) from None

    def find(self, root: str, maxdepth: int | None = None, detail: bool = True) -> dict[str, Any]:
        """The `info` of each file in a folder of the repository, by its path there."""
        start = f"{root.strip('/')}/" if root.strip("/") else ""
        return {
            path: about
            for path, about in self._tree().items()
            if path.startswith(start) and (not maxdepth or path.count("/", len(start)) < maxdepth)
        }

    def _tree(self) -> dict[str, dict[str, Any]]:
        if self._listed is None:
            self._listed = {
                path: {"size": size, "ETag": digest}
                for path, (size, digest) in listing(
                    self._api, replace(self._place, revision=self.commit)
                ).items()
            }
        return self._listed


def api() -> Any:
    """`huggingface_hub.HfApi`, at the Hub that the environment names."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint(), library_name="stillroom")


def listing(hub: Any, place: Place) -> dict[str, tuple[int, str]]:
    """The files in a place: by their path in the repository, bytes and digest (SHA-256, or git's of a blob).

    Args:
        hub: `api()`.

    Raises:
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses, or fails.
    """
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    asked = {"recursive": True, "revision": place.revision, "repo_type": place.kind}
    found = {}
    try:
        with quiet():
            for entry in hub.list_repo_tree(place.repo, place.path or None, **asked):
                if isinstance(entry, RepoFile):
                    found[entry.path] = (int(entry.size), entry.lfs.sha256 if entry.lfs else entry.blob_id)
    except EntryNotFoundError:
        pass
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep `huggingface_hub` from telling of each try, with addresses that hold signatures; and its bars."""
    from huggingface_hub import utils

    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not utils.are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    utils.disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            utils.enable_progress_bars()


def refused(error: Exception, place: Place, verb: str = "read") -> tuple[str, str] | None:
    """Why the Hub refuses for good, and what to do; None: it does not, or this is no answer of the Hub.

    Args:
        error: of `huggingface_hub`, or of plain HTTP.
        verb: what was tried: `read` or `write`.
    """
    from huggingface_hub import get_token

    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    may, name = f"that may {verb} it", place.name
    known = get_token() is not None
    if "OfflineModeIsEnabled" in kinds:
        return "HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE"
    if "HFValidationError" in kinds:
        return f"{place.repo} is no name of a repository", f"give its address: {FORM}"
    if "RevisionNotFoundError" in kinds:
        return f"{name} has no revision {place.revision}", "check what follows the @"
    if "GatedRepoError" in kinds:
        page = f"{endpoint()}/{_PREFIXES[place.kind]}{place.repo}"
        return f"{name} is gated", f"ask for access on {page}; then {LOGIN} to a token of that account"
    if "RepositoryNotFoundError" in kinds or (status in (401, 403) and not known):
        fix = f"{LOGIN} to a token {may}; and check the name"
        if verb == "write":
            of_kind = "" if place.kind == "model" else f" --repo-type {place.kind}"
            fix += f" (a new one: `hf repos create {place.repo}{of_kind} --private`)"
        if known:
            return f"there is no {name}, or the token that this machine uses may not {verb} it", fix
        return f"it needs a token: {name} is private or gated, or not there", fix
    if status == 401:
        return "the token that this machine uses is not valid", f"{LOGIN} to a token {may}"
    if status == 403:
        return f"the token that this machine uses may not {verb} {name}", f"{LOGIN} to a token {may}"
    return None
