"""Weights as safetensors files, and their digest."""

import hashlib
import json
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from stillroom.errors import AccessError, WeightsError


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
