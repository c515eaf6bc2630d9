"""Mutated text files that a reader takes: split.csv, skip lists, tables of labels, the official splits and
annotations, the older samples.json, report.json, manifest.json. Each is read, or refused with one message.

python -m tests.fuzz.tables --count 20000 --seed 1
"""

import json
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from stillroom.cache.format.identity import identity_id
from stillroom.cache.format.manifest import _seal
from stillroom.cache.read.backends import open_store
from stillroom.errors import StillroomError
from stillroom.modalities import load_samples
from stillroom.modalities.images.datasets import table as table_data
from stillroom.modalities.images.preparation import prepare, summary
from stillroom.modalities.images.preparation.pack import pack
from stillroom.modalities.images.settings import Data
from stillroom.progress import Progress
from stillroom.samples import NAME, Samples
from tests import tables
from tests.faults.damage import make as make_caches
from tests.fuzz import command_line

PIECES = (
    *(
        "\n",
        "\r",
        "\0",
        "\t",
        " ",
        ",",
        '"',
        "'",
        "/",
        "..",
        "../",
        "/etc/passwd",
        "\\",
        "#",
        "<",
        ">",
        "&",
        ";",
    ),
    *(
        "{",
        "}",
        "[",
        "]",
        ":",
        "null",
        "true",
        "-1",
        "1e999",
        "NaN",
        "9" * 40,
        "train",
        "test",
        "val",
        "VAL",
        "é",
    ),
    *(
        "e\u0301",
        "\u2028",
        "\u202e",
        "\ufeff",
        "\x85",
        "<!DOCTYPE x>",
        "&amp;",
        "<size>",
        "</bndbox>",
        "%s",
        "{0}",
    ),
)


def mutated(text: str, dice: random.Random) -> bytes:
    """A text with some pieces put in, gone, doubled or moved, lines too; some of them no text at all."""
    for _ in range(dice.choice((0, 1, 1, 2, 4, 9))):
        place, length = dice.randrange(len(text) + 1), dice.choice((0, 1, 3, 20))
        match dice.randrange(5):
            case 0:
                text = text[:place] + dice.choice(PIECES) + text[place + length :]
            case 1:
                text = text[:place] + text[place + length :]
            case 2:
                text = text[:place] + text[place : place + length] + text[place:]
            case 3:
                lines = text.split("\n")
                lines.insert(dice.randrange(len(lines) + 1), dice.choice(lines))
                text = "\n".join(lines)
            case _:
                lines = text.split("\n")
                del lines[dice.randrange(len(lines))]
                text = "\n".join(lines)
    content = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.1:
        place = dice.randrange(len(content) + 1)
        content = content[:place] + bytes(dice.randrange(256) for _ in range(3)) + content[place + 1 :]
    return content


def sealed(content: bytes) -> bytes:
    """A mutated manifest with its id and its seal put right, if it is JSON: what it says is to be judged."""
    try:
        tree = json.loads(content)
        tree["id"] = identity_id(tree["identity"])
        tree["seal"] = _seal({name: value for name, value in tree.items() if name != "seal"})
        return json.dumps(tree).encode()
    except (KeyError, RecursionError, TypeError, ValueError):
        return content


@dataclass(frozen=True)
class Target:
    """A file that is mutated, what reads it, and what is done to its content before."""

    name: str
    file: Path
    text: str
    read: Callable[[], object]
    finish: Callable[[bytes], bytes] = lambda content: content


def picture(file: Path, shade: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6 + shade % 5, 5), (shade, 9, 90)).save(file)


def targets(folder: Path) -> list[Target]:
    """All files, sound, under `folder`."""
    silent = Progress()
    folded, drawn = folder / "folded", folder / "official"
    for number in range(4):
        for kind in ("cat", "dog"):
            picture(folded / kind / f"{number}.png", 10 * number + len(kind))
            picture(drawn / "JPEGImages" / f"{kind}_{number:03d}.jpg", 10 * number + ord(kind[0]))
    rows = [
        f"{kind}/{number}.png,{'test' if number == 0 else 'train'}"
        for kind in ("cat", "dog")
        for number in range(4)
    ]
    csv, skip = folded / "split.csv", folder / "skip.txt"
    by_table = Data(name="folder", path=str(folded))
    skipping = Data(name="folder", path=str(folded), skip=str(skip))
    published = Data(name="stanford40", path=str(drawn), official=False)

    def make(data: Data) -> Callable[[], object]:
        return lambda: prepare(data, folder / "none", silent)

    names = [f"{kind}_{number:03d}" for kind in ("cat", "dog") for number in range(4)]
    splits = {
        "train": "".join(f"{name}.jpg\r\n" for name in names if not name.endswith("000")),
        "test": "".join(f"{name}.jpg\r\n" for name in names if name.endswith("000")),
        "actions": "action_name\t\tnumber\t\r\ncat\t\t4\t\r\ndog\t\t4\t\r\n",
    }
    (drawn / "ImageSplits").mkdir()
    (drawn / "XMLAnnotations").mkdir()
    box = "<bndbox><xmax>5</xmax><xmin>1</xmin><ymax>4</ymax><ymin>1</ymin></bndbox>"
    size = "<size><depth>3</depth><height>5</height><width>6</width></size>"
    xml = f"<annotation>\n<object><name>person</name>{box}</object>\n{size}\n</annotation>"
    found = [
        Target("split.csv", csv, "\n".join(["file,split", *rows, ""]), make(by_table)),
        Target("skip list", skip, "# not these\ncat/3.png\ndog/3.png\n", make(skipping)),
        *(
            Target(f"{name}.txt", drawn / "ImageSplits" / f"{name}.txt", text, make(published))
            for name, text in splits.items()
        ),
        Target("annotation", drawn / "XMLAnnotations" / "cat_001.xml", xml, make(published)),
    ]
    listed = [
        (f"{kind}/{number}.png", kind, "train" if number else "test")
        for kind in ("cat", "dog")
        for number in range(4)
    ]
    lines = [f"{name},{kind},{split}," for name, kind, split in listed]
    objects = [
        json.dumps({"path": name, "class": kind, "split": split, "box": [1, 1, 4, 4]})
        for name, kind, split in listed
    ]
    classes = folder / "classes.txt"
    of_table = {"name": "table", "path": str(folded), "classes": str(classes)}

    def by_list(file: Path) -> Callable[[], object]:
        data = table_data.Data.model_validate(of_table | {"table": str(file)})
        return lambda: sound(prepare(data, folder / "none", silent).samples)

    found += [
        Target(
            "labels.csv",
            folder / "labels.csv",
            "\n".join(["file,label,split,box", *lines, ""]),
            by_list(folder / "labels.csv"),
        ),
        Target(
            "lines.jsonl", folder / "lines.jsonl", "\n".join([*objects, ""]), by_list(folder / "lines.jsonl")
        ),
        Target("classes.txt", classes, "cat\ndog\n", by_list(folder / "labels.csv")),
    ]
    for target in found:
        target.file.write_text(target.text, newline="")
    table = folder / "table"
    prepared = prepare(by_table, folder / "none", silent)
    prepared.samples.save(table)
    report = summary.describe(prepared, table / NAME)
    old = folder / "old"
    old.mkdir()
    content = tables.read(table) | {"format": "stillroom-samples/1"}
    pack(prepared.samples, folder / "shards", 2**20, silent)
    shards = Data(name="shards", path=str(folder / "shards"))
    about = folder / "shards/dataset.json"

    def page() -> object:
        told = summary.read(table)
        return summary.lines(told) if told else None

    found += [
        Target(
            "samples.json",
            old / "samples.json",
            json.dumps(content, indent=0),
            lambda: sound(load_samples(old, folded)),
        ),
        Target("report.json", table / "report.json", json.dumps(report, indent=1), page),
        Target("dataset.json", about, about.read_text(), make(shards)),
    ]
    cache = make_caches(folder / "caches")["zarr"]
    manifest = json.dumps(json.loads((cache / "manifest.json").read_text()), indent=1)
    for finish in (Target.finish, sealed):
        found.append(
            Target("manifest.json", cache / "manifest.json", manifest, lambda: open_store(cache), finish)
        )
    return found


def sound(samples: Samples) -> None:
    """What a table that was accepted must be: the stages index by it and open what it names."""
    for row in samples.rows:
        assert samples.classes[row.label] and row.label >= 0 and min(row.size) > 0
        assert samples.file(row).resolve().is_relative_to(samples.root.resolve())
        assert row.box is None or all(isinstance(edge, int) for edge in row.box)


def run(count: int, seed: int, limit: int = 20) -> list[tuple[str, bytes, str]]:
    """The inputs that are met wrongly, at most `limit`: (which file, its content, what is wrong)."""
    dice = random.Random(seed)
    found: list[tuple[str, bytes, str]] = []
    folder = Path(tempfile.mkdtemp())
    try:
        chosen = targets(folder)
        for number in range(count):
            target = chosen[number % len(chosen)]
            content = target.finish(mutated(target.text, dice))
            target.file.write_bytes(content)
            try:
                target.read()
                fault = ""
            except StillroomError as error:
                said = str(error)
                fault = "" if len(said) < 4000 else f"says {len(said)} characters"
            except Exception:
                fault = traceback.format_exc(limit=-3)
            target.file.write_text(target.text, newline="")
            if fault:
                found.append((target.name, content, fault))
                if len(found) == limit:
                    break
    finally:
        shutil.rmtree(folder)
    return found


if __name__ == "__main__":
    options = command_line(__doc__).parse_args()
    faults = run(options.count, options.seed)
    for name, content, fault in faults:
        print(f"--- {name} {content!r:.600}\n{fault}")
    print(f"{options.count} inputs, seed {options.seed}: {len(faults)} faults")
    sys.exit(bool(faults))
