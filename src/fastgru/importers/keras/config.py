"""A layer's configuration, read key by key: what is not asked for and not known to be irrelevant is refused by name."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ...errors import BadModelFile, FastGRUError

#: keys of any layer that say nothing about what it computes
COMMON = frozenset({"name", "trainable", "batch_input_shape", "batch_shape", "activity_regularizer"})
#: what a key ends in that only matters in training
TRAINING = ("_initializer", "_regularizer", "_constraint")
#: dtype policies that are computed in float32 here, with a note
OTHER_FLOATS = frozenset({"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"})
#: where Keras' own classes live
KERAS_MODULES = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")
#: what Python raises where a file has a value of another type, or more or fewer of them, than Keras writes
MISFITS = (TypeError, AttributeError, LookupError, ValueError, ArithmeticError)
_REQUIRED = object()


@dataclass
class Report:
    """What is gathered about a whole network while its layers are read.

    Attributes
    ----------
    generation : int or None
        1, 2 or 3: of the Keras that wrote the network; None where nothing says.
    backend : str or None
        What that Keras computed with, such as ``"theano"``; None where nothing says.
    multi_backend : bool
        It was the first, independent Keras, up to 2.3, not the one that came with TensorFlow.
    reasons : list of str
        Why the network is refused.
    policies : dict of str to list of str
        Names of the layers by their dtype policy, where it isn't float32.
    notes : list of str
        What the user should know.
    time_major : list of str
        Names of the recurrent layers that take (time, batch, features).
    is_turned : bool
        All of the network does, its inputs included: it is read as one over (batch, time, features).
    custom : dict of str to reader
        The caller's readers of custom layers, by class name or registered name.
    """

    generation: int | None = None
    backend: str | None = None
    multi_backend: bool = False
    reasons: list[str] = field(default_factory=list)
    policies: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    time_major: list[str] = field(default_factory=list)
    is_turned: bool = False
    custom: Mapping[str, Any] = field(default_factory=dict)


def printable(name: object) -> str:
    """A name from a file without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "_" for letter in str(name))


class LayerConfig:
    """The configuration of one layer.

    Parameters
    ----------
    entry : dict
        ``{"class_name": …, "config": {…}, …}`` as Keras serializes any of its objects.
    report : Report
    within : LayerConfig, optional
        The layer that this one is a part of; messages name it.

    Raises
    ------
    BadModelFile
        Not of that form, or a value has the wrong type.
    """

    def __init__(self, entry: Any, report: Report, within: LayerConfig | None = None) -> None:
        entry = mapping(entry, "a layer")
        self.class_name = self.label = str(entry.get("class_name", ""))
        written = entry.get("config")
        if sequence(written) is not None:  # a Sequential network's, up to Keras 2.2
            written = {"layers": written}
        self._values = mapping(written, f"the config of a {self.class_name or 'layer'}")
        self.report = report
        self.name = printable(self._values.get("name") or entry.get("name") or self.class_name.lower() or "layer")
        #: what the network's wiring calls it
        self.key = printable(entry.get("name") or self.name)
        if within is not None:
            self.name, self.label = within.name, f"{within.label}/{self.class_name}"
        self.owner = f"layer {self.name!r} ({self.label})"
        self._taken: set[str] = set()
        self._module, self._registered = entry.get("module"), entry.get("registered_name")

    def document(self) -> dict[str, Any]:
        """What was written, as a network inside a network is read."""
        self._taken.update(self._values)
        return {"class_name": self.class_name, "config": self._values, "module": self._module}

    @property
    def registered(self) -> str:
        """The name under which a custom class was registered, ``package>Class``; else the class name."""
        return str(self._registered or self.class_name)

    @property
    def is_operation(self) -> bool:
        """Whether it is a node of an operation such as ``x + y``, not a layer."""
        return ".ops." in f"{self._module}." or self.class_name in ("TFOpLambda", "SlicingOpLambda")

    @property
    def is_bare(self) -> bool:
        """Whether it names neither its module, as in legacy HDF5 files, nor what any layer of Keras 3 has."""
        return self._module is None and self.report.generation == 3 and not {"trainable", "dtype"} & set(self._values)

    @property
    def is_trainable(self) -> bool:
        return bool(self._values.get("trainable", True))

    @property
    def is_custom(self) -> bool:
        """Whether the class is the user's own, though it may be named like one of Keras'."""
        module = str(self._module or "keras")
        foreign = not any(module == known or module.startswith(f"{known}.") for known in KERAS_MODULES)
        return foreign or ">" in self.class_name or ">" in str(self._registered or "")

    def refuse(self, why: str) -> None:
        """Note a reason for which the whole network is refused."""
        self.report.reasons.append(f"{self.owner}: {why}")

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        """The raw value of a key."""
        self._taken.add(key)
        value = self._values.get(key, default)
        if value is _REQUIRED:
            raise BadModelFile(f"{self.owner}: its configuration has no {key!r}")
        return value

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def flag(self, key: str, default: bool = False) -> bool:
        """A truth value; None (JSON null) means `default`."""
        value = self.take(key, default)
        if value is None:
            return default
        if not isinstance(value, (bool, int)):
            raise self.wrong(key, "true or false", value)
        return bool(value)

    def size(self, key: str) -> int:
        """A positive whole number."""
        value = self.take(key)
        is_whole = isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
        if not is_whole or isinstance(value, bool) or value < 1:
            raise self.wrong(key, "a positive whole number", value)
        return int(value)

    def number(self, key: str, default: float) -> float:
        """A number, also as Keras serializes arrays of one element; None means `default`."""
        value = self.take(key, default)
        while isinstance(value, Mapping):
            value = value.get("value", value.get("config"))
        if value is None:
            return default
        try:
            number = float(value) if isinstance(value, numbers.Real) else math.nan
        except OverflowError:
            number = math.nan
        if math.isnan(number):
            raise self.wrong(key, "a number", value)
        return number

    def sizes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        value = sequence(self.take(key))
        if value is None or not all(isinstance(size, numbers.Integral) for size in value):
            raise self.wrong(key, "a list of sizes", value)
        return tuple(int(size) for size in value)

    def whole(self, key: str, default: int) -> int:
        """A whole number; None means `default`."""
        value = self.take(key, default)
        value = default if value is None else value
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise self.wrong(key, "a whole number", value)
        return int(value)

    def several(self, key: str, count: int, default: Any = _REQUIRED, least: int = 1) -> tuple[int, ...]:
        """One whole number for each of `count` axes, none below `least`; a single one stands for all and None
        (JSON null) for `default`."""
        value = self.take(key, default)
        value = default if value is None and default is not _REQUIRED else value
        items = sequence(value)
        numbers_ = [value] * count if items is None else list(items)
        if len(numbers_) != count or not all(type(n) is int and n >= least for n in numbers_):
            raise self.wrong(key, f"{count} whole numbers from {least} on", value)
        return tuple(numbers_)

    def text(self, key: str, default: str, *accepted: str) -> str:
        """One of a few words; None means `default`."""
        value = self.take(key, default)
        value = default if value is None else value
        if value not in accepted:
            raise self.wrong(key, f"one of {', '.join(accepted)}", value)
        return str(value)

    def only(self, key: str, *accepted: Any, why: str) -> None:
        """Refuse any value but the accepted ones; the first is what an absent key means."""
        if self.take(key, accepted[0]) not in accepted:
            self.refuse(f"{key}={self._values[key]!r} is not supported: {why}")

    def part(self, key: str) -> LayerConfig:
        """A layer inside this one; it is named after this one in messages."""
        return LayerConfig(self.take(key), self.report, self)

    def parts(self, key: str) -> list[LayerConfig]:
        """A list of layers inside this one."""
        items = sequence(self.take(key))
        if items is None:
            raise self.wrong(key, "a list of layers", self._values.get(key))
        return [LayerConfig(item, self.report, self) for item in items]

    def finish(self, ignored: Collection[str] = (), any_dtype: bool = False) -> None:
        """Refuse the keys that nobody read.

        Parameters
        ----------
        ignored : collection of str
            Keys of this class that say nothing about what it computes at inference.
        any_dtype : bool
            Its dtype does not matter either.
        """
        if not any_dtype:
            self._read_policy()
        for key, value in self._values.items():
            known = key in self._taken or key in COMMON or key in ignored or key.endswith(TRAINING)
            unused = key == "quantization_config" and value is None
            if not (known or unused):
                self.refuse(f"the option {key}={short(value)} is not known to fastgru")

    def _read_policy(self) -> None:
        policy = self.take("dtype", "float32")
        while isinstance(policy, Mapping):
            if policy.get("class_name") not in (None, "DTypePolicy", "Policy", "PolicyV1"):
                break
            policy = mapping(policy.get("config"), "a dtype policy").get("name")
        if isinstance(policy, str) and policy in OTHER_FLOATS:
            layers = self.report.policies.setdefault(policy, [])
            if self.name not in layers:
                layers.append(self.name)
        elif policy not in ("float32", None):
            self.refuse(f"its dtype {short(policy)} is not supported")

    def wrong(self, key: str, expected: str, value: Any) -> BadModelFile:
        return BadModelFile(f"{self.owner}: {key!r} should be {expected}, is {short(value)}")


@contextmanager
def as_written(config: LayerConfig, what: str) -> Iterator[None]:
    """Inside, `what` a layer has in the file may be no such thing as Keras writes; that becomes BadModelFile."""
    try:
        yield
    except FastGRUError:
        raise
    except MISFITS as error:
        raise BadModelFile(f"{config.owner}: its {what} is not as Keras writes it: {error}") from error


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """`value`, which should be a dict."""
    if not isinstance(value, Mapping):
        raise BadModelFile(f"{what} should be a JSON object, is {short(value)}")
    return value


def sequence(value: Any) -> Sequence[Any] | None:
    """A list, however Keras wrote it (tuples and TensorShapes become objects); None where it is none."""
    if isinstance(value, Mapping) and value.get("class_name") in ("__tuple__", "TensorShape"):
        value = value.get("items", value.get("config"))
    return value if isinstance(value, (list, tuple)) else None


def shape(value: Any) -> tuple[int | None, ...] | None:
    """A shape, free sizes None; None where `value` is no shape."""
    sizes = sequence(value)
    if sizes is None or not all(
        size is None or (isinstance(size, numbers.Integral) and int(size) > 0) for size in sizes
    ):
        return None
    return tuple(None if size is None else int(size) for size in sizes)


def short(value: Any) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
