"""What was found out about a machine: facts, and problems with what to do about each."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing that will be a problem; `stops`: stages cannot work before it is mended."""

    what: str
    why: str
    do: str
    stops: bool


@dataclass
class Findings:
    """Facts by name, each a JSON value, and the problems."""

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, what: str, why: str, do: str, stops: bool = False) -> None:
        """Add a problem."""
        self.problems.append(Problem(what, why, do, stops))

    @property
    def ok(self) -> bool:
        """Whether nothing stops the stages."""
        return not any(one.stops for one in self.problems)

    def to_json(self) -> dict[str, Any]:
        """What `stillroom doctor --json` prints."""
        return {"ok": self.ok, "facts": self.facts, "problems": [asdict(one) for one in self.problems]}


def readable_size(count: int) -> str:
    """Bytes in binary units: `1.5 GiB`, `64 MiB`."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
