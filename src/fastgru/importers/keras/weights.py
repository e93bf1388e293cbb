"""Where a layer's arrays come from: the ways in which Keras keeps weights, behind one face.

A *source* hands out one `Weights` to each layer of a network, in the order of the configuration. Only layers that have
arrays take part, and which do, the layer's `Part` knows. A nested network's Weights is the source of its layers.

- `FlatSource`: a list of arrays per layer, matched by position. Legacy HDF5 (names there vary: ``gru/kernel:0``,
  ``gru/gru_cell/kernel:0``, …) and live models. A nested network is one flat list there: the trainable arrays of all
  its layers, then the others.
- `TreeSource`: ``.keras`` and ``.weights.h5``: groups named by the layer's snake_case class name with a counter,
  ``layers/gru_1/cell/vars/0``. The counter has run differently over the years (Keras 2.12 and 2.13 count layers with
  weights twice), its order has not: the k-th GRU is the k-th group ``gru*`` that holds arrays.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Protocol

from ...errors import BadModelFile
from ...graph import Array
from . import hdf5

#: random generators that Keras 3 saves beside the weights
NOT_WEIGHTS = "seed_generator"
#: the only array of a text layer
IDF = "vars/idf_weights"


@dataclass(frozen=True)
class Tensor:
    """An array that is read when it is first asked for."""

    shape: tuple[int, ...]
    load: Callable[[], Array]

    @classmethod
    def of(cls, dataset: Any) -> Tensor:
        return cls(tuple(dataset.shape or ()), partial(hdf5.read, dataset))

    @cached_property
    def array(self) -> Array:
        return self.load()


class Owner(Protocol):
    """What a source must know of a layer.

    Attributes
    ----------
    class_name : str
    owner : str
        Names the layer in messages.
    trainable : int
        How many arrays Keras lists among the trainable ones.
    fixed : int
        And how many it lists after those.
    """

    @property
    def class_name(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def trainable(self) -> int: ...
    @property
    def fixed(self) -> int: ...


class Weights(ABC):
    """The weights of one layer, from its first array on."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def take(self, **shapes: tuple[int, ...] | None) -> list[Array | None]:
        """Read the next arrays, in the order of their keywords.

        Parameters
        ----------
        **shapes
            Expected shape by the array's name; None where the layer has no such array.

        Raises
        ------
        BadModelFile
            An array is missing or has another shape; it has not been read then.
        """
        wanted = [key for key, shape in shapes.items() if shape is not None]
        tensors = self._next(len(wanted))
        if len(tensors) != len(wanted):
            expected = f"{len(wanted)} arrays ({', '.join(wanted)})"
            raise BadModelFile(f"{self.owner} should have {expected}, the file holds {len(tensors)}")
        for key, tensor in zip(wanted, tensors, strict=True):
            if tensor.shape != shapes[key]:
                raise BadModelFile(f"{self.owner}: {key} should have shape {shapes[key]}, has {tensor.shape}")
        arrays = {key: tensor.array for key, tensor in zip(wanted, tensors, strict=True)}
        return [arrays.get(key) for key in shapes]

    def skip(self, count: int) -> None:
        """Leave out arrays that say nothing about what the layer computes; they are not read."""
        self._next(count)

    @abstractmethod
    def again(self) -> Weights:
        """The same weights, from the first array on: a shared layer takes its arrays at each of its calls."""

    @abstractmethod
    def child(self, *attributes: str) -> Weights:
        """The weights of a layer inside this one, by the attribute that holds it (a GRU's ``cell``), which may have had
        several names."""

    @abstractmethod
    def shares(self, layers: Sequence[Owner]) -> list[Weights]:
        """The weights of the layers of a network inside this layer."""

    @abstractmethod
    def peek(self) -> tuple[int, ...]:
        """Shape of the next array; () if there is none."""

    @abstractmethod
    def finish(self) -> None:
        """Raise BadModelFile where arrays of this layer were never taken."""

    @abstractmethod
    def _next(self, count: int) -> list[Tensor]: ...


class Source(ABC):
    """The weights of a network."""

    @abstractmethod
    def take_idf(self, path: str, name: str) -> Array | None:
        """Take out the idf weights of a text layer, by its path among the layers or its name; None if it has none."""

    @abstractmethod
    def shares(self, layers: Sequence[Owner]) -> list[Weights]:
        """The weights of each layer.

        Raises
        ------
        BadModelFile
            Weights are left over.
        """


# ---- a list of arrays per layer --------------------------------------------------------------------------------------


class FlatSource(Source):
    """Weights as one list of arrays per layer, in the order of the layers."""

    def __init__(self, layers: Iterable[tuple[str, list[Tensor]]]) -> None:
        self._layers = [(name, tensors) for name, tensors in layers if tensors]

    @classmethod
    def legacy(cls, group: Any) -> FlatSource:
        """Of the group with the attribute `layer_names` in a legacy HDF5 file."""
        return cls(_legacy_layers(group))

    def take_idf(self, path: str, name: str) -> Array | None:
        place = next((place for place, (own, _) in enumerate(self._layers) if own == name), None)
        if place is None:
            return None
        tensors = self._layers.pop(place)[1]
        if len(tensors) != 1:
            raise BadModelFile(f"{name!r} should have its idf weights alone, the file holds {len(tensors)} arrays")
        return tensors[0].array

    def shares(self, layers: Sequence[Owner]) -> list[Weights]:
        queue = deque(self._layers)
        found = []
        for layer in layers:
            tensors = queue.popleft()[1] if layer.trainable + layer.fixed and queue else []
            found.append(_FlatWeights(layer.owner, _Flat(tensors)))
        _none_left([name for name, _ in queue])
        return list(found)


def _none_left(names: Sequence[str]) -> None:
    if names:
        raise BadModelFile(f"holds weights that no layer of the architecture takes: {', '.join(names)}")


class _Flat:
    """A layer's arrays, and which of them were taken."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors
        self.taken = 0


class _FlatWeights(Weights):
    def __init__(self, owner: str, flat: _Flat) -> None:
        super().__init__(owner)
        self._flat = flat
        self._at = 0

    def again(self) -> Weights:
        return _FlatWeights(self.owner, self._flat)

    def child(self, *attributes: str) -> Weights:
        return self

    def shares(self, layers: Sequence[Owner]) -> list[Weights]:
        trainable = sum(layer.trainable for layer in layers)
        count = trainable + sum(layer.fixed for layer in layers)
        tensors = self._next(count)
        if len(tensors) != count:
            raise BadModelFile(f"{self.owner} should have {count} arrays, the file holds {len(tensors)}")
        first, rest = iter(tensors[:trainable]), iter(tensors[trainable:])
        return [
            _FlatWeights(
                layer.owner,
                _Flat([next(first) for _ in range(layer.trainable)] + [next(rest) for _ in range(layer.fixed)]),
            )
            for layer in layers
        ]

    def peek(self) -> tuple[int, ...]:
        return self._flat.tensors[self._at].shape if self._at < len(self._flat.tensors) else ()

    def finish(self) -> None:
        left = len(self._flat.tensors) - self._flat.taken
        if left:
            raise BadModelFile(f"{self.owner} has {left} arrays more than its configuration asks for")

    def _next(self, count: int) -> list[Tensor]:
        found = self._flat.tensors[self._at : self._at + count]
        self._at += count
        self._flat.taken = max(self._flat.taken, min(self._at, len(self._flat.tensors)))
        return found


def _legacy_layers(group: Any) -> Iterator[tuple[str, list[Tensor]]]:
    names = hdf5.names(group, "layer_names")
    if hdf5.child(group, "top_level_model_weights") is not None:
        names = [*names, "top_level_model_weights"]
    for name in names:
        layer = hdf5.child(group, name)
        if layer is None:
            raise BadModelFile(f"layer_names has {name!r}, but there is no such group")
        yield name, [_legacy_tensor(layer, path) for path in hdf5.names(layer, "weight_names")]


def _legacy_tensor(layer: Any, path: str) -> Tensor:
    dataset = hdf5.child(layer, path)
    if dataset is None or not hasattr(dataset, "shape"):
        raise BadModelFile(f"{layer.name}: weight_names has {path!r}, but there is no such dataset")
    return Tensor.of(dataset)


# ---- groups by class and counter -------------------------------------------------------------------------------------


class TreeSource(Source):
    """Weights in groups named by class and counter.

    Parameters
    ----------
    tensors : dict of str to Tensor
        Every array of the network by its path, such as ``layers/gru/cell/vars/0``.
    """

    #: the group of the layers, what Keras 2.12 and 2.13 called it, and that of stacked cells
    ROOTS = ("layers", "_layer_checkpoint_dependencies", "cells")

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        groups: dict[tuple[str, str], dict[str, Tensor]] = defaultdict(dict)
        for path, tensor in tensors.items():
            root, _, rest = path.partition("/")
            key, _, inner = rest.partition("/")
            if root in self.ROOTS and key:
                groups[root, key][inner] = tensor
            else:
                raise BadModelFile(f"holds weights of the model itself, beside those of its layers: {path}")
        found: dict[str, list[tuple[int, str, dict[str, Tensor]]]] = defaultdict(list)
        for (_, key), inner_tensors in groups.items():
            stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", key, re.DOTALL).groups()  # type: ignore[union-attr]
            found[stem].append((int(number or 0), key, inner_tensors))
        self._groups = {stem: sorted(entries, key=lambda entry: entry[0]) for stem, entries in found.items()}

    @classmethod
    def of(cls, *files: Any) -> TreeSource:
        """Of an HDF5 file in this layout, or of the several that a large network was divided into."""
        tensors: dict[str, Tensor] = {}
        for file in files:
            for path, dataset in hdf5.datasets(file).items():
                if NOT_WEIGHTS not in path.split("/") and not path.startswith(("optimizer/", "metrics/")):
                    tensors[path] = Tensor.of(dataset)
        return cls(tensors)

    @classmethod
    def is_one(cls, file: Any) -> bool:
        """Whether an HDF5 file has this layout."""
        return any(hdf5.child(file, root) is not None for root in cls.ROOTS[:2])

    def take_idf(self, path: str, name: str) -> Array | None:
        for entries in self._groups.values():
            for entry in entries:
                if entry[1] == path:
                    entries.remove(entry)
                    return _idf_of(entry[1], entry[2])
        return None

    def shares(self, layers: Sequence[Owner]) -> list[Weights]:
        queues = {stem: deque(entries) for stem, entries in self._groups.items()}
        found: list[Weights] = []
        for layer in layers:
            queue = queues.get(snake_case(layer.class_name)) if layer.trainable + layer.fixed else None
            found.append(_TreeWeights(layer.owner, _Tree(queue.popleft()[2] if queue else {})))
        _none_left([key for queue in queues.values() for _, key, _ in queue])
        return found


def _idf_of(key: str, tensors: Mapping[str, Tensor]) -> Array:
    """A layer's idf weights, which a TextVectorization keeps twice: of its own, and of the lookup in it."""
    unknown = sorted(set(tensors) - {IDF, f"_lookup_layer/{IDF}"})
    if unknown or IDF not in tensors:
        raise BadModelFile(f"{key!r} should hold {IDF} alone, holds {', '.join(sorted(tensors))}")
    return tensors[IDF].array


class _Tree:
    """The arrays of one layer's group by their path, and which of them were taken."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.taken: set[str] = set()


class _TreeWeights(Weights):
    def __init__(self, owner: str, tree: _Tree, path: str = "") -> None:
        super().__init__(owner)
        self._tree = tree
        self._path = path
        self._index = 0

    def again(self) -> Weights:
        return _TreeWeights(self.owner, self._tree, self._path)

    def child(self, *attributes: str) -> Weights:
        paths = [f"{self._path}{attribute}/" for attribute in attributes]
        there = (path for path in paths if any(key.startswith(path) for key in self._tree.tensors))
        return _TreeWeights(self.owner, self._tree, next(there, paths[0]))

    def shares(self, layers: Sequence[Owner]) -> list[Weights]:
        inside = {path: tensor for path, tensor in self._tree.tensors.items() if path.startswith(self._path)}
        self._tree.taken.update(inside)
        cut = len(self._path)
        return TreeSource({path[cut:]: tensor for path, tensor in inside.items()}).shares(layers)

    def peek(self) -> tuple[int, ...]:
        return next((tensor.shape for tensor in self._tree.tensors.values()), ())

    def finish(self) -> None:
        left = [path for path in self._tree.tensors if path not in self._tree.taken]
        if left:
            raise BadModelFile(f"{self.owner} has arrays that its configuration does not ask for: {', '.join(left)}")

    def _next(self, count: int) -> list[Tensor]:
        paths = [f"{self._path}vars/{self._index + i}" for i in range(count)]
        self._index += count
        found = [path for path in paths if path in self._tree.tensors]
        self._tree.taken.update(found)
        return [self._tree.tensors[path] for path in found]


def snake_case(class_name: str) -> str:
    """Keras' own conversion.

    >>> snake_case("TimeDistributed"), snake_case("GRU"), snake_case("SpatialDropout1D")
    ('time_distributed', 'gru', 'spatial_dropout1d')
    """
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
