"""Keras' text and category layers → an Encoder, which runs before the core.

    stored_vocabulary(archive, path) or live_vocabulary(layer) → what is kept outside the configuration
    stored_paths(class_names) → the paths of a network's layers
    live_idf(layer) → the idf weights of a live layer
    read(config, shape, stored, idf_weights, before) → Encoder, or None where the layer is refused
    spec_of(name, encoder) → the network's input behind it
    as_ids(encoder) → the same with one_hot left to the core

Where Keras keeps a vocabulary: one that was given stands in the configuration, without the special tokens or with them;
one that was adapted is a member ``assets/<path of the layer>/vocabulary.txt`` of a ``.keras`` file, with them, a token
a line, and the configuration says how many. HDF5 files hold no adapted vocabulary.
"""

from __future__ import annotations

import dataclasses
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import BadModelFile
from ...graph import TensorSpec, tensor_spec
from ...text import Encoder
from .archive import Archive
from .config import LayerConfig, printable, sequence, short
from .weights import snake_case

#: layers that `read` understands, and their kin that are refused
CLASSES = ("TextVectorization", "StringLookup", "IntegerLookup", "CategoryEncoding")
REFUSED = {
    "Hashing": "needs TensorFlow's own hash functions",
    "HashedCrossing": "needs TensorFlow's own hash functions",
}
MAX_VOCABULARY = 1 << 28
#: largest vectors that become a table of an Embedding: 4 MB
MAX_TABLE = 1024

Token = str | int
Shape = tuple[int | None, ...]

_STANDARDIZE = {
    None: (),
    "lower": ("ascii_lower",),
    "strip_punctuation": ("strip_punctuation",),
    "lower_and_strip_punctuation": ("ascii_lower", "strip_punctuation"),
}
_SPLIT = {None: None, "whitespace": "ascii_whitespace", "character": "characters"}
_OLD_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}
_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")


def stored_vocabulary(archive: Archive, path: str) -> list[str] | None:
    """The vocabulary of an adapted layer in a ``.keras`` file, as its lines; None where there is none.

    Keras 3 itself reads more line breaks than the one that it writes, and so loses such files; here they are right.

    Parameters
    ----------
    archive : Archive
    path : str
        The layer's path in the file, as its group's in ``model.weights.h5``: see `stored_paths`.
    """
    member = f"assets/{path}/vocabulary.txt"
    if member not in archive.names:
        return None
    try:
        lines = archive.read(member, MAX_VOCABULARY).decode().split("\n")
    except UnicodeDecodeError as error:
        raise BadModelFile(f"zip member {member!r} is no text in UTF-8: {error.reason}") from error
    if len(lines) > 1 and all(line.endswith("\r") for line in lines[:-1]):  # written on Windows
        lines = [line.removesuffix("\r") for line in lines]
    return lines


def stored_paths(class_names: Sequence[str]) -> list[str]:
    """The paths of a network's layers below their root, all of them in order, as Keras counts them.

    >>> stored_paths(["InputLayer", "StringLookup", "Dense", "StringLookup"])
    ['input_layer', 'string_lookup', 'dense', 'string_lookup_1']
    """
    seen: Counter[str] = Counter()
    paths = []
    for name in map(snake_case, class_names):
        paths.append(f"{name}_{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return paths


def live_vocabulary(layer: Any) -> list[Token]:
    """The vocabulary of a live Keras layer, its special tokens first."""
    tokens = layer.get_vocabulary()
    return [token.item() if isinstance(token, np.generic) else token for token in tokens]


def live_idf(layer: Any) -> np.ndarray | None:
    """The idf weights of a live Keras layer; None where it has none."""
    weights = getattr(getattr(layer, "_lookup_layer", layer), "idf_weights", None)
    return None if weights is None else np.asarray(weights)


def has_idf(config: LayerConfig) -> bool:
    """Whether a layer has idf weights."""
    return config.take("output_mode", None) in ("tf_idf", "tf-idf")


def read(
    config: LayerConfig,
    shape: Shape,
    stored: Sequence[Token] | None = None,
    idf_weights: Sequence[float] | np.ndarray | None = None,
    before: Encoder | None = None,
) -> Encoder | None:
    """Read a layer of `CLASSES`; what is not supported goes to the report.

    Parameters
    ----------
    config : LayerConfig
    shape : tuple of (int or None)
        Of the network's input, without the batch axis.
    stored : sequence of str or int, optional
        The vocabulary kept outside the configuration, see `stored_vocabulary`.
    idf_weights : array, optional
        The layer's only weight, which ``output_mode="tf_idf"`` has.
    before : Encoder, optional
        What the layer reads, where that is not the input itself but the ids of another of these layers.

    Raises
    ------
    BadModelFile
        A value of the wrong type, or values that contradict each other.
    """
    known = len(config.report.reasons)
    if before is not None and (config.class_name != "CategoryEncoding" or before.output != "ids"):
        config.refuse("reads what another layer has encoded; only CategoryEncoding of ids may do that")
        return None
    if len(shape) > 1:
        config.refuse(f"its input has rows of shape {shape}; one text, or one axis of strings or numbers is supported")
        return None
    try:
        if config.class_name == "TextVectorization":
            encoder = _text_vectorization(config, shape, stored, idf_weights)
        elif config.class_name == "CategoryEncoding":
            encoder = _category_encoding(config, shape, before)
        else:
            encoder = _lookup(config, shape, stored, idf_weights)
    except BadModelFile as error:
        message = str(error)
        raise error if message.startswith(config.owner) else BadModelFile(f"{config.owner}: {message}") from None
    return encoder if len(config.report.reasons) == known else None


def spec_of(name: str, encoder: Encoder) -> TensorSpec:
    """The network's input that takes what an encoder gives."""
    inner, dtype = ((), "int32") if encoder.size is None else ((encoder.size,), "float32")
    if not encoder.is_sequence:
        return tensor_spec(name, False, inner, dtype)
    steps = encoder.shape[0] if encoder.shape else None
    if encoder.padding == "max_length":
        steps = encoder.max_length
    return tensor_spec(name, steps, inner, dtype)


def as_ids(encoder: Encoder) -> tuple[Encoder | None, int | np.ndarray] | None:
    """A one_hot as ids, and what makes its vectors of them: the size of a OneHot or, where there are fewer ids than
    that or one for zeros, a small table (ids, size) of an Embedding. None for anything else.

    The Encoder is None where numbers are the ids already.
    """
    if encoder.output != "one_hot" or encoder.size is None:
        return None
    tokens = encoder.tokens
    if tokens is None:
        return None, encoder.size
    vectors: int | np.ndarray = encoder.size
    if encoder.dropped is not None or len(tokens) < encoder.size:
        if encoder.size > MAX_TABLE:
            return None
        vectors = np.eye(encoder.size, dtype=np.float32)[: len(tokens)]
        if encoder.dropped is not None:  # an id of its own, for zeros
            tokens = (*tokens, encoder.dropped)  # type: ignore[assignment]
            vectors = np.concatenate([vectors, np.zeros_like(vectors[:1])])
    return dataclasses.replace(encoder, tokens=tokens, output="ids", size=None, dropped=None), vectors


# ---- the layers ------------------------------------------------------------------------------------------------------


def _text_vectorization(
    config: LayerConfig, shape: Shape, stored: Sequence[Token] | None, idf_weights: Any
) -> Encoder | None:
    standardize = _rule(config, "standardize", _STANDARDIZE, "lower_and_strip_punctuation")
    split = _rule(config, "split", _SPLIT, "whitespace")
    widths = _ngrams(config)
    length = config.size("output_sequence_length") if config.take("output_sequence_length", None) is not None else None
    config.only("ragged", False, None, why="rows of several lengths are padded")
    if split is not None and shape not in ((), (1,)):
        config.refuse(f"splits texts, but its input has {shape[0]} of them a row")
    if split is None and not shape and (length is not None or widths):
        config.refuse("makes sequences of single strings without split")
    steps = {
        "standardize": standardize,
        "split": split,
        "ngrams": widths,
        "shape": shape if split is None else (),
        "max_length": length,
        "padding": "longest" if length is None else "max_length",
    }
    return _looked_up(config, stored, idf_weights, "", "[UNK]", 1, steps)


def _lookup(config: LayerConfig, shape: Shape, stored: Sequence[Token] | None, idf_weights: Any) -> Encoder | None:
    is_text = config.class_name == "StringLookup"
    config.only("invert", False, None, why="it turns ids into tokens, but a network's outputs are numbers")
    config.only("salt", None, why="it needs TensorFlow's own hash functions")
    buckets = config.take("num_oov_indices", 1)
    if not _is_whole(buckets) or buckets < 0:
        raise BadModelFile(f"{config.owner}: 'num_oov_indices' should be a whole number, is {short(buckets)}")
    method = config.take("oov_method", "floormod")
    if buckets > 1 and (is_text or method != "floormod"):
        config.refuse(f"num_oov_indices={buckets}: it needs TensorFlow's own hash functions")
        buckets = 1
    config.only("vocabulary_dtype", "string" if is_text else "int64", why="Keras reads it as another type")
    mask, oov = (_token(config, config.take(key, None), key, is_text) for key in ("mask_token", "oov_token"))
    return _looked_up(config, stored, idf_weights, mask, oov, buckets, {"shape": shape})


def _category_encoding(config: LayerConfig, shape: Shape, before: Encoder | None) -> Encoder | None:
    size = config.size("num_tokens")
    config.only("sparse", False, None, why="a dense array is given")
    mode = _mode(config, _MODES[1:4], "multi_hot")
    config.finish({"dtype"}, any_dtype=True)
    if before is None:
        output = _output(config, mode, shape, False)
        return None if output is None else Encoder(shape=shape, output=output, size=size)
    tokens = before.tokens or ()
    if size < len(tokens):
        config.refuse(f"num_tokens={size}, but it reads ids of {len(tokens)} tokens")
        return None
    output = _output(config, mode, spec_of("ids", before).shape[1:], False)
    return None if output is None else dataclasses.replace(before, output=output, size=size)


def _looked_up(
    config: LayerConfig,
    stored: Sequence[Token] | None,
    idf_weights: Any,
    mask: Token | None,
    oov: Token | None,
    buckets: int,
    steps: dict[str, Any],
) -> Encoder | None:
    """An Encoder of tokens, from what the layers that look them up have in common."""
    is_text = config.class_name != "IntegerLookup"
    mode = _mode(config, _MODES, "int")
    config.only("sparse", False, None, why="a dense array is given")
    config.only("encoding", "utf-8", why="only UTF-8 is read")
    most = config.size("max_tokens") if config.take("max_tokens", None) is not None else None
    is_padded = config.flag("pad_to_max_tokens")
    given = vocabulary_of(config, stored)
    weights = config.take("idf_weights", None)
    config.finish({"dtype", "has_input_vocabulary"}, any_dtype=True)
    output = _output(config, mode, steps["shape"], steps.get("split") is not None)
    if given is None or output is None:
        return None
    placeholder = oov if oov is not None else ("[UNK]" if is_text else -1)
    special = [mask] * (mask is not None and mode == "int") + [placeholder] * buckets
    has_special = list(given[: len(special)]) == special
    tokens: tuple[Any, ...] = tuple(given if has_special else (*special, *given))
    if most is not None and len(tokens) > most:
        raise BadModelFile(f"{config.owner}: {len(tokens)} tokens, more than max_tokens={most}")
    if not tokens:
        raise BadModelFile(f"{config.owner}: its vocabulary is empty")
    if mode != "int":
        size = most if is_padded and most is not None else len(tokens)
        steps = {**steps, "size": size, "dropped": mask, "padding": "longest" if output == "one_hot" else None}
        if mode == "tf_idf":
            if idf_weights is None:
                idf_weights = _padded_idf(config, weights, len(given), len(tokens), size)
            steps["weights"] = _idf(config, idf_weights, size)
    first = len(special) - buckets
    unknown = first if buckets else None
    return Encoder(tokens, unknown=unknown, buckets=max(buckets, 1), output=output, **steps)


# ---- their options ---------------------------------------------------------------------------------------------------


def vocabulary_of(config: LayerConfig, stored: Sequence[Token] | None) -> list[Token] | None:
    """The vocabulary of the configuration, else the `stored` one; None, with a reason, where there is none."""
    is_text = config.class_name != "IntegerLookup"
    value, size = config.take("vocabulary", None), config.take("vocabulary_size", None)
    if size is not None and not _is_whole(size):
        raise BadModelFile(f"{config.owner}: 'vocabulary_size' should be a whole number, is {short(size)}")
    if isinstance(value, str):
        config.refuse("its vocabulary is in a file outside the model's, which is not opened")
        return None
    if value is None:
        if stored is None:
            config.refuse("its vocabulary is not in the file: HDF5 files hold none that was adapted, .keras files do")
            return None
        value = list(stored)
        while value and value[-1] == "" and (size is None or len(value) > size):
            value.pop()
        if size is not None and len(value) != size:
            raise BadModelFile(f"{config.owner}: its vocabulary has {len(value)} lines, not {short(size)}")
        if not is_text:
            value = [_number(config, token) for token in value]
    listed = sequence(value)
    if listed is None:
        raise BadModelFile(f"{config.owner}: 'vocabulary' should be a list, is {short(value)}")
    return [_token(config, token, "vocabulary", is_text) for token in listed]  # type: ignore[misc]


def _token(config: LayerConfig, value: Any, key: str, is_text: bool) -> Token | None:
    if isinstance(value, Mapping) and value.get("class_name") == "__bytes__":
        inner = value.get("config")
        value = inner.get("value") if isinstance(inner, Mapping) else inner
    if is_text and isinstance(value, bytes):  # a live layer's
        value = value.decode(errors="replace")
    absent = value is None and key != "vocabulary"
    if not absent and not (isinstance(value, str) if is_text else _is_whole(value)):
        expected = "strings" if is_text else "whole numbers"
        raise BadModelFile(f"{config.owner}: {key!r} should hold {expected}, has {short(value)}")
    return value if is_text or absent else int(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _number(config: LayerConfig, token: Token) -> int:
    try:
        return int(token)
    except ValueError:
        raise BadModelFile(f"{config.owner}: its vocabulary should hold numbers, has {short(token)}") from None


def _ngrams(config: LayerConfig) -> tuple[Any, ...]:
    """Widths; a number stands for all widths up to it."""
    value = config.take("ngrams", None)
    if value is None:
        return ()
    if type(value) is int and 0 < value <= 100:
        return tuple(range(1, value + 1))
    listed = sequence(value)
    if not listed:
        raise BadModelFile(f"{config.owner}: 'ngrams' should be small positive numbers, is {short(value)}")
    return tuple(listed)


def _rule(config: LayerConfig, key: str, known: Mapping[str | None, Any], default: str) -> Any:
    """A named way of Keras; a function of the user's own is refused by its name."""
    value = config.take(key, default)
    if value is None or (isinstance(value, str) and value in known):
        return known[value]
    own = isinstance(value, Mapping) or callable(value)
    name = value.get("config") if isinstance(value, Mapping) else getattr(value, "__name__", value)
    shown = printable(name) if isinstance(name, str) else short(value)
    config.refuse(f"{key}: {shown} is a function of its own, which is never run" if own else f"{key}={short(value)}")
    return known[None]


def _mode(config: LayerConfig, known: Sequence[str], default: str) -> str:
    value = config.take("output_mode", default)
    mode = _OLD_MODES.get(value, value) if isinstance(value, str) else value
    if mode not in known:
        config.refuse(f"output_mode={short(value)} is not supported: it should be one of {', '.join(known)}")
        return known[0]
    return str(mode)


def _output(config: LayerConfig, mode: str, shape: Shape, splits: bool) -> str | None:
    """What an Encoder gives in Keras' `output_mode`, for ids of rows of `shape`."""
    if mode == "int":
        return "ids"
    if mode == "one_hot":
        if splits:
            config.refuse("output_mode='one_hot' of texts gives rows of several lengths")
            return None
        return "multi_hot" if shape in ((), (1,)) else "one_hot"
    if not shape and not splits:
        config.refuse(f"output_mode={mode!r} of single tokens makes one vector of a whole batch")
        return None
    return "multi_hot" if mode == "multi_hot" else "count"


def _padded_idf(config: LayerConfig, weights: Any, given: int, count: int, size: int) -> tuple[float, ...]:
    """Of `given` tokens as Keras pads them: with the mean for special tokens, with zeros from `count` to `size`."""
    listed = _idf(config, sequence(weights), given)
    return (float(np.mean(listed)),) * (count - given) + listed + (0.0,) * (size - count)


def _idf(config: LayerConfig, weights: Any, size: int) -> tuple[float, ...]:
    try:
        array = np.asarray(weights, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros((0, 0))
    if array.shape != (size,) or not np.isfinite(array).all():
        raise BadModelFile(f"{config.owner}: its idf_weights should be {size} numbers, are {short(weights)}")
    return tuple(array.tolist())
