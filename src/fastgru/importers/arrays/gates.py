"""GRU weights among named arrays: the names that frameworks give them.

| names | whose | gates |
|---|---|---|
| ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, …, with ``_reverse`` too | nn.GRU | rows r, z, n |
| ``weight_ih``, ``weight_hh``, … or ``w_ih``, ``w_hh``, ``b_ih``, ``b_hh`` | nn.GRUCell | rows r, z, n |
| ``kernel``, ``recurrent_kernel``, ``bias`` | Keras | columns z, r, n |
| ``W``, ``R``, ``B`` | ONNX | rows z, r, n, for each direction |

A prefix may stand before them, joined by ``.``, ``/``, ``_`` or nothing; TensorFlow's ``:0`` may follow.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ...graph import Array
from ..cell import Cell
from .options import Options
from .store import ArrayStore, listed

_TORCH = re.compile(
    r"(?P<prefix>|.*?[./_])(?P<what>weight|w|bias|b)_(?P<side>ih|hh)(?:_l(?P<layer>\d+))?(?P<back>_reverse)?"
)
_KERAS = re.compile(r"(?P<prefix>|.*?[./_])(?P<what>recurrent_kernel|kernel|bias)(?::0)?")
_ONNX = re.compile(r"(?P<prefix>|.*?[./_])(?P<what>[WRB])")
#: layers that a name may count
MAX_LAYERS = 1000


@dataclass(frozen=True)
class Found:
    """The GRUs under one prefix.

    Attributes
    ----------
    layers : list of list of Cell
        By layer and direction.
    style : str
        ``"torch"``, ``"cell"`` (one step's names, no layers), ``"keras"`` or ``"onnx"``.
    backwards : bool
        The only direction is the backward one.
    """

    layers: list[list[Cell]]
    style: str
    backwards: bool = False


def prefixes(names: Iterable[str]) -> list[str]:
    """The prefixes, separators cut off, under which a GRU's weights stand."""
    parts = defaultdict(set)
    for name in names:
        for style, pattern in (("torch", _TORCH), ("keras", _KERAS), ("onnx", _ONNX)):
            match = pattern.fullmatch(name)
            if match:
                parts[match["prefix"], style].add(match["side"] if style == "torch" else match["what"])
    wanted = {"torch": {"ih", "hh"}, "keras": {"kernel", "recurrent_kernel"}, "onnx": {"W", "R"}}
    return sorted({prefix.rstrip("./_") for (prefix, style), found in parts.items() if wanted[style] <= found})


def find(store: ArrayStore, prefix: str, options: Options) -> Found | None:
    """The GRU under a prefix; None after a fault."""
    for style, pattern in (("torch", _TORCH), ("keras", _KERAS), ("onnx", _ONNX)):
        names = {}
        for name in store.arrays:
            match = pattern.fullmatch(name)
            if match and match["prefix"].rstrip("./_") == prefix.rstrip("./_"):
                names[name] = match
        if names and (style == "torch" or {"kernel", "W"} & {match["what"] for match in names.values()}):
            return _READERS[style](store, names, options)
    known = prefixes(store.arrays)
    hint = f"GRUs stand under {', '.join(map(repr, known))}" if known else "no array has the name of a GRU's weights"
    options.fault(f"there is no GRU under that name; {hint}")
    return None


def _torch(store: ArrayStore, names: dict[str, re.Match[str]], options: Options) -> Found | None:
    by_place: dict[tuple[int, bool], dict[str, Array]] = defaultdict(dict)
    for name, match in names.items():
        place = (int(match["layer"] or 0), bool(match["back"]))
        key = f"{'weight' if match['what'] in ('weight', 'w') else 'bias'}_{match['side']}"
        if key in by_place[place] or place[0] >= MAX_LAYERS:
            options.fault(f"{name!r} says again what another array says" if place[0] < MAX_LAYERS else f"odd {name!r}")
            return None
        by_place[place][key] = store.take(name)
    count, directions = 1 + max(layer for layer, _ in by_place), 1 + any(back for _, back in by_place)
    has_bias = any(key.startswith("bias") for keys in by_place.values() for key in keys)
    wanted = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if has_bias else [])]
    layers: list[list[Cell]] = []
    sound = True
    for layer in range(count):
        width = None if not layer else directions * layers[0][0].units if layers and layers[0] else None
        cells = []
        for back in range(directions):
            arrays, where = by_place.get((layer, bool(back)), {}), f"layer {layer}{' reverse' if back else ''}"
            missing = [key for key in wanted if key not in arrays]
            if missing:
                options.fault(f"{where} lacks {', '.join(missing)}")
            elif _fits_torch(arrays, where, width, layers[0][0].units if layers and layers[0] else None, options):
                biases = arrays.get("bias_ih"), arrays.get("bias_hh")
                cells.append(Cell.of_torch(arrays["weight_ih"], arrays["weight_hh"], *biases))
                continue
            sound = False
        layers.append(cells)
    style = "torch" if any(match["layer"] for match in names.values()) else "cell"
    return Found(layers, style) if sound else None


def _fits_torch(arrays: dict[str, Array], where: str, width: int | None, units: int | None, options: Options) -> bool:
    hidden = arrays["weight_hh"]
    if hidden.ndim != 2 or hidden.shape[0] != 3 * hidden.shape[1] or not hidden.size:
        options.fault(f"{where}: weight_hh should be (3 · hidden_size, hidden_size), is {hidden.shape}")
        return False
    units = units or hidden.shape[1]
    incoming = arrays["weight_ih"]
    size = width or (incoming.shape[1] if incoming.ndim == 2 else 0)
    expected = {"weight_ih": (3 * units, size), "weight_hh": (3 * units, units),
                "bias_ih": (3 * units,), "bias_hh": (3 * units,)}  # fmt: skip
    return _have_shapes(arrays, expected, where, options)


def _keras(store: ArrayStore, names: dict[str, re.Match[str]], options: Options) -> Found | None:
    arrays = _by_word(store, names, options)
    reset_after = options.flag("reset_after")
    if "recurrent_kernel" not in arrays:
        options.fault(f"there is a kernel, but no recurrent_kernel: {listed(names)}")
        return None
    bias = arrays.get("bias")
    if bias is not None and reset_after not in (None, bias.ndim == 2):
        options.fault(f"reset_after is {reset_after}, but the bias has shape {bias.shape}")
    if bias is None and reset_after is None:
        options.fault("without a bias nothing says which variant it is: say reset_after=True (Keras' default) or False")
    resets_after = bias.ndim == 2 if bias is not None else bool(reset_after)
    recurrent = arrays["recurrent_kernel"]
    units = recurrent.shape[0] if recurrent.ndim == 2 else 0
    size = arrays["kernel"].shape[0] if arrays["kernel"].ndim == 2 else 0
    shapes = {"kernel": (size, 3 * units), "recurrent_kernel": (units, 3 * units),
              "bias": (2, 3 * units) if resets_after else (3 * units,)}  # fmt: skip
    if not _have_shapes(arrays, shapes, "it", options):
        return None
    return Found([[Cell.of_keras(arrays["kernel"], recurrent, bias, reset_after=resets_after)]], "keras")


def _onnx(store: ArrayStore, names: dict[str, re.Match[str]], options: Options) -> Found | None:
    arrays = _by_word(store, names, options)
    resets_after = options.flag("linear_before_reset")
    if resets_after is None:
        options.fault("W, R and B do not say which variant it is: say linear_before_reset=True or False")
    if "R" not in arrays:  # `find` goes by W
        options.fault(f"W and R go together, there is {listed(names)}")
        return None
    w, r = arrays["W"], arrays["R"]
    directions, units = (r.shape[0], r.shape[2]) if r.ndim == 3 else (0, 0)
    size = w.shape[2] if w.ndim == 3 else 0
    shapes = {"W": (directions, 3 * units, size), "R": (directions, 3 * units, units), "B": (directions, 6 * units)}
    if not _have_shapes(arrays, shapes, "it", options):
        return None
    if directions not in (1, 2):
        options.fault(f"W, R and B should hold one direction or two, hold {directions}")
        return None
    biases = arrays.get("B", (None,) * directions)
    cells = [Cell.of_onnx(w[d], r[d], biases[d], bool(resets_after)) for d in range(directions)]
    return Found([cells], "onnx")


def _by_word(store: ArrayStore, names: dict[str, re.Match[str]], options: Options) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    for name, match in names.items():
        if match["what"] in arrays:
            options.fault(f"{name!r} says again what another array says")
        arrays[match["what"]] = store.take(name)
    return arrays


def _have_shapes(
    arrays: dict[str, Array], expected: Mapping[str, tuple[int, ...]], where: str, options: Options
) -> bool:
    sound = True
    for key, array in arrays.items():
        if array.shape != expected[key] or not array.size:
            options.fault(f"{where}: {key} has shape {array.shape}, which does not fit the others: {expected[key]}")
            sound = False
    return sound


def beside(forward: Found, backward: Found, options: Options) -> Found | None:
    """Two GRUs of one layer each, as the directions of one."""
    pair = [found.layers[0][0] for found in (forward, backward) if [len(cells) for cells in found.layers] == [1]]
    if len(pair) != 2:
        options.fault("backward= goes with two GRUs of one layer and direction each")
        return None
    sizes = [(cell.input_size, cell.units) for cell in pair]
    if sizes[0] != sizes[1]:
        options.fault(f"both directions should have the same input_size and units, have {sizes[0]} and {sizes[1]}")
        return None
    return replace(forward, layers=[pair])


_READERS = {"torch": _torch, "keras": _keras, "onnx": _onnx}
