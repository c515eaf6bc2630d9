"""Mutated image files: each gives pixels or `UnreadableError`, in words, and stays within its memory.

python -m tests.fuzz.images --count 20000 --seed 1
"""

import random
import resource
import sys
import traceback
from pathlib import Path

import numpy as np

from stillroom.modalities.images.decode import UnreadableError, decode
from tests.fuzz import command_line
from tests.modalities.images.odd_images import odd_images

MOST_MEMORY = 2**30  # bytes beyond those at the start; the largest image that is read takes half


def mutated(content: bytes, dice: random.Random) -> bytes:
    """A file with some bits flipped, bytes set, a piece gone, doubled, moved or zeroed, or its end gone."""
    broken = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        if not broken:
            break
        place = min(dice.randrange(len(broken)), dice.choice((40, 200, 10**9)))  # headers more often
        piece = dice.choice((1, 2, 4, 30))
        match dice.randrange(7):
            case 0:
                broken[place] ^= 1 << dice.randrange(8)
            case 1:
                broken[place] = dice.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del broken[place : place + piece]
            case 3:
                broken[place:place] = broken[place : place + piece]
            case 4:
                broken[place : place + piece] = bytes(dice.randrange(256) for _ in range(piece))
            case 5:
                broken[place : place + 4] = dice.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1)).to_bytes(
                    4, "big"
                )
            case _:
                if dice.random() < 0.3:
                    del broken[place:]
    return bytes(broken)


def memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(count: int, seed: int, limit: int = 20) -> tuple[list[tuple[bytes, str]], int]:
    """The inputs that are met wrongly, at most `limit`: (file, what is wrong); and how many gave pixels."""
    dice = random.Random(seed)
    files = [odd.content for odd in odd_images() if len(odd.content) < 200_000]
    found: list[tuple[bytes, str]] = []
    read, start = 0, memory()
    for _ in range(count):
        content = mutated(dice.choice(files), dice)
        try:
            pixels = decode(content)
            read += 1
            fault = "" if pixels.dtype == np.uint8 and pixels.shape[2:] == (3,) else f"gave {pixels.shape}"
        except UnreadableError as error:
            fault = "" if 5 < len(str(error)) < 200 and "\n" not in str(error) else f"says {error}"
        except Exception:
            fault = traceback.format_exc(limit=-3)
        if memory() - start > MOST_MEMORY:
            fault, start = fault or f"took {memory() - start:,} bytes", memory()
        if fault:
            found.append((content, fault))
            if len(found) == limit:
                break
    return found, read


if __name__ == "__main__":
    reader = command_line(__doc__)
    reader.add_argument("--keep", type=Path, help="A folder for the files that are met wrongly.")
    chosen = reader.parse_args()
    faults, good = run(chosen.count, chosen.seed)
    for number, (content, fault) in enumerate(faults):
        print(f"--- {content[:12]!r}... of {len(content)} bytes\n{fault}")
        if chosen.keep:
            (chosen.keep / f"fault-{number}").write_bytes(content)
    print(f"{chosen.count} inputs, seed {chosen.seed}: {len(faults)} faults; {good} gave pixels")
    sys.exit(bool(faults))
