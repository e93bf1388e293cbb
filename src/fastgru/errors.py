"""Every error that fastgru raises on purpose. Catch `FastGRUError` to catch them all."""

from __future__ import annotations

from collections.abc import Iterable


class FastGRUError(Exception):
    r"""Base of every error that fastgru raises on purpose.

    What a message quotes may come from a hostile file and end on a terminal: characters that cannot be printed stand in
    it as escapes.

    >>> print(FastGRUError("a layer called \x1b[31m"))
    a layer called \x1b[31m
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_printable(arg) if isinstance(arg, str) else arg for arg in args))


class BadModelFile(FastGRUError):
    """A model file is damaged, incomplete or not what its content claims; names the file and the fault."""


class UnsupportedModel(FastGRUError):
    """A sound model holds something that fastgru does not run.

    Parameters
    ----------
    reasons : iterable of str
        Every reason found, each naming its layer. All of them are in the message.

    Attributes
    ----------
    reasons : tuple of str
    """

    def __init__(self, reasons: str | Iterable[str]) -> None:
        self.reasons: tuple[str, ...] = tuple(map(_printable, (reasons,) if isinstance(reasons, str) else reasons))
        if len(self.reasons) == 1:
            super().__init__(self.reasons[0])
        else:
            lines = "".join(f"\n  - {reason}" for reason in self.reasons)
            super().__init__(f"{len(self.reasons)} things are not supported:{lines}")

    def __reduce__(self) -> tuple[type, tuple[tuple[str, ...]]]:
        return type(self), (self.reasons,)


class BadInput(FastGRUError, ValueError):
    """An argument is not what the call takes; says what was expected and what came."""


class StateMismatch(FastGRUError):
    """A state belongs to another network, another number of rows or another dtype."""


class MissingExtra(FastGRUError, ImportError):
    """An optional package is needed; names the extra that installs it."""

    @classmethod
    def of(cls, package: str, extra: str, purpose: str) -> MissingExtra:
        """The error for one missing package, naming the command that installs it."""
        return cls(f"{purpose} needs the package {package!r}: pip install 'fastgru[{extra}]'")


class Closed(FastGRUError):
    """A Stream was used after it was closed."""


class StreamBusy(FastGRUError, RuntimeError):
    """A Stream was called while another thread was inside it."""


class QueueFull(FastGRUError):
    """A bounded queue has no room for another request."""


def _printable(text: str) -> str:
    """A text that ends lines where it did, and does nothing else to a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)
