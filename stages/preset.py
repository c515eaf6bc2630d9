"""`stillroom preset`: a whole params.yaml for a named experiment."""

import sys

import click

from stillroom_stages.checks import check_choices
from stillroom_stages.options import about, some_keys, some_presets
from stillroom_stages.output import Output


@click.command(epilog=about("stillroom preset stanford40 --set views.count=64 > params.yaml"))
@click.argument("name", required=False, shell_complete=some_presets)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    shell_complete=some_keys,
    help="Change one value on the way.",
)
def preset(name: str | None, overrides: tuple[str, ...]) -> None:
    """Print an experiment's parameters. Without NAME: list the presets."""
    import difflib
    import io
    from importlib import resources

    from ruamel.yaml import YAML

    from stillroom.errors import ParamsError
    from stillroom.modalities.params import check, parse_override, set_value

    files = {
        file.name.removesuffix(".yaml"): file
        for file in resources.files("stillroom.presets").iterdir()
        if file.name.endswith(".yaml")
    }
    if name is None:
        width = max(map(len, files))
        for known in sorted(files):
            first = files[known].read_text(encoding="utf-8").splitlines()[0]
            click.echo(f"{known:{width}}  {first.removeprefix('# ')}")
        return
    if name not in files:
        near = difflib.get_close_matches(name, files, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ParamsError(f"there is no preset {name!r}", fix=f"{hint}presets: {', '.join(sorted(files))}")
    text = files[name].read_text(encoding="utf-8")
    if overrides:
        yaml = YAML()
        yaml.width = 4096  # a long path stays on its line
        tree = yaml.load(text)
        for override in overrides:
            set_value(tree, *parse_override(override))
        out = io.StringIO()
        yaml.dump(tree, out)
        text = out.getvalue()
    check_choices(check(YAML(typ="safe").load(text), f"preset {name}"), f"preset {name}")
    if isinstance(sys.stdout, Output):
        sys.stdout.reconfigure(encoding="utf-8")  # whatever the terminal has: that is how the file is read
    click.echo(text, nl=False)
