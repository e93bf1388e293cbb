"""`fastgru demo`: the network that ships with fastgru, on the user's own sentences."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import typer

from ..errors import BadInput, BadModelFile
from ._common import console, load, table, time_text

SENTENCES = (
    "A warm, funny film with a big heart, and I would gladly see it again.",
    "Two hours of my life that I will never get back.",
    "The plot is thin, but the cast is so charming that you won't mind.",
    "It looks expensive and feels empty.",
    "Clever, quick and honest: one of the happy surprises of the year.",
)
REPEATS = 101


def demo(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Sentences to judge.", show_default="five of ours")
    ] = None,
) -> None:
    """Let the network that ships with fastgru say whether sentences about films are positive or negative.

    The time is that of a whole answer on one thread, from the text to the probability: the median of many runs.
    """
    import fastgru

    model = load(fastgru.demo_path(), threads=1)
    front_end = model.front_end
    if front_end is None or len(front_end.labels) != 2 or len(front_end.inputs) != 1:
        raise BadModelFile("the shipped network has no text front end with two labels; reinstall fastgru")

    (encoder,) = front_end.inputs.values()

    def answer(text: str) -> float:
        return float(model([text]).item())

    low, high = front_end.labels
    rows = table("answer", f">{high}", ">time", "text")
    for text in texts or SENTENCES:
        if not encoder.encode([text])[0].any():
            raise BadInput(f"the text {text!r} holds no words")
        probability = answer(text)
        rows.add_row(
            high if probability > 0.5 else low, f"{probability:.1%}", time_text(_median_time(answer, text)), text
        )
    out = console()
    out.print(rows)
    out.print(front_end.about)


def _median_time(call: Callable[[str], float], text: str) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call(text)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
