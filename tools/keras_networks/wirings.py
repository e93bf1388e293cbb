"""Whole networks: what stands in front, a body of random pieces, and what comes out.

A wiring takes the maker and the names of pieces or nodes that must be in it, and gives a Keras model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nodes
import pieces
from maker import BATCH, Maker, tensor_name
from nodes import NODES, shape_of
from pieces import IMAGE, PIECES, SEQUENCE, VECTOR

Wiring = Callable[[Maker, str | None], Any]
WIRINGS: dict[str, Wiring] = {}
#: wirings that one generation does not have
ONLY: dict[int, set[str]] = {2: {"time_major"}, 3: set()}
RECURRENT = ("gru", "gru", "gru", "bidirectional", "bidirectional", "rnn_of_cell", "rnn_of_cells")


def wiring(function: Wiring) -> Wiring:
    WIRINGS[function.__name__] = function
    return function


class Chain:
    """Layers one after the other, of a Sequential or on a tensor."""

    def __init__(self, maker: Maker, start: Any) -> None:
        self.maker, self.at = maker, start
        self.is_sequential = isinstance(start, maker.keras.Sequential)

    @property
    def shape(self) -> tuple[int | None, ...]:
        if not self.is_sequential:
            return shape_of(self.at)
        return tuple(self.at.output_shape) if self.at.layers else shape_of(next(iter(self.maker.tensors.values())))

    @property
    def rank(self) -> int:
        return len(self.shape)

    def layer(self, layer: Any) -> None:
        if self.is_sequential:
            self.at.add(layer)
        else:
            self.at = layer(self.at)

    def add(self, name: str, **options: Any) -> bool:
        """A piece or node by name, where it suits the shape."""
        if name in PIECES.get(self.rank, {}):
            layer = PIECES[self.rank][name](self.maker, self.shape, **options)
            if layer is not None:
                self.layer(layer)
            return layer is not None
        if not self.is_sequential and name in NODES.get(self.rank, {}):
            tensor = NODES[self.rank][name](self.maker, self.at)
            self.at = self.at if tensor is None else tensor
            return tensor is not None
        return False

    def random(self) -> None:
        names = pieces.pieces_of(self.maker, self.rank)
        if not self.is_sequential:
            names = [*names, *NODES[self.rank]]
        if not self.add(self.maker.pick(*names)):
            self.add("dense")

    def body(self, must: str | None) -> None:
        """Images become sequences, sequences meet a GRU, vectors are the end; `must` comes where it fits."""
        maker, met, done = self.maker, False, must is None
        for _ in range(14):
            if not done and maker.chance(0.6) and self.add(must):  # type: ignore[arg-type]
                done = True
                met = met or must in RECURRENT
            elif self.rank == IMAGE:
                self.add(
                    maker.pick("conv2d", "pooling2d", "batch_normalization", "relu_layer", "zero_padding2d", "noise")
                )
                if done or must not in (*PIECES[IMAGE], *NODES[IMAGE]):
                    self.add(maker.pick("flatten_steps", "flatten_steps", "time_distributed_rows"))
            elif self.rank == SEQUENCE and not met:
                if maker.chance(0.5):
                    self.add(maker.pick("conv1d", "dense", "noise", "layer_normalization", "batch_normalization"))
                wants_vector = not done and must not in PIECES[SEQUENCE] and must not in NODES[SEQUENCE]
                self.add(maker.pick(*RECURRENT), sequences=False if wants_vector else maker.chance(0.75))
                met = True
            elif self.rank == VECTOR and not met:
                self.layer(maker.L.RepeatVector(maker.size(2, 4)))
            elif done and maker.chance(0.5):
                break
            elif done:
                self.random()
            elif self.rank == VECTOR and must not in (*PIECES[VECTOR], *NODES[VECTOR]):
                self.layer(maker.L.RepeatVector(maker.size(3, 5)))
            elif self.rank == SEQUENCE and must not in (*PIECES[SEQUENCE], *NODES[SEQUENCE]):
                self.add("gru", sequences=False)
        if not done or not met:
            raise ValueError(f"no place for {must}")
        if self.rank > VECTOR and maker.chance(0.5):
            self.add("gru", sequences=False) if self.rank == SEQUENCE else self.add("flatten_steps")
        if maker.chance(0.4):
            self.add("dense")


def head(maker: Maker, must: str | None = None, token_share: float = 0.45) -> Any:
    """An input, and an Embedding behind it where it is of token ids."""
    if must is not None and must not in (*PIECES[SEQUENCE], *PIECES[VECTOR], *NODES[SEQUENCE], *NODES[VECTOR]):
        return image(maker)
    if not maker.chance(token_share):
        return maker.sequence()
    vocabulary = maker.size(5, 12)
    return embedding(maker, vocabulary)(maker.tokens(vocabulary))


def embedding(maker: Maker, vocabulary: int) -> Any:
    masked = maker.chance(0.65)
    maker.say("Embedding mask_zero" if masked else "Embedding")
    return maker.L.Embedding(vocabulary, maker.size(2, 6), mask_zero=masked)


def image(maker: Maker) -> Any:
    maker.say("image")
    time, width, channels = maker.size(5, 9), maker.size(4, 7), maker.size(1, 3)
    maker.steps = time if maker.steps is not None else None
    return maker.input((maker.steps, width, channels), maker.normal(time, width, channels))


@wiring
def functional(maker: Maker, must: str | None) -> Any:
    chain = Chain(maker, head(maker, must))
    chain.body(must)
    return maker.keras.Model(_inputs(maker), chain.at)


@wiring
def sequential(maker: Maker, must: str | None) -> Any:
    maker.say("Sequential")
    L, width, images = maker.L, maker.size(2, 6), must in PIECES[IMAGE] and must not in PIECES[SEQUENCE]
    if must in NODES[SEQUENCE] or must in NODES[VECTOR]:
        raise ValueError(f"no place for {must} in a Sequential")
    model = maker.keras.Sequential()
    if images or (not maker.chance(0.45) and not maker.chance(0.3)):
        model.add(image(maker) if images else maker.input((maker.steps, width), _masked(maker, width)))
        if not images and maker.chance(0.5):
            maker.say("Masking")
            model.add(L.Masking(-1.0))
    else:
        vocabulary = maker.size(5, 12)
        model.add(maker.tokens(vocabulary))
        model.add(embedding(maker, vocabulary))
    chain = Chain(maker, model)
    chain.body(must)
    if maker.chance(0.3) and not maker.batch_size:
        maker.say("built by its first call")
        copies = [maker.keras.layers.deserialize(maker.keras.layers.serialize(layer)) for layer in model.layers]
        model = maker.keras.Sequential(copies)
        (array,) = maker.arrays.values()
        model(array)
        maker.arrays = {tensor_name(model.inputs[0]): array}
    return model


@wiring
def two_inputs(maker: Maker, must: str | None) -> Any:
    """Sequences and vectors, or two sequences, joined somewhere."""
    maker.say("several inputs")
    L, first = maker.L, Chain(maker, head(maker))
    if maker.chance(0.5):
        first.body(must)
        if first.rank > VECTOR:
            first.add("gru", sequences=False)
        second = L.Dense(maker.size(1, 4))(maker.vector())
        y = L.Concatenate()([first.at, second])
    else:
        second = Chain(maker, head(maker))
        units = maker.size(2, 4)
        both = [L.GRU(units, return_sequences=True)(x) for x in (first.at, second.at)]
        name = maker.pick(*nodes.MERGES, "Concatenate")
        maker.say(f"{name} of two masked sequences")
        chain = Chain(maker, getattr(L, name)()(both))
        chain.body(must)
        y = chain.at
    return maker.keras.Model(_inputs(maker), L.Dense(maker.size(1, 3))(y))


@wiring
def several_outputs(maker: Maker, must: str | None) -> Any:
    maker.say("several outputs")
    L, x = maker.L, head(maker, must, 0.5)
    chain = Chain(maker, x)
    chain.body(must)
    outputs = [chain.at]
    if len(x.shape) == SEQUENCE:
        y, state = L.GRU(**pieces.gru_options(maker), return_sequences=True, return_state=True)(x)
        outputs += [y, state]
    outputs.append(L.Dense(2)(chain.at))
    maker.rng.shuffle(outputs)
    return maker.keras.Model(_inputs(maker), outputs)


@wiring
def dict_outputs(maker: Maker, must: str | None) -> Any:
    """Inputs and outputs by name, out of alphabetical order."""
    maker.say("dict outputs")
    L = maker.L
    vocabulary = maker.size(5, 9)
    tokens, vector = maker.tokens(vocabulary, name="words"), maker.vector(name="facts")
    chain = Chain(maker, embedding(maker, vocabulary)(tokens))
    chain.body(must)
    if chain.rank > VECTOR:
        chain.add("gru", sequences=False)
    y = L.Concatenate()([chain.at, vector])
    outputs = {"score": L.Dense(1, name="score")(y), "kind": L.Dense(3, activation="softmax", name="kind")(y)}
    if maker.chance(0.5):
        maker.say("dict inputs")
        return maker.keras.Model({"words": tokens, "facts": vector}, outputs)
    return maker.keras.Model([tokens, vector], outputs)


@wiring
def siamese(maker: Maker, must: str | None) -> Any:
    """One encoder on two inputs."""
    maker.say("siamese")
    L, vocabulary = maker.L, maker.size(5, 9)
    inputs = [maker.tokens(vocabulary, name="left"), maker.tokens(vocabulary, name="right")]
    if must is None and maker.chance(0.5):
        steps = [embedding(maker, vocabulary), L.GRU(**pieces.gru_options(maker))]
    else:
        start = L.Input((maker.steps,))
        chain = Chain(maker, embedding(maker, vocabulary)(start))
        free, maker.batch_size = maker.batch_size, None
        chain.body(must)
        maker.batch_size = free
        steps = [maker.keras.Model(start, chain.at)]
    codes = []
    for tensor in inputs:
        for layer in steps:
            tensor = layer(tensor)
        codes.append(tensor)
    joined = getattr(L, maker.pick("Subtract", "Multiply", "Concatenate"))()(codes)
    return maker.keras.Model(inputs, L.Dense(1, activation="sigmoid")(joined))


@wiring
def states_as_inputs(maker: Maker, must: str | None) -> Any:
    """initial_state from an input, and the last state as an output."""
    maker.say("state inputs")
    L, x, units = maker.L, head(maker), maker.size(1, 5)
    state = maker.vector(units, name="state")
    options = pieces.gru_options(maker) | {"units": units}
    kind = maker.pick("gru", "gru", "cell", "cells", "bidirectional")
    maker.say(f"initial_state of {kind}")
    loop = pieces.loop_options(maker, shape_of(x)) | {"return_state": True}
    if kind == "gru":
        y, *states = L.GRU(**options, **loop)(x, initial_state=state)
    elif kind == "bidirectional":
        loop.pop("go_backwards", None)
        other = maker.vector(units, name="other_state")
        y, *states = L.Bidirectional(L.GRU(**options, **loop))(x, initial_state=[state, other])
    else:
        options.pop("implementation", None)
        cells = [L.GRUCell(**options)] + ([L.GRUCell(3)] if kind == "cells" else [])
        initial = [state] + ([maker.vector(3, name="other_state")] if kind == "cells" else [])
        y, *states = L.RNN(cells if kind == "cells" else cells[0], **loop)(x, initial_state=initial)
    return maker.keras.Model(_inputs(maker), [y, *states] if maker.chance(0.7) else y)


@wiring
def encoder_decoder(maker: Maker, must: str | None) -> Any:
    """The training graph: source and target tokens, teacher forcing, maybe attention."""
    maker.say("encoder-decoder")
    L, units = maker.L, maker.size(2, 5)
    words = maker.size(5, 9)
    source, target = maker.tokens(words, name="source"), maker.tokens(words, steps=maker.size(3, 6), name="target")
    encoded = embedding(maker, words)(source)
    if maker.chance(0.3):
        y, forward, backward = L.Bidirectional(L.GRU(units, return_sequences=True, return_state=True))(encoded)
        state, units = L.Concatenate()([forward, backward]), 2 * units
    else:
        y, state = L.GRU(**(pieces.gru_options(maker) | {"units": units}), return_sequences=True, return_state=True)(
            encoded
        )
    options = pieces.gru_options(maker) | {"units": units}
    decoded, _ = L.GRU(**options, return_sequences=True, return_state=True)(
        embedding(maker, words)(target), initial_state=state
    )
    if maker.chance(0.6):
        name = maker.pick("Attention", "AdditiveAttention")
        maker.say(f"{name} over the source")
        decoded = L.Concatenate()([decoded, getattr(L, name)()([decoded, y])])
    dense = L.Dense(words, activation="softmax")
    return maker.keras.Model(
        [source, target], L.TimeDistributed(dense)(decoded) if maker.chance(0.4) else dense(decoded)
    )


@wiring
def decoder(maker: Maker, must: str | None) -> Any:
    """The inference model of a decoder: one token and states in, a distribution and states out."""
    maker.say("decoder")
    L, units, words, cells = maker.L, maker.size(2, 5), maker.size(5, 9), maker.size(1, 2)
    y = embedding(maker, words)(maker.tokens(words, steps=1, zeros=False))
    outputs = []
    for index in range(cells):
        state = maker.vector(units, name=f"state_{index}")
        options = pieces.gru_options(maker) | {"units": units}
        y, after = L.GRU(**options, return_sequences=True, return_state=True)(y, initial_state=[state])
        outputs.append(after)
    return maker.keras.Model(_inputs(maker), [L.Dense(words, activation="softmax")(y), *outputs])


@wiring
def autoencoder(maker: Maker, must: str | None) -> Any:
    maker.say("autoencoder")
    L, chain = maker.L, Chain(maker, maker.sequence())
    chain.body(must)
    if chain.rank > VECTOR:
        chain.add("gru", sequences=False)
    chain.layer(L.RepeatVector(maker.time))
    chain.add(maker.pick(*RECURRENT), sequences=True)
    chain.layer(L.TimeDistributed(L.Dense(2)))
    return maker.keras.Model(_inputs(maker), chain.at)


@wiring
def crnn(maker: Maker, must: str | None) -> Any:
    """The network of text recognition: convolutions, columns as steps, a bidirectional GRU, a softmax per step."""
    maker.say("CRNN")
    L, x = maker.L, image(maker)
    x = L.Conv2D(3, (3, 3), padding="same", activation="relu")(x)
    x = L.MaxPooling2D((1, 2))(x)
    chain = Chain(maker, L.BatchNormalization()(x))
    if chain.shape[1] is None:
        chain.layer(L.TimeDistributed(L.Flatten()))
    else:
        chain.layer(L.Reshape((chain.shape[1], -1)))
    chain.layer(L.Bidirectional(L.GRU(maker.size(2, 4), return_sequences=True)))
    chain.body(must)
    return maker.keras.Model(_inputs(maker), chain.at)


@wiring
def hierarchical(maker: Maker, must: str | None) -> Any:
    """A network of sentences on each sentence of a document, a GRU over them."""
    maker.say("hierarchical")
    L, words, sentences = maker.L, maker.size(5, 9), maker.size(2, 4)
    ids = maker.rng.integers(1, words, (BATCH, sentences, maker.time)).astype("int32")
    for sentence in range(sentences):
        ids[:, sentence][~maker.mask(maker.time)] = 0
    document = maker.input((maker.pick(sentences, None), maker.time), ids, dtype="int32")
    free, maker.batch_size = maker.batch_size, None
    start = L.Input((maker.time,), dtype="int32")
    chain = Chain(maker, embedding(maker, words)(start))
    chain.body(must)
    if chain.rank > VECTOR:
        chain.add("gru", sequences=False)
    maker.batch_size = free
    y = L.TimeDistributed(maker.keras.Model(start, chain.at))(document)
    return maker.keras.Model(document, L.Dense(2)(L.Bidirectional(L.GRU(3))(y)))


@wiring
def time_major(maker: Maker, must: str | None) -> Any:
    """Steps before rows: what Keras 2 calls time_major, between two transpositions."""
    import tensorflow as tf

    maker.say("time_major")
    L, x, sequences = maker.L, maker.sequence(), maker.chance(0.5)
    loop = {"return_sequences": sequences, "go_backwards": maker.chance(0.3), "time_major": True}
    y = L.GRU(**pieces.gru_options(maker), **loop)(tf.transpose(x, [1, 0, 2]))
    return maker.keras.Model(_inputs(maker), tf.transpose(y, [1, 0, 2]) if sequences else y)


def _masked(maker: Maker, features: int) -> Any:
    x = maker.normal(maker.time, features)
    x[~maker.mask(maker.time)] = -1.0
    return x


def _inputs(maker: Maker) -> Any:
    """The network's inputs: alone, or a list in any order."""
    tensors = list(maker.tensors.values())
    maker.rng.shuffle(tensors)
    return tensors if len(tensors) > 1 else tensors[0]
