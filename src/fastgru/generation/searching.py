"""What `generate` does for a pair of encoder and decoder, and where sequences are searched for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .. import engine
from .._openmp import core
from ..errors import BadInput
from ..graph import Embedding
from ..model import Model
from .beams import Hypothesis, beam_search
from .decoders import DecoderLoop, groups_of, prompt_decoder
from .generation import BatchGeneration, Generation
from .network import Network
from .options import Options, token_id
from .pairs import Pair, Sources
from .vocabulary import Vocabulary, vocabulary_of

#: prompts that are searched from together, at most
_TOGETHER = 64


def generate_pair(
    models: Any,
    source: Any,
    *,
    beams: int | None,
    start: Any,
    wiring: Any,
    length_penalty: float,
    vocabulary: Any,
    splitter: Any,
    join: str | None,
    callback: Callable[[Any], Any] | None,
    threads: int,
    **choosing: Any,
) -> Generation | BatchGeneration | list[Hypothesis] | list[list[Hypothesis]]:
    """What an encoder and a decoder make of a source, or of several; as `generate`, which says what is what."""
    if len(models) != 2 or not all(isinstance(model, Model) for model in models):
        kinds = ", ".join(type(model).__name__ for model in models)
        raise BadInput(f"a pair should be two Models, (encoder, decoder); got ({kinds})")
    pair = Pair(*models, wiring)
    theirs, ours = vocabulary if _is_two(vocabulary) else (None, vocabulary)
    reads = vocabulary_of(theirs, None, _source_tokens(pair.encoder, theirs), None, None)
    words = vocabulary_of(ours, None, pair.classes, splitter, join)
    options = Options.checked(words, pair.classes, pad=None, masked=False, **choosing)
    if start is None:
        raise BadInput("a pair needs start=, the token that the decoder begins with")
    first = token_id(start, "start", words, pair.classes)
    sources = Sources(pair.encoder, source, reads)
    limit = engine.thread_limit(threads)
    if beams is None:
        decoders = list(pair.open(sources, first, limit, log_probabilities=False))
        sampler = core.Sampler(pair.classes, sources.count, pair.decoder.isa, **options.sampler())
        loop = DecoderLoop(decoders, sampler)
        if sources.is_batch:
            return BatchGeneration(loop, words, options, [""] * sources.count, callback)
        return Generation(loop, words, options, "", callback)
    found: list[list[Hypothesis]] = [[] for _ in range(sources.count)]
    stops = _stops(options)
    for places, decoder in pair.open(sources, first, limit):
        made = beam_search(decoder, len(places), beams=beams, length_penalty=length_penalty, **stops)
        decoder.close()
        for place, hypotheses in zip(places, made, strict=True):
            found[place] = _with_text(hypotheses, words, "")
    return found if sources.is_batch else found[0]


def search_prompts(
    model: Model,
    prompts: Sequence[Sequence[int]],
    texts: Sequence[str],
    *,
    beams: int,
    length_penalty: float,
    words: Vocabulary | None,
    options: Options,
    threads: int,
) -> list[list[Hypothesis]]:
    """The likeliest continuations of prompts, given as ids and, for what stands between words, as texts."""
    graph, stops = Network.of(model).plan.graph, _stops(options)
    found: list[list[Hypothesis]] = []
    for first in range(0, len(prompts), _TOGETHER):
        part = prompts[first : first + _TOGETHER]
        decoder = prompt_decoder(model, graph, part, threads)
        found += beam_search(decoder, len(part), beams=beams, length_penalty=length_penalty, **stops)
        decoder.close()
    return [_with_text(one, words, text[-1:]) for one, text in zip(found, texts, strict=True)]


def check_search(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse options that choose tokens one by one, beside `beams`."""
    foreign = [name for name, default in defaults.items() if given[name] != default]
    if foreign:
        verb = "go" if len(foreign) > 1 else "goes"
        raise BadInput(f"beams= searches for the likeliest sequences; {', '.join(foreign)} {verb} without it")


def _stops(options: Options) -> dict[str, Any]:
    """Where a search ends, and what it leaves out."""
    if options.stop_texts:
        shown = ", ".join(map(repr, options.stop_texts))
        raise BadInput(f"with beams= stop should hold tokens; the vocabulary has no {shown}")
    if options.max_tokens is None:
        raise BadInput("with beams= max_tokens should be a number, got None")
    banned: Collection[int] = options.banned
    return {"stop": options.stop_ids, "max_tokens": options.max_tokens, "banned": banned}


def _with_text(found: Sequence[Hypothesis], words: Vocabulary | None, end: str) -> list[Hypothesis]:
    if words is None:
        return list(found)
    return [one._replace(text=_text(one.tokens, words, end)) for one in found]


def _text(tokens: Sequence[int], words: Vocabulary, end: str) -> str:
    pieces = []
    for token in tokens:
        pieces.append(words.piece(token, end))
        end = pieces[-1] or end
    return "".join(pieces)


def _is_two(vocabulary: Any) -> bool:
    """Whether that is a pair of vocabularies, not one of two tokens."""
    return isinstance(vocabulary, tuple) and len(vocabulary) == 2 and not all(isinstance(one, str) for one in vocabulary)


def _source_tokens(encoder: Model, vocabulary: Any) -> int:
    """How many tokens an encoder reads; where no table says so, as many as its vocabulary has."""
    graph = encoder.graph
    value = graph.inputs[0]
    tables = [layer.table for layer in graph.layers if isinstance(layer, Embedding) and value.name in layer.inputs]
    if tables:
        return min(map(len, tables))
    return value.features if value.dtype == "float32" else len(vocabulary)
