"""What the commands share: `--params` and `--set`, the shell's completion, the end of a help text."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stillroom_stages.checks import check_choices, check_inputs

if TYPE_CHECKING:
    from stillroom.params import Params


def about(example: str, dvc: str = "") -> str:
    """The end of a command's help: a line to copy, and which DVC stage runs it."""
    return f"\b\nExample:    {example}\nDVC stage:  {dvc or 'none, a tool'}"


def some_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What `--set` may begin with, for the shell's completion."""
    from stillroom.modalities.params import keys

    return [f"{key}=" for key in keys() if key.startswith(incomplete)]


def some_families(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The families, for the shell's completion."""
    from stillroom import modalities

    known = [name for one in modalities.names() for name in modalities.get(one).families()]
    return [name for name in known if name.startswith(incomplete)]


def some_arms(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The losses, for the shell's completion."""
    from stillroom import losses

    return [name for name in losses.names() if name.startswith(incomplete)]


def some_presets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The presets, for the shell's completion."""
    from importlib import resources

    files = (file.name for file in resources.files("stillroom.presets").iterdir())
    names = sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))
    return [name for name in names if name.startswith(incomplete)]


def trusting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--trust`, the function that a model's folder may name as what makes it."""

    @click.option(
        "--trust",
        "trusted",
        metavar="MODULE:FUNCTION",
        multiple=True,
        help="A function of Python that may be called where the folder names it as what makes its model.",
    )
    @wraps(command)
    def wrapped(*given: Any, trusted: tuple[str, ...], **arguments: Any) -> Any:
        from stillroom.trust import trust

        trust(*trusted)
        return command(*given, **arguments)

    return wrapped


def parameters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--params` and `--set`, which `read_parameters` takes."""
    file = click.option(
        "--params",
        "params_file",
        type=click.Path(path_type=Path),
        default=Path("params.yaml"),
        show_default=True,
        help="Parameters file.",
    )
    keys = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        shell_complete=some_keys,
        help="Override one parameter.",
    )
    return file(keys(command))  # type: ignore[no-any-return]


def read_parameters(params_file: Path, overrides: tuple[str, ...]) -> "Params":
    """The checked parameters.

    Raises:
        ParamsError: a key or value is wrong; names it, and the nearest valid one.
    """
    from stillroom.fetched import masked
    from stillroom.modalities.params import load_params

    params = load_params(params_file, overrides)
    check_choices(params, f"--set {masked(' '.join(overrides))}" if overrides else str(params_file))
    check_inputs(params)
    return params


def stage(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--params` and `--set`, and pass it the checked parameters as `params`."""

    @parameters
    @wraps(command)
    def wrapped(params_file: Path, overrides: tuple[str, ...], **arguments: Any) -> Any:
        return command(params=read_parameters(params_file, overrides), **arguments)

    return wrapped
