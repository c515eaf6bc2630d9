"""timm's folders, both ways: `config.json` beside `model.safetensors`, as of `local-dir:` and `hf-hub:`.

What is read of one is checked here, and pickled weights, which timm itself would fall back to, are never
opened.
"""

import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from huggingface_hub import hf_hub_download
from pydantic import AfterValidator, Field, ValidationError

from stillroom.errors import AccessError, WeightsError
from stillroom.files import read_small
from stillroom.modalities import LARGEST_RECORD
from stillroom.modalities.base import Start
from stillroom.modalities.finished import Part, faults
from stillroom.params import LOCAL, REMOTE

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PICKLED = (".bin", ".pth", ".pt", ".tar", ".ckpt")
# timm's own arguments fetch weights from the hub, an address or a (pickled) file; an architecture's do not.
TIMMS_OWN = set(inspect.signature(timm.create_model).parameters) - {"kwargs"} | {"num_classes"}

LARGEST = 2**24  # of the numbers among an architecture's arguments

Side = Annotated[int, Field(ge=16, le=4096)]
Spread = Annotated[float, Field(gt=0)]


def config(
    net: torch.nn.Module, arch: str, overrides: dict[str, Any], spec: dict[str, Any], classes: Sequence[str]
) -> dict[str, Any]:
    """What `config.json` says of a timm model, so that `timm.create_model("local-dir:FOLDER",
    pretrained=True)` makes the same one.

    Args:
        spec: `size`, `mean` and `std` of its input.
        classes: names, in label order.
    """
    native: dict[str, Any] = getattr(net, "pretrained_cfg", {})
    size = spec["size"]
    return {
        "architecture": arch.partition(".")[0],
        "num_classes": len(classes),
        "num_features": getattr(net, "num_features", None),
        "label_names": list(classes),
        "model_args": overrides,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [3, size, size],
            "fixed_input_size": native.get("fixed_input_size", False),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": spec["mean"],
            "std": spec["std"],
            "num_classes": len(classes),
            "pool_size": None,
            "first_conv": native.get("first_conv"),
            "classifier": native.get("classifier"),
        },
    }


def of_the_architecture(overrides: dict[str, Any]) -> dict[str, Any]:
    """Refuse arguments that are timm's own, and sizes that no model has.

    Raises:
        ValueError: names them.
    """
    if (largest := max(_numbers(overrides), default=0)) > LARGEST:
        raise ValueError(f"{largest:.3g} is larger than any size of a model")
    refused = [name for name in overrides if name in TIMMS_OWN or name.startswith("pretrained")]
    if refused:
        raise ValueError(f"{', '.join(sorted(refused))} cannot be set here")
    return overrides


def _numbers(value: Any) -> Iterator[float]:
    """The absolute values of the numbers in a tree of JSON."""
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _numbers(one)
    elif isinstance(value, int | float):
        yield abs(value)


def _arguments(given: dict[str, Any]) -> dict[str, Any]:
    """`model_args` as timm keeps them: among them what follows from the classes, and what is None."""
    args = {name: value for name, value in given.items() if value is not None and name != "num_classes"}
    if args.pop("in_chans", 3) != 3:
        raise ValueError("in_chans is not 3: images here have three channels")
    return of_the_architecture(args)


class Pretrained(Part):
    """`pretrained_cfg`, as far as it is looked at; what is not given is timm's own."""

    input_size: (
        Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=3, max_length=3)] | None
    ) = None
    mean: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    std: Annotated[list[Spread], Field(min_length=3, max_length=3)] | None = None


class Config(Part):
    """`config.json`, likewise."""

    architecture: str
    label_names: list[str] | dict[str, str] | None = None
    model_args: Annotated[dict[str, Any], AfterValidator(_arguments)] = {}
    pretrained_cfg: Pretrained = Pretrained()

    @property
    def classes(self) -> list[str] | None:
        """Names in label order; None: they are not said."""
        names = self.label_names
        if isinstance(names, dict):
            try:
                return [names[str(label)] for label in range(len(names))]
            except KeyError:  # numbers that leave some out
                return None
        return names or None

    @property
    def side(self) -> int | None:
        """Of its input, in pixels."""
        return None if self.pretrained_cfg.input_size is None else self.pretrained_cfg.input_size[-1]


def folder_of(name: str) -> Path:
    """The folder of a `local-dir:` name."""
    return Path(os.path.expanduser(name.removeprefix(LOCAL)))


def read(name: str) -> tuple[Config, Start]:
    """What a folder or a repository says of its model, and the weights in it.

    Args:
        name: begins with `local-dir:` or `hf-hub:`.

    Raises:
        WeightsError: it is not there, or holds no model of timm's with safetensors weights.
        AccessError: this user may not read it.
    """
    if name.startswith(LOCAL):
        folder = folder_of(name)
        if not folder.is_dir():
            raise WeightsError(f"there is no folder {folder}", f"the name of a model, {name}, says so")
        file, weights = folder / CONFIG, folder / WEIGHTS
        if not file.is_file():
            raise WeightsError(
                f"{folder} is no folder of timm's",
                f"there is no {CONFIG} in it",
                "an older version of stillroom wrote none: train it anew, or write one (docs/students.md)",
            )
        if not weights.is_file():
            raise _no_weights(str(folder), [one.name for one in folder.iterdir()])
    else:
        file, weights = (_of_repository(name.removeprefix(REMOTE), one) for one in (CONFIG, WEIGHTS))
    config = _parse(file, name)
    return config, Start(weights, name if name.startswith(REMOTE) else WEIGHTS, config.classes)


def short_name(name: str) -> str:
    """A name that a student's folder may have: the last part of it, and eight digits of a digest of what the
    model is (its architecture, arguments and weights), wherever it lies.

    Raises:
        WeightsError, AccessError: see `read`.
    """
    config, start = read(name)
    found = hashlib.sha256(json.dumps([config.architecture, config.model_args], sort_keys=True).encode())
    with start.file.open("rb") as stream:
        found.update(hashlib.file_digest(stream, "sha256").digest())
    last = (
        name.partition("@")[0].split("/")[-1] if name.startswith(REMOTE) else folder_of(name).resolve().name
    )
    plain = re.sub(r"[^a-z0-9]+", "_", last.lower()).strip("_")[:60] or "model"
    return f"{plain}.{found.hexdigest()[:8]}"


def _parse(file: Path, name: str) -> Config:
    try:
        tree = json.loads(read_small(file, LARGEST_RECORD))
        if isinstance(tree, dict) and "pretrained_cfg" not in tree:  # of older timm, all in one
            tree = {"label_names": tree.get("labels"), **tree, "pretrained_cfg": tree}
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise WeightsError(f"{file} describes no model of timm's:\n{faults(error)}") from None
    except PermissionError:
        raise AccessError(file) from None
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file} cannot be read", str(error)[:200], "fetch it again") from None
    if not timm.is_model(config.architecture):
        raise WeightsError(
            f"{name}: this timm has no architecture {config.architecture!r:.80}",
            f"{file} names it",
            "install the timm that it was made with, or register it in a module and give that one as "
            "teacher.arch: MODULE:FUNCTION",
        )
    return config


def _of_repository(named: str, file: str) -> Path:
    repository, _, revision = named.partition("@")
    return from_hub(
        repository,
        file,
        revision or None,
        f"{file} of {repository}",
        f"download it where there is a network, or give its folder as {LOCAL}FOLDER",
    )


def from_hub(repository: str, file: str, revision: str | None, what: str, fix: str) -> Path:
    """A file of a hub's repository, or what was kept of it on this machine.

    Args:
        what: is asked for, and
        fix: what to do without it, for the message.

    Raises:
        WeightsError: there is no network, no such repository, no access to it, or no such file in it.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        # never the repository's pickled twin, which timm would fall back to
        return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=5))
    except Exception as error:
        if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            if file == WEIGHTS:
                raise _no_weights(repository, []) from None
            raise WeightsError(f"{repository} is no repository of timm's", f"it has no {file}") from None
        if isinstance(error, RepositoryNotFoundError):  # gated ones among them
            fix = f"where it needs access, log in (`hf auth login`) or set HF_TOKEN; else {fix}"
        raise WeightsError(
            f"{what} cannot be had from the hub",
            f"{type(error).__name__}: {(str(error).splitlines() or ['no further word'])[0]}",
            f"{fix}; HF_HUB_OFFLINE=1 uses what was downloaded before",
        ) from None


def _no_weights(where: str, files: Sequence[str]) -> WeightsError:
    pickled = sorted(one for one in files if one.endswith(PICKLED))
    return WeightsError(
        f"{where} holds no {WEIGHTS}",
        f"{', '.join(pickled[:3])} may be pickled: such weights can run code when they are loaded, and are "
        "never opened"
        if pickled
        else "weights are taken from that file alone",
        f"convert them where you trust them: save_file(torch.load(FILE, weights_only=True), '{WEIGHTS}')",
    )
