"""Where a layer's arrays come from: the three ways in which Keras keeps weights, behind one face.

A *source* hands out the weights of each layer in the order of the network's layers. Only layers that have weights take
part, so a layer's share is fetched when its reader first takes an array. Nothing may be left over at the end.

- `FlatSource`: a list of arrays per layer, matched by position. Legacy HDF5 (names there vary: ``gru/kernel:0``,
  ``gru/gru_cell/kernel:0``, …) and live models.
- `TreeSource`: ``.keras`` and ``.weights.h5``: groups named by the layer's snake_case class name with a counter,
  ``layers/gru_1/cell/vars/0``. The counter has run differently over the years (Keras 2.12 and 2.13 count layers with
  weights twice), its order has not: the k-th GRU is the k-th group ``gru*`` that holds arrays.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...errors import BadModelFile
from ...graph import Array
from . import hdf5

#: random generators that Keras 3 saves beside the weights
NOT_WEIGHTS = "seed_generator"


@dataclass(frozen=True)
class Tensor:
    """An array that has not been read yet."""

    shape: tuple[int, ...]
    read: Callable[[], Array]

    @classmethod
    def of(cls, dataset: Any) -> Tensor:
        return cls(tuple(dataset.shape or ()), partial(hdf5.read, dataset))


class Weights(ABC):
    """The weights of one layer."""

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
        arrays = {key: tensor.read() for key, tensor in zip(wanted, tensors, strict=True)}
        return [arrays.get(key) for key in shapes]

    @abstractmethod
    def child(self, attribute: str) -> Weights:
        """The weights of a layer inside this one, by the attribute that holds it (a GRU's ``cell``)."""

    @abstractmethod
    def finish(self) -> None:
        """Raise BadModelFile where arrays of this layer were not taken."""

    @abstractmethod
    def _next(self, count: int) -> list[Tensor]: ...


class Source(ABC):
    """The weights of a network."""

    @abstractmethod
    def layer(self, class_name: str, owner: str) -> Weights:
        """The weights of the next layer; `owner` names it in messages."""

    @abstractmethod
    def left_over(self) -> list[str]:
        """Names of the layers whose weights were not taken."""

    @abstractmethod
    def peek(self, class_name: str) -> tuple[int, ...]:
        """Shape of the first array of the first layer with weights, which is of that class; () if there is none."""

    def finish(self) -> None:
        """Raise BadModelFile where weights were not taken."""
        left = self.left_over()
        if left:
            raise BadModelFile(f"holds weights that no layer of the architecture takes: {', '.join(left)}")


class FlatSource(Source):
    """Weights as one list of arrays per layer, in the order of the layers."""

    def __init__(self, layers: Iterable[tuple[str, list[Tensor]]]) -> None:
        self._queue = deque((name, tensors) for name, tensors in layers if tensors)

    @classmethod
    def legacy(cls, group: Any) -> FlatSource:
        """Of the group with the attribute `layer_names` in a legacy HDF5 file."""
        return cls(_legacy_layers(group))

    def layer(self, class_name: str, owner: str) -> Weights:
        return _FlatWeights(owner, self)

    def left_over(self) -> list[str]:
        return [name for name, _ in self._queue]

    def peek(self, class_name: str) -> tuple[int, ...]:
        return self._queue[0][1][0].shape if self._queue else ()

    def pop(self) -> list[Tensor]:
        """The arrays of the next layer that has some."""
        return self._queue.popleft()[1] if self._queue else []


class _FlatWeights(Weights):
    def __init__(self, owner: str, source: FlatSource) -> None:
        super().__init__(owner)
        self._source = source
        self._tensors: list[Tensor] | None = None

    def child(self, attribute: str) -> Weights:
        return self

    def finish(self) -> None:
        if self._tensors:
            raise BadModelFile(f"{self.owner} has {len(self._tensors)} arrays more than its configuration asks for")

    def _next(self, count: int) -> list[Tensor]:
        if self._tensors is None:
            self._tensors = self._source.pop()
        taken, self._tensors = self._tensors[:count], self._tensors[count:]
        return taken


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


class TreeSource(Source):
    """Weights in groups named by class and counter."""

    #: the group of the layers, and what Keras 2.12 and 2.13 called it
    ROOTS = ("layers", "_layer_checkpoint_dependencies")

    def __init__(self, file: Any) -> None:
        found: dict[str, list[tuple[int, str, dict[str, Tensor]]]] = defaultdict(list)
        for root in self.ROOTS:
            group = hdf5.child(file, root)
            for key, node in hdf5.children(group) if group is not None else ():
                tensors = _tree_tensors(node)
                if tensors:
                    stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", key, re.DOTALL).groups()  # type: ignore[union-attr]
                    found[stem].append((int(number or 0), key, tensors))
        own = hdf5.child(file, "vars")
        if own is not None and hdf5.datasets(own):
            raise BadModelFile("holds weights of the model itself, beside those of its layers")
        self._queues = {stem: deque(sorted(entries, key=lambda entry: entry[0])) for stem, entries in found.items()}

    @classmethod
    def is_one(cls, file: Any) -> bool:
        """Whether an HDF5 file has this layout."""
        return any(hdf5.child(file, root) is not None for root in cls.ROOTS)

    def layer(self, class_name: str, owner: str) -> Weights:
        return _TreeWeights(owner, _Share(partial(self._pop, snake_case(class_name))))

    def left_over(self) -> list[str]:
        return [key for queue in self._queues.values() for _, key, _ in queue]

    def peek(self, class_name: str) -> tuple[int, ...]:
        queue = self._queues.get(snake_case(class_name))
        return next(iter(queue[0][2].values())).shape if queue else ()

    def _pop(self, stem: str) -> dict[str, Tensor]:
        queue = self._queues.get(stem)
        return queue.popleft()[2] if queue else {}


class _Share:
    """The arrays of one layer's group by their path, fetched when first asked for."""

    def __init__(self, fetch: Callable[[], dict[str, Tensor]]) -> None:
        self._fetch = fetch
        self.tensors: dict[str, Tensor] | None = None

    def pop(self, paths: list[str]) -> list[Tensor]:
        if self.tensors is None:
            self.tensors = self._fetch()
        return [self.tensors.pop(path) for path in paths if path in self.tensors]


class _TreeWeights(Weights):
    def __init__(self, owner: str, share: _Share, path: str = "") -> None:
        super().__init__(owner)
        self._share = share
        self._path = path
        self._index = 0

    def child(self, attribute: str) -> Weights:
        return _TreeWeights(self.owner, self._share, f"{self._path}{attribute}/")

    def finish(self) -> None:
        if self._share.tensors:
            left = ", ".join(self._share.tensors)
            raise BadModelFile(f"{self.owner} has arrays that its configuration does not ask for: {left}")

    def _next(self, count: int) -> list[Tensor]:
        paths = [f"{self._path}vars/{self._index + i}" for i in range(count)]
        self._index += count
        return self._share.pop(paths)


def _tree_tensors(node: Any) -> dict[str, Tensor]:
    found = hdf5.datasets(node) if hdf5.is_group(node) else {"": node}
    return {path: Tensor.of(dataset) for path, dataset in found.items() if NOT_WEIGHTS not in path.split("/")}


def snake_case(class_name: str) -> str:
    """Keras' own conversion.

    >>> snake_case("TimeDistributed"), snake_case("GRU"), snake_case("SpatialDropout1D")
    ('time_distributed', 'gru', 'spatial_dropout1d')
    """
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
