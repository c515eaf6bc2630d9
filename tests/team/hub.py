"""A stand-in of the Hugging Face Hub on loopback: it speaks what `huggingface_hub` asks of repositories.

Revisions, trees in pages, files (large ones by a redirect to another host, with a signature), uploads (what
is large, LFS batches, commits), and refusals with the Hub's own codes. It has no Xet: HF_HUB_DISABLE_XET=1.
"""

import base64
import hashlib
import http.server
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

READER, WRITER, STRANGER = (f"hf_{name}{'0123456789' * 3}" for name in ("reader", "writer", "stranger"))
SIGNATURE = "c0ffee" * 6  # of the large files' addresses: no more to be shown than a token
LARGE = 600  # bytes from which on a file goes to LFS
PAGE = 5  # entries of a page of a tree
_REPO = r"/(?:api/)?(?P<kind>datasets|models|spaces)?/?(?P<repo>[^/]+/[^/]+?)"


def answer_of(content: bytes) -> str:
    """git's digest of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repo:
    """A repository: its commits, the newest last, each with all its files by path."""

    private: bool = False
    gated: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])
    tags: dict[str, str] = field(default_factory=dict)
    titles: list[str] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def put(self, files: dict[str, bytes | None], title: str = "change") -> str:
        """Commit files (None: deleted); the commit's name."""
        merged = {path: content for path, content in (self.files | files).items() if content is not None}
        sha = hashlib.sha1(f"{len(self.commits)} {sorted(merged)}".encode()).hexdigest()
        self.commits.append((sha, merged))
        self.titles.append(title)
        return sha

    def at(self, revision: str) -> dict[str, bytes] | None:
        sha = self.commits[-1][0] if revision == "main" else self.tags.get(revision, revision)
        return dict(self.commits).get(sha)


class Hub:
    """The server.

    Attributes:
        url: for HF_ENDPOINT.
        repos: by (`datasets` or `models`, `USER/REPO`).
        objects: what was uploaded to LFS, by digest.
        asked: how often each `METHOD /path` was asked for.
        faults: `METHOD /path`, or its start -> what befalls its next answers, in turn: a status, or `cut` (a
            part of it, then the connection is closed).
        leaked: whether the host of the large files was ever sent a token.
        received: bytes of uploads.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.asked, self.faults = Counter[str](), dict[str, list[int | str]]()
        self.leaked, self.received = False, 0
        self.always: int | None = None
        self.lock = threading.Lock()
        servers = []
        for handler in (_Handler, _Store):
            kind = type("Bound", (handler,), {"hub": self})
            servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind))
            threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        self._servers = servers
        # two names of one machine: a redirect from one to the other leaves the host
        self.url = f"http://localhost:{servers[0].server_port}"
        self.store = f"http://127.0.0.1:{servers[1].server_port}"

    def repo(self, name: str, kind: str = "datasets", **about: bool) -> Repo:
        """Make a repository."""
        return self.repos.setdefault((kind, name), Repo(**about))

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Base(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def send(self, code: int, content: Any = b"", **headers: str) -> None:
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
            headers.setdefault("content_type", "application/json")
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_all(self) -> None:
        path = urlsplit(self.path).path
        name = f"{self.command} {path}"
        content = self.body()
        with self.hub.lock:
            self.hub.asked[name] += 1
            left = next(
                (hits for start, hits in self.hub.faults.items() if name.startswith(start) and hits), None
            )
            fault = left.pop(0) if left else self.hub.always
        try:
            if isinstance(fault, int):
                self.send(fault, {"error": "on order"})
            elif fault == "cut":
                self.send_response(200)
                self.send_header("Content-Length", "100000")
                self.end_headers()
                self.wfile.write(b"x" * 100)
                self.close_connection = True
            else:
                self.answer(
                    unquote(path), {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}, content
                )
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = handle_all

    def answer(self, path: str, query: dict[str, str], content: bytes) -> None:
        raise NotImplementedError


class _Store(_Base):
    """The other host, of the large files."""

    def answer(self, path: str, query: dict[str, str], content: bytes) -> None:
        self.hub.leaked |= "Authorization" in self.headers
        if query.get("X-Amz-Signature") != SIGNATURE:
            self.send(403, {"error": "no signature"})
        elif self.command == "PUT":
            if hashlib.sha256(content).hexdigest() != path[1:]:
                return self.send(400, {"error": "digest"})
            with self.hub.lock:
                self.hub.objects[path[1:]] = content
                self.hub.received += len(content)
            self.send(200, ETag=f'"{path[1:]}"')
        else:
            _send_range(self, self.hub.objects[path[1:]], {})
        return None


def _send_range(handler: _Base, content: bytes, headers: dict[str, str]) -> None:
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
    if not span:
        return handler.send(200, content, **headers)
    first, last = int(span[1]), int(span[2] or len(content) - 1)
    whole = f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
    return handler.send(206, content[first : last + 1], Content_Range=whole, **headers)


class _Handler(_Base):
    """The Hub itself."""

    def answer(self, path: str, query: dict[str, str], content: bytes) -> None:
        if path == "/api/validate-yaml":
            sound = json.loads(content)["content"].startswith("---\n")
            return self.send(
                200 if sound else 400, {"warnings": [], "errors": [] if sound else [{"message": "no"}]}
            )
        for form, method in (
            (rf"{_REPO}\.git/info/lfs/objects/batch", self.batch),
            (rf"{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self.resolve),
            (rf"{_REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", self.tree),
            (rf"{_REPO}/preupload/(?P<revision>.+)", self.preupload),
            (rf"{_REPO}/commit/(?P<revision>.+)", self.commit),
            (rf"{_REPO}/revision/(?P<revision>.+)", self.info),
            (_REPO, self.info),
        ):
            if found := re.fullmatch(form, path):
                parts = {name: value or "" for name, value in found.groupdict().items()}
                key = (parts.pop("kind") or "models", parts.pop("repo"))
                repo = self.allowed(key, method in (self.preupload, self.commit, self.batch))
                return None if repo is None else method(key, repo, query, content, **parts)
        return self.send(404, {"error": f"no {path}"})

    def allowed(self, key: tuple[str, str], writes: bool) -> Repo | None:
        """The repository, or None: it was refused, as the Hub does."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        repo = self.hub.repos.get(key)
        if token and token not in (READER, WRITER, STRANGER):
            told = "Invalid credentials in Authorization header"
            self.send(401, {"error": told}, X_Error_Message=told)
        elif repo is None or (repo.private and token not in (READER, WRITER)):
            code = 404 if token else 401
            named = {"X_Error_Code": "RepoNotFound"} if token else {}
            self.send(
                code, {"error": "Repository not found"}, X_Error_Message="Repository not found", **named
            )
        elif (repo.gated and token == STRANGER) or (repo.gated and not token):
            self.send(
                403 if token else 401, {"error": "gated"}, X_Error_Code="GatedRepo", X_Error_Message="gated"
            )
        elif writes and token != WRITER:
            told = "You don't have the rights to create a commit"
            self.send(403 if token else 401, {"error": told}, X_Error_Message=told)
        else:
            return repo
        return None

    def info(
        self, key: tuple[str, str], repo: Repo, query: Any, content: bytes, revision: str = "main"
    ) -> None:
        if repo.at(revision) is None:
            return self.send(
                404, {"error": "revision"}, X_Error_Code="RevisionNotFound", X_Error_Message="revision"
            )
        sha = repo.commits[-1][0] if revision == "main" else repo.tags.get(revision, revision)
        return self.send(200, {"id": key[1], "sha": sha, "private": repo.private, "siblings": [], "tags": []})

    def tree(
        self, key: tuple[str, str], repo: Repo, query: Any, content: bytes, revision: str, path: str
    ) -> None:
        files = repo.at(revision)
        start = f"{path}/" if path else ""
        if files is None or (path and not any(name.startswith(start) for name in files)):
            code = "EntryNotFound" if files is not None else "RevisionNotFound"
            return self.send(404, {"error": code}, X_Error_Code=code, X_Error_Message=code)
        entries: list[dict[str, Any]] = []
        for name, text in sorted(files.items()):
            if name.startswith(start):
                entry: dict[str, Any] = {
                    "type": "file",
                    "path": name,
                    "size": len(text),
                    "oid": answer_of(text),
                }
                if _is_large(text):
                    oid = hashlib.sha256(text).hexdigest()
                    entry |= {"lfs": {"oid": oid, "size": len(text), "pointerSize": 130}}
                entries.append(entry)
        first = int(query.get("cursor", 0))
        more = {}
        if first + PAGE < len(entries):
            address = f"{self.hub.url}{urlsplit(self.path).path}?recursive=True&cursor={first + PAGE}"
            more = {"Link": f'<{address}>; rel="next"'}
        return self.send(200, entries[first : first + PAGE], **more)

    def resolve(
        self, key: tuple[str, str], repo: Repo, query: Any, content: bytes, revision: str, path: str
    ) -> None:
        files = repo.at(revision)
        if files is None or path not in files:
            code = "EntryNotFound" if files is not None else "RevisionNotFound"
            return self.send(404, b"", X_Error_Code=code, X_Error_Message=code)
        text = files[path]
        about = {"X_Repo_Commit": revision, "ETag": f'"{answer_of(text)}"', "Accept_Ranges": "bytes"}
        if not _is_large(text):
            return _send_range(self, text, about)
        oid = hashlib.sha256(text).hexdigest()
        with self.hub.lock:
            self.hub.objects[oid] = text
        return self.send(
            302,
            Location=f"{self.hub.store}/{oid}?X-Amz-Signature={SIGNATURE}",
            X_Linked_Size=str(len(text)),
            X_Linked_ETag=f'"{oid}"',
            **about,
        )

    def preupload(self, key: tuple[str, str], repo: Repo, query: Any, content: bytes, revision: str) -> None:
        files = []
        for entry in json.loads(content)["files"]:
            sample = base64.b64decode(entry["sample"])
            large = entry["size"] >= LARGE or b"\0" in sample
            files.append(
                {"path": entry["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            )
        self.send(200, {"files": files})

    def batch(self, key: tuple[str, str], repo: Repo, query: Any, content: bytes) -> None:
        objects = []
        for entry in json.loads(content)["objects"]:
            href = f"{self.hub.store}/{entry['oid']}?X-Amz-Signature={SIGNATURE}"
            with self.hub.lock:
                there = entry["oid"] in self.hub.objects
            objects.append(entry | ({} if there else {"actions": {"upload": {"href": href}}}))
        self.send(200, {"transfer": "basic", "objects": objects})

    def commit(self, key: tuple[str, str], repo: Repo, query: Any, content: bytes, revision: str) -> None:
        changed: dict[str, bytes | None] = {}
        title = ""
        for line in content.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                title = value["summary"]
            elif entry["key"] == "file":
                changed[value["path"]] = base64.b64decode(value["content"])
                self.hub.received += len(changed[value["path"]] or b"")
            elif entry["key"] == "lfsFile":
                changed[value["path"]] = self.hub.objects[value["oid"]]
            else:
                changed[value["path"]] = None
        with self.hub.lock:
            sha = repo.put(changed, title)
        self.send(200, {"commitUrl": f"{self.hub.url}/{key[1]}/commit/{sha}", "commitOid": sha})


def _is_large(content: bytes) -> bool:
    return len(content) >= LARGE or b"\0" in content


def environment_of(hub: Hub, folder: Path, token: str | None = None) -> dict[str, str]:
    """The environment that leads to a stand-in, and to no token of this machine."""
    found = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf_home"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "STILLROOM_FETCHED": str(folder / "fetched"),
        "STILLROOM_FETCH_SECONDS": "4",
    }
    return found | ({"HF_TOKEN": token} if token else {})
