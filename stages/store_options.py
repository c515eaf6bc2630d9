"""The arguments that the commands of `stillroom store` share."""

from pathlib import Path
from typing import Any

import click

from stillroom_stages.artifacts import CACHE

as_json = click.option("--json", "as_json", is_flag=True, help="For machines.")


class CachePath(click.ParamType[str]):
    """A folder, or an address such as `s3://bucket/cache`, whose two slashes a path would lose."""

    name = "path"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        from stillroom.fetched import is_address

        return value if is_address(value) else Path(value)


cache_path = click.argument("path", type=CachePath(), default=CACHE)
