"""Mutated parameters: whatever a params.yaml or a `--set` holds is taken, or refused with one message.

python -m tests.fuzz.params --count 20000 --seed 1
"""

import random
import re
import sys
import tempfile
import traceback
from importlib import resources
from pathlib import Path

from stillroom.errors import ParamsError
from stillroom.modalities.params import keys, load_params
from stillroom.params import Params
from stillroom_stages.checks import check_choices
from tests.conftest import TINY
from tests.fuzz import command_line

# What stands for a value, two spaces apart: of every YAML type, at and beyond the ends of ranges, and what
# YAML readers trip over
VALUES = re.split(
    r"\s{2,}|\n",
    r"""
0  1  -1  2  3.5  -0.0  0.5  1.0  1e-3  1e3  1e400  -.inf  .nan  99999999999999999999999  0x10  0o7
1_000  true  false  yes  no  on  null  ~  ''  "8"  '1e-3'  abc  ViT  hub  None  none  ~/x  ../x
/dev/null  é  日本  "\0"  {}  []  [1]  [1,2]  [0.5,2.0]  [a,b]  [null]  [[1]]  {a:1}  {a: 1}  {1: 2}
{null: 1}  {[1]: 2}  {a: {b: [1, 2]}}  2020-01-01  2020-13-45  12:30:45  !!int abc  !!float x
!!binary aGk=  !!set {a}  !!omap [a: 1]  !!python/name:os.system  !foo  &a [*a]  *a  >  %  @  `  ?  -  :
#  !  &  *  <<  {<<: {a: 1}}  {a: 1, a: 2}  [  {  ]  }  "  '  crop  centre  kd  vit  micro  resnet18  sgd
topk  zarr  artifacts/teacher
""".strip(),
)
TOKENS = (
    "\t",
    "\n",
    " ",
    ":",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "#",
    '"',
    "'",
    "\0",
    "\ufeff",
    "é",
    "&a ",
    "*a",
    "<<: ",
)
INNER = (
    "name",
    "scale",
    "flip",
    "lr",
    "epochs",
    "alpha",
    "vit",
    "resnet18.a1_in1k",
    "x",
    "",
    " ",
    ".",
    "é",
    "0",
)


def texts() -> list[str]:
    """Valid files to start from."""
    presets = (file for file in resources.files("stillroom.presets").iterdir() if file.name.endswith(".yaml"))
    return [TINY, *(file.read_text(encoding="utf-8") for file in presets)]


def mutated(text: str, dice: random.Random) -> str:
    """A file with up to four faults: a value, a line or some characters changed, gone, doubled or moved."""
    for _ in range(dice.randint(0, 4)):
        lines = text.split("\n")
        number = dice.randrange(len(lines))
        match dice.randrange(6):
            case 0:
                lines[number] = f"{lines[number].partition(':')[0]}: {dice.choice(VALUES)}"
            case 1:
                del lines[number]
            case 2:
                lines.insert(dice.randrange(len(lines)), lines[number])
            case 3:
                lines[number] = dice.choice(("  ", "\t", "- ")) + lines[number]
            case 4:
                lines[number] = lines[number].lstrip()
            case _:
                place = dice.randrange(len(text) + 1)
                length = dice.choice((0, 0, 1, 5))
                lines = (text[:place] + dice.choice(TOKENS) + text[place + length :]).split("\n")
        text = "\n".join(lines) or "\n"
    return text


def override(dice: random.Random) -> str:
    """A `--set` of some key, or of what is nearly one, to some value."""
    name = dice.choice(keys())
    parts = name.split(".")
    match dice.randrange(6):
        case 0:
            name = f"{name}.{dice.choice(INNER)}"
        case 1:
            del parts[dice.randrange(len(parts))]
            name = ".".join(parts)
        case 2:
            letters = list(name)
            letters[dice.randrange(len(letters))] = dice.choice("aZ._ -é")
            name = "".join(letters)
        case 3:
            name = ".".join(parts[: dice.randint(1, len(parts))])
        case _:
            pass
    return f"{name}={dice.choice(VALUES)}" if dice.random() > 0.02 else name


def tried(file: Path, text: str, overrides: tuple[str, ...]) -> str:
    """What is wrong with how an input is met; empty if nothing."""
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        params = load_params(file, overrides)
        check_choices(params, str(file))
        return "" if isinstance(params, Params) else f"gave {type(params)}"
    except ParamsError as error:
        said = str(error)
        inner = [word for word in INSIDE if word in said]
        return f"shows {inner}: {said}" if inner else "" if len(said) < 4000 else "says too much"
    except Exception:
        return traceback.format_exc(limit=-3)


INSIDE = (
    "function-",
    "constrained",
    "tuple[",
    "literal[",
    "instance of",
    "[key]",
    "pydantic",
    "object at 0x",
)


def run(count: int, seed: int, limit: int = 20) -> list[tuple[str, tuple[str, ...], str]]:
    """The inputs that are met wrongly, at most `limit` of them: (file, overrides, what is wrong)."""
    dice, found, start = random.Random(seed), [], texts()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "params.yaml"
        for _ in range(count):
            plain = dice.random() < 0.5
            text = TINY if plain else mutated(dice.choice(start), dice)
            overrides = tuple(override(dice) for _ in range(dice.randint(1, 2) if plain else 0))
            if fault := tried(file, text, overrides):
                found.append((text if not plain else "", overrides, fault))
                if len(found) == limit:
                    break
    return found


if __name__ == "__main__":
    chosen = command_line(__doc__).parse_args()
    faults = run(chosen.count, chosen.seed)
    for text, overrides, fault in faults:
        print(f"--- {overrides or text!r}\n{fault}")
    print(f"{chosen.count} inputs, seed {chosen.seed}: {len(faults)} faults")
    sys.exit(bool(faults))
