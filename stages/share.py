"""`stillroom share`: a cache, a student or a teacher to where others read it, with a card."""

from pathlib import Path

import click

from stillroom_stages.artifacts import CACHE, DATA, REPORT
from stillroom_stages.console import shown
from stillroom_stages.options import about, trusting


@click.command(epilog=about("stillroom share artifacts/cache hf://datasets/USER/REPO/cache"))
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("address")
@click.option("--license", "licence", metavar="ID", help="For the card, such as apache-2.0.")
@click.option("--replace", is_flag=True, help="Also where another cache or model lies there.")
@click.option("--dry-run", is_flag=True, help="Check it and show files and card; ask and send nothing.")
@trusting
def share(folder: Path, address: str, licence: str | None, replace: bool, dry_run: bool) -> None:
    """Upload a cache or a finished model, with a card.

    FOLDER is what `cache`, `student` or `teacher` wrote. ADDRESS: of a cache hf://datasets/USER/REPO/path, of
    a model hf://USER/REPO; of both s3://bucket/folder, ssh://host/folder, or a folder. All of it is checked
    first; what is there already is not sent again, and what says that it is whole goes last. Tokens are those
    of `hf auth login`, or HF_TOKEN.
    """
    from stillroom.reporting.wording import size
    from stillroom.sharing.card import card, look_around
    from stillroom.sharing.contents import examine, kind_in
    from stillroom.sharing.share import check_place
    from stillroom.sharing.share import share as upload
    from stillroom.sharing.targets import target_of

    with shown() as console:
        target = target_of(address, kind_in(folder))  # before every byte of a large cache is read
        check_place(folder, target)
        shared = examine(folder, console)
        around = look_around(shared, DATA, REPORT / "results.json", CACHE)
        text = card(shared, address, around, licence)
        if shared.left:
            console.note(f"left here, no part of the cache: {', '.join(shared.left[:6])}")
        if not dry_run:
            done = upload(shared, target, text, replace, console)
    if dry_run:
        for path, count in shared.files.items():
            click.echo(f"{count:>12,}  {path}")
        total = sum(shared.files.values())
        click.echo(
            f"{total:>12,}  bytes in {len(shared.files)} files would go to {target.shown}; README.md:\n"
        )
        click.echo(text)
        return
    removed = f", {done.gone} of an earlier one removed" if done.gone else ""
    click.echo(
        f"{target.shown}: {done.sent[0]} files uploaded, {size(done.sent[1])} ({done.sent[1]:,} bytes); "
        f"{done.kept[0]} were there{removed}"
    )
    click.echo(
        {
            "written": "README.md: written",
            "there": "README.md: as it was",
            "kept": "README.md: another one lies there, and stays (--dry-run shows ours)",
        }[done.card]
    )
