"""`fastgru generate`: a network goes on with a text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInput
from ._common import Config, KeepFloat32, ModelFile, Narrow, Options, load

if TYPE_CHECKING:
    from ..generation.generation import Generation


def generate(
    model_file: ModelFile,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="The text to go on with; of a network without vocabulary ids.")
    ],
    vocab: Annotated[
        Path | None,
        typer.Option(
            help="Its tokens: .json (a list, or an object of ids) or .txt (a token a line).",
            show_default="the network's own",
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(help="Below 1 likely tokens become likelier; 0: the likeliest.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Draw among so many of the likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Draw among the likeliest that together reach this.")] = None,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1 tokens that were there become rarer.")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(help="A text to end at; may be repeated.")] = None,
    ban: Annotated[list[str] | None, typer.Option(help="A token that is never chosen; may be repeated.")] = None,
    max_tokens: Annotated[int, typer.Option(help="End after so many tokens.")] = 256,
    seed: Annotated[int | None, typer.Option(help="Gives the same text again.", show_default="a random one")] = None,
    beams: Annotated[
        int | None, typer.Option(help="Search for so many of the likeliest texts instead; each is a line: score, text.")
    ] = None,
    length_penalty: Annotated[
        float, typer.Option(help="With --beams: scores are divided by this power of the length.")
    ] = 0.0,
    window: Annotated[int | None, typer.Option(help="Make each token of so many before it alone.")] = None,
    pad: Annotated[str | None, typer.Option(help="The token before prompts shorter than the window.")] = None,
    split: Annotated[
        str | None, typer.Option(help="How the prompt becomes tokens: characters, words or whitespace.")
    ] = None,
    echo: Annotated[bool, typer.Option(help="Write the prompt before what follows.")] = True,
    threads: Annotated[int, typer.Option(min=1, help="Use at most this many threads.")] = 1,
    dtype: Narrow = None,
    keep_float32: KeepFloat32 = None,
    config: Config = None,
    option: Options = None,
) -> None:
    """Let a network go on with a text, and write it as it comes.

    Characters that would do something to a terminal are written as escapes, but for line ends and tabs.
    """
    import fastgru

    model = load(model_file, config, option, threads, dtype, keep_float32)
    has_words = vocab is not None or model.front_end is not None
    given: dict[str, Any] = {"stop": stop, "ban": ban, "pad": pad}
    made = fastgru.generate(
        model,
        prompt if has_words else _ids(prompt),
        vocabulary=vocab,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        max_tokens=max_tokens,
        seed=seed,
        window=window,
        splitter=split,
        beams=beams,
        length_penalty=length_penalty,
        threads=threads,
        **(given if has_words else {key: _ids_of(key, value) for key, value in given.items()}),
    )
    if beams is not None:
        for found in made:
            text = " ".join(map(str, found.tokens)) if found.text is None else found.text
            _write(f"{found.score:.6f}\t")
            _write(f"{prompt if echo else ''}{text}", breaks="")
            _write("\n")
        return
    _stream(made, prompt if echo else "")
    if seed is None and sys.stdout.isatty():
        print(f"seed {made.seed[0]}", file=sys.stderr)


def _stream(generation: Generation, prompt: str) -> None:
    _write(prompt)
    try:
        for token in generation:
            _write(f" {token.id}" if token.text is None else token.text)
    finally:  # also where it is interrupted
        _write("\n")


def _ids(text: str) -> list[int]:
    """Token ids with spaces or commas between them."""
    words = text.replace(",", " ").split()
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise BadInput(f"the network has no vocabulary: give --vocab, or token ids such as '3 1 4'; got {text!r}")
    return [int(word) for word in words]


def _ids_of(name: str, value: Any) -> Any:
    """What an option holds, as ids: one, or a list of them."""
    if value is None or not isinstance(value, str):
        return None if value is None else [token for text in value for token in _ids(text)]
    ids = _ids(value)
    if len(ids) != 1:
        raise BadInput(f"--{name} should be one token id, got {value!r}")
    return ids[0]


def _write(text: str, breaks: str = "\n\t") -> None:
    out = sys.stdout
    encoding = getattr(out, "encoding", None) or "utf-8"
    shown = "".join(c if c.isprintable() or c in breaks else c.encode("unicode_escape").decode() for c in text)
    try:
        out.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
    except BrokenPipeError:  # whoever read it has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        raise typer.Exit from None
