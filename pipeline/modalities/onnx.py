"""A model as an ONNX file with a free batch size, compared with the model before it is put in its place."""

import contextlib
import io
import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stillroom.errors import StillroomError
from stillroom.files import whole_file
from stillroom.modalities.base import Model

BOUND = 1e-4  # largest difference of a logit, as a share of the largest logit (at least 1)


def to_onnx(model: Model, classes: Sequence[str], target: Path, name: str) -> float:
    """Write `target`; whole or not at all.

    Args:
        model: on the CPU.
        classes: names, in label order, kept in the file's metadata beside the model's spec.
        name: of the file's input.

    Returns:
        the largest difference of a logit, relative as `BOUND`, over batches of 1, 2 and 5.

    Raises:
        StillroomError: the optional packages are missing, the model cannot be written as ONNX, or its logits
            are not those of the model.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise StillroomError(
            "a package for ONNX is missing", str(error), "run `pip install 'stillroom[onnx]'`"
        ) from None
    net = model.net.cpu().eval()
    draw = torch.Generator().manual_seed(0)
    example = torch.randn(model.example(2).shape, generator=draw)
    with tempfile.TemporaryDirectory(dir=_folder(target), prefix=f".{target.name}.") as folder:
        file = Path(folder) / "model.onnx"
        try:
            _export(net, example, file, name)
        except Exception as error:  # the exporter raises what its many parts raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise StillroomError(f"torch cannot write {model.arch} as ONNX", reason[:200]) from None
        made = onnx.load(file)
        described = {**model.spec, "classes": classes}
        onnx.helper.set_model_props(made, {name: json.dumps(value) for name, value in described.items()})
        onnx.save(made, file)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        apart = 0.0
        for count in (1, 2, 5):
            inputs = torch.randn(model.example(count).shape, generator=draw)
            with torch.inference_mode():
                own = net(inputs).numpy()
            [theirs] = session.run(["logits"], {name: inputs.numpy()})
            apart = max(apart, float(np.abs(own - theirs).max() / max(1.0, np.abs(own).max())))
        if not apart <= BOUND:
            raise StillroomError(
                f"the ONNX file of {model.arch} does not say what the model says",
                f"its logits differ by {apart:.1e}, more than {BOUND:g}",
                "install other versions of torch, onnx and onnxscript; nothing was written",
            )
        with file.open("rb") as stream, whole_file(target, durable=False) as checked:
            shutil.copyfileobj(stream, checked)
    return apart


def _export(net: torch.nn.Module, example: torch.Tensor, file: Path, name: str) -> None:
    batch = torch.export.Dim("batch", min=1)
    # Twins attends within windows, in five dimensions, which the exporter's fused attention does not know;
    # written out, attention is the same for all
    fused: list[Any] = [module for module in net.modules() if getattr(module, "fused_attn", False) is True]
    for module in fused:
        module.fused_attn = False
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net,
                (example,),
                str(file),
                input_names=[name],
                output_names=["logits"],
                dynamic_shapes=({0: batch},),
                external_data=False,
                dynamo=True,
            )
    finally:
        for module in fused:
            module.fused_attn = True


def _folder(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder")
    except OSError as error:
        raise StillroomError(f"{target} cannot be written", error.strerror or str(error)) from None
    return target.parent
