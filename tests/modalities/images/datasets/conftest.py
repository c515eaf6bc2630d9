"""Ground for the data set tests: images and trees on disk, a web server, a progress that listens."""

import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from stillroom.progress import Progress

ANNOTATION = """<annotation>
  <filename>{key}.jpg</filename>
  <object>
    <name>person</name>
    <bndbox><xmax>{xmax}</xmax><xmin>{xmin}</xmin><ymax>{ymax}</ymax><ymin>{ymin}</ymin></bndbox>
  </object>
  <size><depth>3</depth><height>{height}</height><width>{width}</width></size>
</annotation>
"""


class Listener(Progress):
    """A progress report that remembers what it was told."""

    def __init__(self) -> None:
        self.works: list[list] = []  # [what, total, unit, done]
        self.notes: list[str] = []

    def start(self, what: str, total: int, unit: str) -> None:
        self.works.append([what, total, unit, 0])

    def advance(self, count: int = 1, status: str = "") -> None:
        self.works[-1][3] += count

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def picture() -> Callable[..., Path]:
    """picture(file, size=(12, 8), mode="RGB", **options): writes an image, its colour from its name."""

    def write(file: Path, size: tuple[int, int] = (12, 8), mode: str = "RGB", **options) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        shade = sum(file.as_posix().encode()) % 256
        Image.new(mode, size, shade if mode == "L" else (shade, 255 - shade, 90)).save(file, **options)
        return file

    return write


@pytest.fixture
def annotate() -> Callable[..., None]:
    """annotate(root, key, box, size): writes one official annotation."""

    def write(root: Path, key: str, box=(1, 2, 9, 7), size=(12, 8)) -> None:
        names = dict(zip(("xmin", "ymin", "xmax", "ymax", "width", "height"), (*box, *size), strict=True))
        (root / "XMLAnnotations").mkdir(exist_ok=True)
        (root / "XMLAnnotations" / f"{key}.xml").write_text(ANNOTATION.format(key=key, **names))

    return write


@pytest.fixture
def layout(tmp_path, picture, annotate) -> Callable[..., Path]:
    """layout(classes={name: (train, test)}): a tiny official layout, quirks included; its root."""

    def build(classes=None, root: Path = tmp_path / "tiny", ends: str = "\r\n") -> Path:
        classes = classes or {"drinking": (2, 1), "applauding": (3, 2)}
        (root / "ImageSplits").mkdir(parents=True)
        lines: dict[str, list[str]] = {"train": [], "test": []}
        for name, (train, test) in classes.items():
            for number in range(1, train + test + 1):
                key = f"{name}_{number:03d}"
                picture(root / "JPEGImages" / f"{key}.jpg")
                annotate(root, key)
                lines["test" if number <= test else "train"].append(f"{key}.jpg")
        for split, names in lines.items():
            write_lines(root / "ImageSplits" / f"{split}.txt", names, ends)
        actions = [
            "action_name\t\t\tnumber_of_images\t",
            *(f"{name}\t\t{sum(n)}\t" for name, n in classes.items()),
        ]
        write_lines(root / "ImageSplits" / "actions.txt", actions, ends)
        return root

    return build


def write_lines(file: Path, lines: list[str], ends: str = "\r\n") -> None:
    file.write_bytes("".join(line + ends for line in lines).encode())


@pytest.fixture
def zip_parts() -> Callable[[Path, Path], None]:
    """zip_parts(root, folder): the three official zip files of a tree, in `folder`."""

    def write(root: Path, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for part in ("ImageSplits", "XMLAnnotations", "JPEGImages"):
            with zipfile.ZipFile(folder / f"Stanford40_{part}.zip", "w") as archive:
                for file in sorted((root / part).iterdir()):
                    archive.write(file, f"{part}/{file.name}")

    return write


@dataclass
class Host:
    """A web server on loopback: what it serves, how it misbehaves, and what it was asked.

    Attributes:
        files: body by path.
        etag, modified: the headers it sends; None: it does not.
        ranges: whether it honours Range.
        if_range: whether it honours If-Range (some servers answer 206 whatever has changed).
        skew: how many bytes further than asked a range begins.
        cuts: for each coming answer, after how many bytes of the body it cuts the connection.
        statuses: for each coming answer, a status to answer with and nothing else.
        after_cut: called after each cut.
        asked: (path, Range header, status, bytes sent) of every request.
    """

    base: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"one"'
    modified: str | None = "Mon, 02 Jan 2012 03:04:05 GMT"
    ranges: bool = True
    if_range: bool = True
    skew: int = 0
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    after_cut: Callable[[], None] = lambda: None
    asked: list[tuple[str, str | None, int, int]] = field(default_factory=list)


@pytest.fixture
def host(monkeypatch) -> Iterator[Host]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Host()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            body = state.files.get(self.path)
            if state.statuses or body is None:
                status = state.statuses.pop(0) if state.statuses else 404
                state.asked.append((self.path, wanted, status, 0))
                self.send_error(status)
                return
            condition = self.headers.get("If-Range")
            current = not state.if_range or condition in (None, state.etag, state.modified)
            start = (
                int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges and current else None
            )
            if start is not None:
                start += state.skew
            if start is not None and start >= len(body):
                state.asked.append((self.path, wanted, 416, 0))
                self.send_error(416)
                return
            self.send_response(200 if start is None else 206)
            if start is not None:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            rest = body[start or 0 :]
            self.send_header("Content-Length", str(len(rest)))
            for name, value in (("ETag", state.etag), ("Last-Modified", state.modified)):
                if value:
                    self.send_header(name, value)
            cut = state.cuts.pop(0) if state.cuts else None
            sent = rest[:cut]
            state.asked.append((self.path, wanted, 200 if start is None else 206, len(sent)))
            self.end_headers()
            self.wfile.write(sent)
            if cut is not None:
                state.after_cut()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.base = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
