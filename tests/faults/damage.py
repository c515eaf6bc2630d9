"""Damaged, hostile and read-only caches: what is wrong is found, and nothing that is right is touched."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import zarr

from stillroom.cache.format.identity import identity_id
from stillroom.cache.format.manifest import _seal
from stillroom.cache.read.backends import open_store
from stillroom.cache.read.checks import verify
from stillroom.cache.write.publish import publish
from tests import warm
from tests.contract.store_contract import KEYS, LABELS, VIEWS, contents, plane_digest, staged

BACKENDS = ("zarr", "hdf5")


def make(folder: Path) -> dict[str, Path]:
    """The contract's cache in both formats."""
    with staged(folder / "staging") as staging:
        for backend in BACKENDS:
            publish([staging], folder / backend, backend, VIEWS, {"machine": "any"}, [])
    return {backend: folder / backend for backend in BACKENDS}


def plainly(cache: Path, backend: str) -> list[bytes]:
    """What the plain library reads of every array."""
    if backend == "zarr":
        group = zarr.open_group(cache, mode="r")
        return [group[name][:].tobytes() for name in sorted(_names(cache))]
    with h5py.File(cache / "store.h5", "r") as file:
        return [file[name][:].tobytes() for name in sorted(_names(cache))]


def _names(cache: Path) -> list[str]:
    return [*open_store(cache).layout.arrays, "keys", "labels"]


def flips(folder: Path, count: int, seed: int = 0) -> dict:
    """Flip `count` single bits, in turn over every file of both formats.

    Returns:
        how many `verify` found, how many left every logical byte as it was (read by this library and by the
        plain one), and the others, which must be none.
    """
    chance = random.Random(seed)
    found, equal, missed = 0, 0, []
    for backend, cache in make(folder).items():
        names = sorted(contents(cache))
        digests = [plane_digest(open_store(cache), view) for view in range(VIEWS)]
        values = plainly(cache, backend)
        for number in range(count // len(BACKENDS)):
            name = names[number % len(names)]
            good = (cache / name).read_bytes()
            bit = chance.randrange(8 * len(good))
            bad = bytearray(good)
            bad[bit // 8] ^= 1 << (bit % 8)
            (cache / name).write_bytes(bad)
            if verify(cache):
                found += 1
            else:
                store = open_store(cache)
                same = [plane_digest(store, view) for view in range(VIEWS)] == digests
                same = same and store.keys == KEYS and store.labels.tolist() == LABELS
                if same and plainly(cache, backend) == values:
                    equal += 1
                else:
                    missed.append(f"{backend}: {name}, bit {bit}")
            (cache / name).write_bytes(good)
    return {"found": found, "harmless": equal, "missed": missed}


def wounds(folder: Path) -> dict:
    """Each file of both formats truncated, emptied, deleted or another's; and files that do not belong.

    Returns:
        how many wounds were made, and those that `verify` did not find.
    """
    made, missed = 0, []
    for backend, cache in make(folder).items():
        whole = contents(cache)
        names = sorted(whole)
        for number, name in enumerate(names):
            other = whole[names[(number + 1) % len(names)]]
            for kind, content in (
                ("truncated", whole[name][: len(whole[name]) // 2]),
                ("a byte short", whole[name][:-1]),
                ("a byte longer", whole[name] + b"\0"),
                ("emptied", b""),
                ("deleted", None),
                ("swapped", other),
                ("zeros", bytes(len(whole[name]))),
            ):
                if content == whole[name]:
                    continue
                file = cache / name
                if content is None:
                    file.unlink()
                else:
                    file.write_bytes(content)
                made += 1
                if not verify(cache) and not _same(cache, backend, whole, name):
                    missed.append(f"{backend}: {name} {kind}")
                file.write_bytes(whole[name])
        for name in ("foreign", "logits/c/99/0/0", "blocks/plane-00099-000.h5", "views/zarr.json.bak"):
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            (cache / name).write_bytes(b"?")
            made += 1
            if not verify(cache):
                missed.append(f"{backend}: foreign file {name}")
            (cache / name).unlink()
        for empty in sorted((path for path in cache.rglob("*") if path.is_dir()), reverse=True):
            if not any(empty.iterdir()):
                empty.rmdir()
    return {"wounds": made, "missed": missed}


def _same(cache: Path, backend: str, whole: dict[str, bytes], name: str) -> bool:
    """Whether a wound left every value as it was: a byte after the end of an HDF5 file is nobody's."""
    seen = plainly(cache, backend), [plane_digest(open_store(cache), view) for view in range(VIEWS)]
    kept = (cache / name).read_bytes()
    (cache / name).write_bytes(whole[name])
    right = plainly(cache, backend), [plane_digest(open_store(cache), view) for view in range(VIEWS)]
    (cache / name).write_bytes(kept)
    return seen == right


def hostile(tree: dict[str, Any], count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` manifests that no writer makes, from a sound one; sealed, so that the content is judged."""
    chance = random.Random(seed)
    huge: tuple[Any, ...] = (
        2**31,
        2**63,
        10**30,
        -1,
        0,
        1.5,
        True,
        None,
        "9" * 50,
        [],
        {},
        [[]],
        float(2**40),
    )
    names = (
        "../../etc/passwd",
        "/etc/passwd",
        "logits/../../x",
        "a\0b",
        "C:\\x",
        "..",
        "",
        "x" * 5000,
        "views",
    )
    edits: list[Callable[[dict], Any]] = [
        lambda t: t["extents"].update(views=chance.choice(huge)),
        lambda t: t["extents"].update(samples=chance.choice(huge)),
        lambda t: t["arrays"]["logits"].update(shape=[chance.choice(huge)]),
        lambda t: t["arrays"]["logits"].update(shape=[2**20] * chance.randrange(1, 40)),
        lambda t: t["arrays"]["logits"].update(
            dtype=chance.choice(("|O", "<f16", "V8", "<U9", "", None, 3, "<f4"))
        ),
        lambda t: t["arrays"].update({chance.choice(names): t["arrays"]["logits"]}),
        lambda t: t["arrays"]["logits"].update(file_blocks=chance.choice(huge)),
        lambda t: t["blocks"][0].update(samples=[0, chance.choice(huge)]),
        lambda t: t["blocks"][chance.randrange(len(t["blocks"]))].update(views=chance.choice(huge)),
        lambda t: t["blocks"][0]["arrays"].update(logits=chance.choice((*names, "0" * 63, 5))),
        lambda t: t.update(blocks=t["blocks"][:: chance.choice((-1, 2))]),
        lambda t: t["rows"].update(key_bytes=chance.choice(huge)),
        lambda t: t["rows"].update(digest=chance.choice(huge)),
        lambda t: t.update(backend=chance.choice((*names, "pickle", None, []))),
        lambda t: t.update(probes=[chance.choice((1, "x", [], None))]),
        lambda t: t.update(probes=[{}] * 70_000),
        lambda t: t.update(metadata={"zarr.json": chance.choice(huge)}),
        lambda t: t["identity"]["outputs"]["logits"].update(encoding=chance.choice(huge)),
        lambda t: t["identity"]["outputs"]["logits"].update(shape=[chance.choice(huge)] * 9),
        lambda t: t["identity"]["outputs"].update(
            {chance.choice(names): {"encoding": "float16", "shape": [7]}}
        ),
        lambda t: t["identity"]["outputs"]["few"].update(k=chance.choice(huge)),
        lambda t: t["identity"]["samples"].update(count=chance.choice(huge)),
        lambda t: t.update({f"more{chance.random()}": chance.choice(huge)}),
        lambda t: t.pop(chance.choice(sorted(t))),
    ]
    texts: list[Callable[[], bytes]] = [
        lambda: b"[" * chance.randrange(10_000, 15_000_000),
        lambda: b'{"a":' * chance.randrange(10_000, 2_000_000),
        lambda: b"[" + b"[]," * 5_000_000 + b"[]]",
        lambda: b"[" + b"0," * 7_000_000 + b"0]",
        lambda: b'{"format": ' + b"9" * chance.randrange(5000, 15_000_000) + b"}",
        lambda: b'{"format": "' + b"x" * 15_000_000 + b'"}',
        lambda: b"\xff\xfe" * chance.randrange(1, 1000),
        lambda: bytes(chance.randrange(256) for _ in range(2000)),
        lambda: b'{"format": NaN}',
        lambda: b"{" + b",".join(b'"k%d": {}' % i for i in range(400_000)) + b"}",
        lambda: b" " * 17_000_000,
    ]
    for number in range(count):
        if number % 4 == 3:
            yield texts[number // 4 % len(texts)]()
            continue
        broken = json.loads(json.dumps(tree))
        edits[number % len(edits)](broken)
        if isinstance(broken.get("identity"), dict):
            broken["id"] = identity_id(broken["identity"])
        broken["seal"] = _seal({name: value for name, value in broken.items() if name != "seal"})
        yield json.dumps(broken).encode()


# Loads each manifest that is named on a line, and says how long it took.
_LOADER = """
import re, sys, time
from pathlib import Path
from stillroom.cache.read.backends import open_store
from stillroom.errors import CacheError
for line in sys.stdin:
    began = time.perf_counter()
    try:
        open_store(Path(line.strip()))
        print("accepted", flush=True)
    except CacheError:
        # not getrusage, which counts what the parent took before it started this process
        memory = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1] + "000"
        print(time.perf_counter() - began, memory, flush=True)
"""


def manifests(folder: Path, count: int) -> dict:
    """Give `count` hostile manifests to a reader.

    Returns:
        how many were refused, the ones that were not, the longest time in seconds, the most memory in MB.
    """
    cache = make(folder)["zarr"]
    tree = json.loads((cache / "manifest.json").read_text())
    place = folder / "hostile"
    place.mkdir()
    reader = subprocess.Popen(
        [sys.executable, "-c", _LOADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdin is not None and reader.stdout is not None
    refused, accepted, slowest, most = 0, [], 0.0, 0.0
    for number, text in enumerate(hostile(tree, count)):
        (place / "manifest.json").write_bytes(text)
        print(place, file=reader.stdin, flush=True)
        said = reader.stdout.readline().split()
        if len(said) != 2:
            accepted.append(f"{number}: {text[:200]!r} {said}")
            if reader.poll() is not None:
                break
            continue
        refused += 1
        slowest, most = max(slowest, float(said[0])), max(most, int(said[1]) / 1e6)
    reader.stdin.close()
    reader.wait()
    return {"refused": refused, "accepted": accepted, "seconds": round(slowest, 3), "megabytes": round(most)}


def links(project: Path, commands: list[list[str]]) -> dict:
    """Run commands on a cache that is linked, as DVC links it: hard links, then symbolic ones.

    Args:
        project: a folder with samples, a teacher and a cache.
        commands: `stillroom` commands that read the cache, or write a new one.

    Returns:
        the files of the linked originals that changed, which must be none.
    """
    from tests.faults.kills import run

    cache, changed = project / "artifacts/cache", []
    whole = contents(cache)
    for kind in ("hard", "symbolic"):
        for arguments in commands:
            kept = project / "kept"
            shutil.rmtree(cache)
            shutil.rmtree(kept, ignore_errors=True)
            for name, content in whole.items():
                for place in (kept / name, cache / name):
                    place.parent.mkdir(parents=True, exist_ok=True)
                (kept / name).write_bytes(content)
                (kept / name).chmod(0o444)
                if kind == "hard":
                    os.link(kept / name, cache / name)
                else:
                    (cache / name).symlink_to(kept / name)
            run(project, "stillroom", *arguments)
            changed += [
                f"{kind}: {' '.join(arguments)}: {n}" for n, c in contents(kept).items() if c != whole[n]
            ]
    return {"commands": 2 * len(commands), "changed": changed}


class Tmpfs:
    """A small file system in memory; needs root."""

    def __init__(self, folder: Path, size: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))

    def change(self, options: str) -> None:
        """Other options for the mounted file system, such as `size=64m` or `ro`."""
        self._mount("-o", f"remount,{options}", str(self.folder))

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
        if done.returncode:
            raise PermissionError(done.stderr.strip())

    def __enter__(self) -> "Tmpfs":
        return self

    def __exit__(self, *unused: object) -> None:
        subprocess.run(["umount", str(self.folder)], check=False)


def full_disk(project: Path, folder: Path) -> dict:
    """`stillroom cache` on a disk that is too small, on one that cannot be written, and on a larger one.

    Returns:
        what was said, how many blocks were kept, and faults, which must be none.
    """
    from tests.faults.kills import committed, environment, run

    faults: list[str] = []
    with Tmpfs(folder, "900k") as disk:
        for name in ("params.yaml", "artifacts/data", "artifacts/teacher"):
            source, target = project / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)  # only what is written is on the small disk
        command = ("stillroom", "cache")

        def attempt() -> subprocess.CompletedProcess:
            done = warm.run(command, folder, environment())
            if "Traceback" in done.stderr:
                faults.append(f"a traceback: {done.stderr[-300:]}")
            return done

        done = attempt()
        if done.returncode != 1 or "No space left" not in done.stderr:
            faults.append(f"full: ended with {done.returncode}: {done.stderr[-300:]}")
        said, kept = done.stderr.strip(), committed(folder)
        left = [str(path) for path in folder.rglob("*.tmp")] + [
            str(path) for path in folder.rglob(".cache.*")
        ]
        if left:
            faults.append(f"left half-written: {left}")
        if (folder / "artifacts/cache").exists():
            faults.append("a store is in place")
        disk.change("size=64m")
        disk.change("ro")
        done = attempt()
        if done.returncode != 1 or "cannot be written" not in done.stderr:
            faults.append(f"read-only: ended with {done.returncode}: {done.stderr[-300:]}")
        disk.change("rw")
        run(folder, *command)
        again = committed(folder)
        if any(again.get(name) != mark for name, mark in kept.items()):
            faults.append("a committed block was computed again")
        if verify(folder / "artifacts/cache"):
            faults.append("the store is damaged")
    return {"said": said, "kept": len(kept), "faults": faults}
