"""Weights as safetensors files, and their digest."""

import hashlib
import json
import struct
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from stillroom.errors import AccessError, WeightsError, listing
from stillroom.modalities.base import Loaded

# A file that gives less than this share of a model's parameters is another architecture's.
LEAST_SHARE = 0.5


def read_weights(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file.

    Raises:
        WeightsError: missing, or not a safetensors file. Pickled files (.pt, .pth, .bin) are never opened.
        AccessError: this user may not read it.
    """
    if not file.is_file():
        raise WeightsError(
            f"there is no weights file {file}", fix="give a .safetensors file, `hub` or `none`"
        )
    if file.suffix != ".safetensors":
        raise WeightsError(
            f"{file} is not a .safetensors file",
            "pickled weights can run code when they are loaded",
            "convert it where you trust it: save_file(torch.load(FILE, weights_only=True), ...)",
        )
    try:
        file.open("rb").close()  # the library says of one that may not be read that it is not there
        return load_file(file)
    except PermissionError:
        raise AccessError(file) from None
    except (SafetensorError, OSError, struct.error) as error:
        raise WeightsError(
            f"{file} is damaged or no safetensors file", str(error), "fetch it again"
        ) from None


def fill_in(
    net: torch.nn.Module, tensors: dict[str, torch.Tensor], source: str, arch: str, head: Collection[str]
) -> Loaded:
    """Copy what fits from `tensors` into the model.

    Args:
        source: where they are from, and
        arch: what the model is called, for messages.
        head: names of the parameters that depend on the classes.

    Raises:
        WeightsError: less than half of the model's parameters would be filled (the head not counted).
    """
    own = net.state_dict()
    loaded = Loaded(
        source,
        missing=sorted(own.keys() - tensors.keys()),
        unexpected=sorted(tensors.keys() - own.keys()),
        remade=sorted(name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape),
    )
    fits = {
        name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape
    }
    counted = {name: value.numel() for name, value in net.named_parameters() if name not in head}
    share = sum(counted.get(name, 0) for name in fits) / max(1, sum(counted.values()))
    if share < LEAST_SHARE:
        shapes = [f"{n}: model {list(own[n].shape)}, file {list(tensors[n].shape)}" for n in loaded.remade]
        shapes += [f"{n}: not in the file" for n in loaded.missing]
        raise WeightsError(
            f"{source} holds the weights of another architecture than {arch}",
            f"only {share:.0%} of the model's parameters would be filled\n{listing(shapes, 6)}",
            "set arch to the architecture that the file was made from, or give another file",
        )
    with torch.no_grad():
        for name, tensor in fits.items():
            own[name].copy_(tensor)
    # derived tables that are the same for every model are not worth a word
    loaded.missing = [name for name in loaded.missing if not name.endswith("num_batches_tracked")]
    return loaded


def save_weights(net: torch.nn.Module, file: Path) -> None:
    """Write the weights under the network's own names, as they are, as safetensors."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    file.write_bytes(save(tensors))  # `save_file` gives nobody else the right to read it, whatever the umask


def weights_digest(net: torch.nn.Module) -> str:
    """sha256 over names, dtypes, shapes and bytes of all tensors by name; a file's layout does not matter."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        value = value.detach().cpu().contiguous()
        digest.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy() if value.numel() else b"")
    return digest.hexdigest()
