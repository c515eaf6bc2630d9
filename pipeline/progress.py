"""How the library reports what it is doing, without printing: a caller passes a `Progress` that shows it."""


class Progress:
    """A silent progress report; commands pass one that draws a bar or prints lines."""

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin a piece of work of `total` units (say, 4000 "images"); it replaces the one before."""

    def advance(self, count: int = 1, status: str = "") -> None:
        """`count` more units are done; `status` is a short text such as the running loss."""

    def finish(self) -> None:
        """The piece of work is done."""

    def note(self, text: str) -> None:
        """A line that stays: something the user should know."""
