"""Which functions of Python may be called because a file names them: those that this user has named.

A `teacher.json` that somebody shared may name any. What `params.yaml` names as `teacher.arch` is trusted, as
`--trust` and `load_model(..., trust=...)` are; processes that are started from here are told.
"""

import os

from stillroom.errors import ParamsError

VARIABLE = "STILLROOM_TRUST"  # names, with commas between


def trust(*names: str) -> None:
    """Trust functions, each as `module:function`, in this process and those that it starts."""
    os.environ[VARIABLE] = ",".join(dict.fromkeys([*_trusted(), *names]))


def check_trusted(name: str) -> None:
    """Refuse a function that nobody here has named.

    Raises:
        ParamsError: see above.
    """
    if name not in _trusted():
        raise ParamsError(
            f"a teacher.json names the function {name} as its model, and it is not called on a file's word",
            "importing a module and calling a function runs whatever is in them",
            f"if you trust it, say so: --trust {name}, or {VARIABLE}={name} in the environment (in Python: "
            f'load_model(FOLDER, trust="{name}"))',
        )


def _trusted() -> list[str]:
    return [one.strip() for one in os.environ.get(VARIABLE, "").split(",") if one.strip()]
