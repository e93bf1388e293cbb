"""`generate`: from a network, a prompt and options to a Generation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .. import engine
from .._openmp import core
from ..errors import BadInput
from ..model import Model
from .generation import BatchGeneration, Generation
from .network import Network
from .options import Options
from .searching import generate_pair, search_prompts, with_text
from .vocabulary import Vocabulary, vocabulary_of


def generate(
    model: Model | tuple[Model, Model],
    prompt: Any,
    *,
    vocabulary: Any = None,
    beams: int | None = None,
    length_penalty: float = 0.0,
    start: Any = None,
    wiring: Any = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    stop: Any = None,
    max_tokens: int | None = 256,
    seed: Any = None,
    callback: Callable[[Any], Any] | None = None,
    window: int | None = None,
    pad: Any = None,
    ban: Any = None,
    logprobs: bool = False,
    splitter: Any = None,
    join: str | None = None,
    threads: int = 1,
) -> Any:
    """Let a network go on with a prompt, token by token, each chosen from what the network makes of those before it.

    The network reads one sequence of token ids, or of one-hot vectors of the tokens, and gives logits or probabilities
    of the next token: (batch, tokens), or (batch, time, tokens), of which the newest step counts. Where it can run step
    by step, each token costs one step. Otherwise (Bidirectional, attention, Flatten) it reads all tokens so far, or the
    last `window`, again for each.

    Parameters
    ----------
    model : Model, or (Model, Model)
        A pair is an encoder and a decoder: the encoder reads what is given as `prompt`, and the decoder writes from
        what that makes of it. Of a pair no token is banned unless `ban` says so.
    prompt : str, or sequence of int; or a list of several of them
        For an encoder of something else than tokens: an array without its batch axis, or with it for several.
        Text takes a vocabulary. Several prompts run as one batch, and give a `BatchGeneration`; each gives what it
        would give alone.
    vocabulary : list, dict, path or Vocabulary, optional
        Tokens in the order of their ids; a dict from tokens to ids; a ``.json`` file with either, or a ``.txt`` file
        with a token a line. Default: that of the network's own text front end; without that there are ids alone.
        Of a pair that of the decoder, or a tuple (encoder's, decoder's).
    beams : int, optional
        Search for the likeliest sequences, of which so many are kept at each step, instead of choosing token by token;
        `beam_search` says how. Only `stop` (tokens, no longer texts), `max_tokens`, `ban` and `length_penalty` have a
        say in it.
    length_penalty : float
        Of `beams`: scores are divided by ``length ** length_penalty``.
    start : int or str, optional
        The token that the decoder of a pair begins with.
    wiring : dict, optional
        What the inputs of a pair's decoder are given, where that cannot be told from GRUs, names and shapes:
        ``{"state": ("encoder_state", "new_state"), "keys": "encoder_outputs", "mask": "source", "word": "scores"}``,
        a state by the encoder's output that it begins with (None: zeros) and the decoder's that feeds it; a mask by
        the encoder's input whose steps it says; the last token by the decoder's output that it was chosen from.
    temperature : float
        Logits are divided by it: below 1 likely tokens become likelier. 0: always the likeliest, of equals the one of
        the lowest id, without drawing.
    top_k : int, optional
        Draw among so many of the likeliest tokens; of equals those of the lowest ids are among them.
    top_p : float, optional
        Draw among the fewest of the likeliest tokens (of what `top_k` leaves) whose probabilities reach it.
    repetition_penalty : float
        The logit of a token that stands in the prompt or was generated is divided by it where positive, else
        multiplied.
    stop : str, int or list of them, optional
        Texts or token ids at which it ends. Neither they nor what follows is given; a text may span several tokens.
    max_tokens : int or None
        Ends after so many. None: goes on for as long as it is asked.
    seed : int or (int, int), optional
        A seed gives the same tokens on every machine with vector kernels. Row r draws token t with the t-th
        ``numpy.random.Generator(numpy.random.Philox(key=[seed, r])).random()``; a pair is the key of row 0. Default: a
        random one, which `Generation.seed` tells.
    callback : function, optional
        Called with each token, or of a batch with each step, before it is given.
    window : int, optional
        Each token comes from the last `window` tokens alone, read from a fresh state: for networks that were trained
        so. A network that reads a fixed number of steps has that for its window.
    pad : int or str, optional
        The token that stands before prompts shorter than `window`. Default: none does, and a network of a fixed number
        of steps refuses them.
    ban : int, str or list of them, optional
        Tokens that are never chosen. The token 0 of an Embedding with mask_zero, which changes nothing, never is.
    logprobs : bool
        Whether tokens tell the logarithm of their probability.
    splitter : str or function, optional
        How a prompt becomes tokens, see `Vocabulary`.
    join : str, optional
        What stands between tokens, see `Vocabulary`.
    threads : int
        Upper bound of the threads of a step.

    Returns
    -------
    Generation or BatchGeneration
        An iterator of `Token`, or of tuples of them. Nothing is computed before it is asked, but what an encoder reads.
    list of Hypothesis, or of several prompts list of lists
        With `beams`: the sequences found, best first.

    Raises
    ------
    UnsupportedModel
        The network cannot read what it gives, or with `beams` not run step by step; says why.
    BadInput
        An option that is not what it should be, or a prompt that is empty, too short or not in the vocabulary. While
        iterating: logits that are NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgru.graph import GRU, Dense, Embedding, Graph, tensor_spec
    >>> rng = np.random.default_rng(0)
    >>> def weights(*shape):
    ...     return rng.normal(size=shape).astype(np.float32)
    >>> layers = (
    ...     Embedding(name="e", inputs=("x",), table=weights(4, 8)),
    ...     GRU(name="g", inputs=("e",), units=8, kernel=weights(8, 24), recurrent_kernel=weights(8, 24)),
    ...     Dense(name="y", inputs=("g",), kernel=weights(8, 4)),
    ... )
    >>> model = Model(Graph((tensor_spec("x", None, (), "int32"),), layers, ("y",)))
    >>> generation = generate(model, "abba", vocabulary=["a", "b", "c", " "], seed=3, max_tokens=12)
    >>> text = "".join(token.text for token in generation)
    >>> len(text), text == generation.text, generation.finish
    (12, True, 'length')
    """
    pair = model if isinstance(model, (tuple, list)) else None
    choosing: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "repetition_penalty": repetition_penalty,
        "ban": ban,
        "stop": stop,
        "max_tokens": max_tokens,
        "seed": seed,
        "logprobs": logprobs,
    }
    _check_fit(pair is not None, beams is not None, choosing, callback, length_penalty, start, wiring, window, pad)
    if callback is not None and not callable(callback):
        raise BadInput(f"callback should be a function of a token, got {type(callback).__name__}")
    if pair is not None:
        return generate_pair(
            pair,
            prompt,
            beams=beams,
            length_penalty=length_penalty,
            start=start,
            wiring=wiring,
            vocabulary=vocabulary,
            splitter=splitter,
            join=join,
            callback=callback,
            threads=threads,
            choosing=choosing,
        )
    if not isinstance(model, Model):
        raise BadInput(f"generate takes a Model, or two as (encoder, decoder), got {type(model).__name__}")
    network = Network.of(model)
    encoder = None if model.front_end is None else model.front_end.inputs.get(network.spec.name)
    words = vocabulary_of(vocabulary, encoder, network.tokens, splitter, join)
    options = Options.checked(words, network.tokens, **choosing, pad=pad, masked=network.masks_zero)
    prompts, is_batch = _prompts(prompt)
    ids = [_ids(one, words) for one in prompts]
    texts = [one if isinstance(one, str) else _text(one, words) for one in prompts]
    if beams is not None:
        found = search_prompts(network, model, ids, beams, length_penalty, options, engine.thread_limit(threads))
        hypotheses = [with_text(one, words, text[-1:]) for one, text in zip(found, texts, strict=True)]
        return hypotheses if is_batch else hypotheses[0]
    seen = _window(network, None if window is None else engine.whole_number(window, "window"), options.pad, ids)
    sampler = core.Sampler(
        network.tokens, len(ids), model.isa, probabilities=network.probabilities, **options.sampler()
    )
    loop = core.TokenLoop(network.plan, sampler, seen, engine.thread_limit(threads))
    for row, one in enumerate(ids):
        padding = [] if options.pad is None else [options.pad] * (seen - len(one))
        loop.read(padding + one, row)
        sampler.see([token for token in one if token < network.tokens], row)
    if is_batch:
        return BatchGeneration(loop, words, options, texts, callback)
    return Generation(loop, words, options, texts[0], callback)


#: options that are not asked for, by their defaults
_UNSET = {"temperature": 1.0, "repetition_penalty": 1.0, "logprobs": False, "length_penalty": 0.0}


def _check_fit(
    is_pair: bool,
    searches: bool,
    choosing: Mapping[str, Any],
    callback: Any,
    length_penalty: Any,
    start: Any,
    wiring: Any,
    window: Any,
    pad: Any,
) -> None:
    """Refuse options that would have no effect."""
    one_by_one = {name: value for name, value in choosing.items() if name not in ("ban", "stop", "max_tokens")}
    one_by_one |= {"callback": callback, "window": window, "pad": pad}
    for holds, what, given in (
        (searches, "a search with beams=", one_by_one),
        (not searches, "generation without beams=", {"length_penalty": length_penalty}),
        (is_pair, "a pair of encoder and decoder", {"window": window, "pad": pad}),
        (not is_pair, "a single network", {"start": start, "wiring": wiring}),
    ):
        foreign = [name for name, value in given.items() if value is not _UNSET.get(name) and value != _UNSET.get(name)]
        if holds and foreign:
            raise BadInput(f"{what} takes no {', '.join(foreign)}")


def _prompts(prompt: Any) -> tuple[list[Any], bool]:
    """One prompt or several, as a list; and whether there may be several."""
    if isinstance(prompt, np.ndarray):
        prompt = prompt.tolist()
    if isinstance(prompt, str):
        return [prompt], False
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes):
        raise BadInput(f"prompt should be a text or token ids, or a list of these, got {type(prompt).__name__}")
    is_batch = bool(prompt) and not isinstance(prompt[0], (int, float, np.number))
    return (list(prompt) if is_batch else [prompt]), is_batch


def _ids(prompt: Any, vocabulary: Vocabulary | None) -> list[int]:
    if isinstance(prompt, str):
        if vocabulary is None:
            raise BadInput("prompt is a text, but the network has no vocabulary; give one, or token ids")
        ids = vocabulary.encode(prompt)
    else:
        given = prompt.tolist() if isinstance(prompt, np.ndarray) else prompt
        if not isinstance(given, Sequence) or not all(
            isinstance(token, (int, np.integer)) and not isinstance(token, bool) for token in given
        ):
            raise BadInput(f"prompt should hold texts or whole numbers, got {prompt!r:.80}")
        ids = [int(token) for token in given]
    if not ids:
        raise BadInput(f"prompt should hold at least one token, got {prompt!r}")
    return ids


def _text(ids: list[int], vocabulary: Vocabulary | None) -> str:
    return "" if vocabulary is None else vocabulary.decode(ids)


def _window(network: Network, window: int | None, pad: int | None, prompts: Sequence[Sequence[int]]) -> int:
    """The window of a `TokenLoop`."""
    steps = network.steps
    if steps is not None and window not in (None, steps):
        raise BadInput(f"window should be {steps}, the number of steps that the network reads, got {window}")
    window = window if steps is None else steps
    if pad is not None and window is None:
        raise BadInput("pad goes with window: without it a prompt of any length is read as it is")
    shortest = min(map(len, prompts))
    if steps is not None and pad is None and shortest < steps:
        raise BadInput(f"the network reads {steps} tokens at once, but the prompt has {shortest}; pad= fills it up")
    if window is not None:
        return window
    return core.STREAMED if network.streams else core.WHOLE
