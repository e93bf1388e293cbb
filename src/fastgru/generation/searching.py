"""What `generate` does for a pair of encoder and decoder, and where sequences are searched for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import engine
from .._openmp import core
from ..errors import BadInput
from ..graph import Embedding, OneHot
from ..model import Model
from .beams import Hypothesis, beam_search
from .decoders import DecoderLoop, prompt_decoder
from .generation import BatchGeneration, Generation
from .network import Network
from .options import Options, token_id
from .pairs import Pair, Sources
from .vocabulary import Vocabulary, vocabulary_of

#: prompts that are searched from together, at most
_TOGETHER = 64


def generate_pair(
    models: Sequence[Any],
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
    choosing: Mapping[str, Any],
) -> Generation | BatchGeneration | list[Hypothesis] | list[list[Hypothesis]]:
    """What an encoder and a decoder make of a source, or of several; as `generate`, which says what is what."""
    if len(models) != 2 or not all(isinstance(model, Model) for model in models):
        kinds = ", ".join(type(model).__name__ for model in models)
        raise BadInput(f"a pair should be two Models, (encoder, decoder); got ({kinds})")
    pair = Pair(models[0], models[1], wiring)
    theirs, ours = vocabulary if _is_two(vocabulary) else (None, vocabulary)
    reads = vocabulary_of(theirs, None, _source_tokens(pair.encoder), None, None)
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
            found[place] = with_text(hypotheses, words, "")
    return found if sources.is_batch else found[0]


def search_prompts(
    network: Network,
    model: Model,
    prompts: Sequence[Sequence[int]],
    beams: int,
    length_penalty: float,
    options: Options,
    threads: int,
) -> list[list[Hypothesis]]:
    """The likeliest continuations of prompts, given as ids."""
    stops = _stops(options)
    found: list[list[Hypothesis]] = []
    for first in range(0, len(prompts), _TOGETHER):
        part = prompts[first : first + _TOGETHER]
        decoder = prompt_decoder(model, network.plan.graph, part, threads)
        found += beam_search(decoder, len(part), beams=beams, length_penalty=length_penalty, **stops)
        decoder.close()
    return found


def _stops(options: Options) -> dict[str, Any]:
    """Where a search ends, and what it leaves out."""
    if options.stop_texts:
        shown = ", ".join(map(repr, options.stop_texts))
        raise BadInput(f"with beams= stop should hold tokens; the vocabulary has no {shown}")
    if options.max_tokens is None:
        raise BadInput("with beams= max_tokens should be a number, got None")
    return {"stop": options.stop_ids, "max_tokens": options.max_tokens, "banned": options.banned}


def with_text(found: Sequence[Hypothesis], words: Vocabulary | None, end: str) -> list[Hypothesis]:
    """The same with texts, which stand behind one that ends in `end`."""
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
    return isinstance(vocabulary, tuple) and len(vocabulary) == 2


def _source_tokens(encoder: Model) -> int:
    """How many tokens an encoder reads."""
    graph = encoder.graph
    value = graph.inputs[0]
    if value.dtype == "float32":
        return value.features
    readers = [layer for layer in graph.layers if value.name in layer.inputs]
    known = [one.table.shape[0] if isinstance(one, Embedding) else one.vocabulary
             for one in readers if isinstance(one, (Embedding, OneHot))]  # fmt: skip
    return min(known, default=2**31 - 1)
