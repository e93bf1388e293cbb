"""Views of values, and the layers that put numbers in order, against NumPy."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="onnx is not installed: ONNX files are not read")

import fastgru
from fastgru.graph import Activate, Activation, tensor_spec
from fastgru.importers.builder import GraphBuilder
from fastgru.importers.onnx import arrange
from fastgru.importers.onnx.node import Refusal
from fastgru.importers.onnx.values import Constant, Tensor
from fastgru.importers.sizes import Size, Symbol, as_declared, same
from fastgru.ports import Port
from onnx_build import enter, leave

BATCH, TIME = 3, 5


def network(batch: int | None = None) -> SimpleNamespace:
    """What views need of a network."""
    sequences: list = []
    net = SimpleNamespace(batch=Size.of(Symbol("batch", batch)), build=GraphBuilder(), sequences=sequences)
    net.sequence = lambda steps, spec: steps
    return net


def start(net: SimpleNamespace, sizes: tuple[int, ...], time: bool | int | None = None) -> Tensor:
    """An input, seen as it is."""
    spec = net.build.input(tensor_spec("x", time, sizes or (1,)))
    lead = 1 + spec.is_sequence
    steps = spec.shape[1] or Size.of(Symbol("time")) if spec.is_sequence else 1
    if spec.is_sequence and spec.shape[1] is not None:
        steps = spec.shape[1]
    axes = tuple((part,) for part in range(lead + len(sizes)))
    return Tensor(spec, sizes, axes, steps)


def shown(net: SimpleNamespace, view: Tensor, x: np.ndarray) -> np.ndarray:
    """The array that a view stands for, where the network's input is x."""
    view = arrange.unflipped(net, "end", view)
    port = Port("y", view.sizes, view.axes)
    if view.name == "x":
        return leave(x, view.spec, port)
    y = fastgru.Model(net.build.graph([view.spec]))(x)
    return leave(y, view.spec, port)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


# ---- chains of views -------------------------------------------------------------------------------------------------


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, ...], bool, list[tuple]]:
    sizes = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=3)))
    steps = draw(st.lists(st.tuples(st.sampled_from("tsurf"), st.integers(0, 10**6)), min_size=1, max_size=6))
    return sizes, draw(st.booleans()), steps


def _move(kind: str, seed: int, net: SimpleNamespace, view: Tensor, array: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """One random change of both the view and NumPy's array."""
    rng = np.random.default_rng(seed)
    rank = array.ndim
    if kind == "t":
        order = tuple(int(axis) for axis in rng.permutation(rank))
        return view.permuted(order), array.transpose(order)
    if kind == "s":
        ones = [axis for axis, size in enumerate(arrange.shape_of(net, view)) if size == 1]
        return arrange.squeezed(net, view, ones), array.squeeze(tuple(ones))
    if kind == "u":
        axis = int(rng.integers(0, rank + 1))
        return arrange.unsqueezed(view, [axis]), np.expand_dims(array, axis)
    shape, symbolic = list(array.shape), list(arrange.shape_of(net, view))
    if kind == "r" and rank > 1:  # two neighbours as one
        axis = int(rng.integers(0, rank - 1))
        shape[axis : axis + 2] = [shape[axis] * shape[axis + 1]]
        symbolic[axis : axis + 2] = [symbolic[axis] * symbolic[axis + 1]]
    elif kind == "f":  # one as two
        axis = int(rng.integers(0, rank))
        factor = int(rng.choice([f for f in (1, 2, 3) if shape[axis] % f == 0]))
        if isinstance(symbolic[axis], Size):
            factor = 1
        turn = rng.integers(0, 2)
        shape[axis : axis + 1] = [factor, shape[axis] // factor][:: 1 if turn else -1]
        symbolic[axis : axis + 1] = [factor, symbolic[axis] // factor][:: 1 if turn else -1]
    return arrange.reshaped(net, view, symbolic), array.reshape(shape)


@given(chains())
def test_chains_of_views(chain: tuple[tuple[int, ...], bool, list[tuple]]) -> None:
    """Whatever is not refused is what NumPy does."""
    sizes, is_sequence, moves = chain
    net = network()
    view = start(net, sizes, None if is_sequence else False)
    x = array = numbers(BATCH, *[TIME] * is_sequence, *sizes)
    for kind, seed in moves:
        if array.ndim > 8:
            break
        try:
            view, array = _move(kind, seed, net, view, array)
        except Refusal:
            break
    np.testing.assert_array_equal(shown(net, view, x), array)
    for axis, parts in enumerate(view.axes):
        if not {0, 1} & set(parts) or (parts == (1,) and not is_sequence):
            last = arrange.features_last(net, "last", view, axis)
            np.testing.assert_array_equal(shown(net, last, x), array)
            assert last.spec.inner[-1] == array.shape[axis]
            placed, place = arrange.in_place(net, "place", view, axis)
            np.testing.assert_array_equal(shown(net, placed, x), array)
            assert placed.spec.shape[place] == array.shape[axis]
            if not is_sequence:
                walked = arrange.as_sequence(net, "walked", view, axis)
                np.testing.assert_array_equal(shown(net, walked, x), array)
                assert walked.axes[axis] == (1,)
                assert walked.spec.is_sequence


@given(chains(), chains())
def test_values_together(a: tuple, b: tuple) -> None:
    """Two views of one input, spread over each other as NumPy does."""
    net = network()
    is_sequence = a[1]
    source = start(net, a[0], None if is_sequence else False)
    x = numbers(BATCH, *[TIME] * is_sequence, *a[0])
    found = []
    for moves in (a[2], b[2]):
        view, array = source, x
        for kind, seed in moves[:3]:
            try:
                view, array = _move(kind, seed, net, view, array)
            except Refusal:
                break
        found.append((view, array))
    try:
        expected = np.add(found[0][1], found[1][1])
        view, specs = arrange.together(net, "sum", [view for view, _ in found])
    except (Refusal, ValueError):
        return
    from fastgru.graph import Combine

    total = dataclasses.replace(view, spec=net.build.add(Combine, "sum", *specs, operation="add"))
    np.testing.assert_array_equal(shown(net, total, x), expected)


@given(chains(), st.integers(0, 10**6))
def test_constants_spread(chain: tuple, seed: int) -> None:
    """A constant beside a view, as NumPy spreads it."""
    net = network()
    sizes, is_sequence, moves = chain
    view = start(net, sizes, None if is_sequence else False)
    x = array = numbers(BATCH, *[TIME] * is_sequence, *sizes)
    for kind, one in moves:
        try:
            view, array = _move(kind, one, net, view, array)
        except Refusal:
            break
    rng = np.random.default_rng(seed)
    shape = [
        size if not {0, 1} & set(parts) - ({1} if not is_sequence else set()) and rng.integers(0, 2) else 1
        for size, parts in zip(array.shape, view.axes, strict=True)
    ]
    constant = numbers(*shape[int(rng.integers(0, len(shape))) if shape else 0 :])
    from fastgru.graph import Scale

    offset = arrange.spread(net, Constant.of(constant), view)
    total = dataclasses.replace(view, spec=net.build.add(Scale, "sum", view.spec, offset=offset))
    np.testing.assert_array_equal(shown(net, total, x), array + constant)


# ---- what each helper does -------------------------------------------------------------------------------------------


def test_a_batch_that_is_declared_as_one_may_go() -> None:
    net = network(batch=1)
    view = start(net, (4,), None)
    gone = arrange.squeezed(net, view, [0])
    assert gone.axes == ((1,), (2,))
    assert arrange.unsqueezed(gone, [1]).axes == ((1,), (), (2,))
    assert arrange.reshaped(net, view, [view.steps, 1, 4]).axes == ((1,), (), (2,))
    x = numbers(1, TIME, 4)
    np.testing.assert_array_equal(shown(net, gone, x), x[0])


def test_a_batch_of_free_size_stays() -> None:
    net = network()
    view = start(net, (4,), None)
    with pytest.raises(Refusal, match="cannot drop axis 0"):
        arrange.squeezed(net, view, [0])
    with pytest.raises(Refusal, match="cannot see"):
        arrange.reshaped(net, view, [2, view.steps, 2])
    with pytest.raises(Refusal, match="which is batch"):
        arrange.features_last(net, "last", view, 0)
    with pytest.raises(Refusal, match="which is time"):
        arrange.features_last(net, "last", view, 1)


def test_a_known_number_of_steps_may_become_features() -> None:
    net = network()
    view = start(net, (4,), TIME)
    flat = arrange.reshaped(net, view, [net.batch, TIME * 4])
    x = numbers(BATCH, TIME, 4)
    np.testing.assert_array_equal(shown(net, flat, x), x.reshape(BATCH, -1))
    last = arrange.features_last(net, "last", flat, 1)
    assert last.spec.shape == (None, TIME * 4)
    np.testing.assert_array_equal(shown(net, last, x), x.reshape(BATCH, -1))


def test_one_step_that_goes_is_not_freed() -> None:
    """Nothing else of a network that drops a time axis of 1 may run on more steps."""
    from fastgru import passes

    net = network()
    view = arrange.squeezed(net, start(net, (4,), 1), [1])
    spec = net.build.add(Activate, "y", view.spec, activation=Activation.of("tanh"))
    assert passes.apply(net.build.graph([spec])).inputs[0].shape == (None, 1, 4)


def test_flipped_steps_are_turned_where_they_must() -> None:
    net = network()
    view = start(net, (4,), None)
    flipped = dataclasses.replace(view, flipped=True)
    x = numbers(BATCH, TIME, 4)
    np.testing.assert_array_equal(shown(net, flipped, x), x[:, ::-1])
    same_view, specs = arrange.together(net, "both", [flipped, flipped])
    assert same_view.flipped
    assert {spec.name for spec in specs} == {"x"}
    turned, specs = arrange.together(net, "both", [flipped, view])
    assert not turned.flipped
    assert specs[0].name != specs[1].name


@pytest.mark.parametrize("sizes", [(4,), (2, 3), (1, 4)])
def test_padding_and_repeating(sizes: tuple[int, ...]) -> None:
    net = network()
    view = start(net, sizes, None)
    x = numbers(BATCH, TIME, *sizes)
    for axis in range(1, x.ndim):
        padded = arrange.padded(net, "pad", view, axis, 1, 2, 0.5)
        width = [(0, 0)] * x.ndim
        width[axis] = (1, 2)
        np.testing.assert_array_equal(shown(net, padded, x), np.pad(x, width, constant_values=0.5))
    for axis in range(x.ndim + 1):
        wide = arrange.expanded(net, "wide", arrange.unsqueezed(view, [axis]), axis, 3)
        np.testing.assert_array_equal(shown(net, wide, x), np.repeat(np.expand_dims(x, axis), 3, axis))


def test_sizes() -> None:
    batch, time = Size.of(Symbol("batch", 1)), Size.of(Symbol("time"))
    assert same(batch * time, time)
    assert not same(batch * time, 2)
    assert as_declared(batch * 3) == 3
    assert (time * 6 + time) // 7 == time
    assert time + 1 - time == 1
    assert time + 1 > time
    with pytest.raises(ValueError, match="cannot compare"):
        _ = time < 3
    with pytest.raises(ValueError, match="does not divide"):
        _ = (time * 3) // 2


def test_enter_undoes_leave() -> None:
    """The tests' own way through ports, by itself."""
    spec = tensor_spec("x", None, (6,))
    port = Port("x", (2, 3), ((3,), (1,), (), (0,), (2,)))
    x = numbers(BATCH, TIME, 6)
    y = leave(x, spec, port)
    assert y.shape == (3, TIME, 1, BATCH, 2)
    np.testing.assert_array_equal(y[2, 4, 0, 1, 1], x[1, 4, 5])
    np.testing.assert_array_equal(enter(y, spec, port), x)
