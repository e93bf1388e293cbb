"""FrontEnd: the encoders of a network's inputs, and what its answers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, BadModelFile
from .checks import checked_object, is_str, is_tuple_of, shown
from .encoder import Encoder, is_strings

if TYPE_CHECKING:
    from ..graph import Graph, TensorSpec

#: the first stored form: one vocabulary, for a network of one input
_FIRST_FORM = {"tokens", "split", "lowercase", "unknown", "max_length", "labels", "about"}


@dataclass(frozen=True)
class FrontEnd:
    """All of a network's encoders.

    Parameters
    ----------
    inputs : dict of str to Encoder
        By the input's name; the other inputs take numbers as they are.
    labels : tuple of str
        What the network's answers mean: one name a class, or two (low, high) for a single probability; may be empty.
    about : str
        Where the network comes from and what it was measured to do, in a sentence or two.

    Raises
    ------
    BadModelFile
        A value has the wrong type.
    """

    inputs: Mapping[str, Encoder]
    labels: tuple[str, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        for key, fits, expected in (
            ("labels", is_tuple_of(self.labels, is_str), "a list of strings"),
            ("about", is_str(self.about), "a string"),
        ):
            if not fits:
                raise BadModelFile(f"text front end: {key!r} should be {expected}, is {shown(getattr(self, key))}")

    @classmethod
    def of(cls, graph: Graph) -> FrontEnd | None:
        """A Graph's front end; None where it has none.

        Raises
        ------
        BadModelFile
            Not of the stored form, or it does not fit the graph's inputs.
        """
        if graph.text is None:
            return None
        front = cls.from_json(graph.text, [spec.name for spec in graph.inputs])
        specs = {spec.name: spec for spec in graph.inputs}
        for name, encoder in front.inputs.items():
            if name not in specs:
                raise BadModelFile(f"text front end: the network has no input {shown(name)}")
            if any(spec.name == name and port is not None for spec, port in graph.ported_inputs):
                raise BadModelFile(f"text front end: input {shown(name)} has a port, and so takes no texts")
            if not _fits(encoder, specs[name]):
                spec = specs[name]
                given = f"{encoder.output}{'' if encoder.size is None else f' of {encoder.size}'}"
                raise BadModelFile(f"text front end gives {given}, but input {name!r} takes {spec.dtype} {spec.shape}")
        return front

    @classmethod
    def from_json(cls, values: Any, names: Sequence[str]) -> FrontEnd:
        """Rebuild one from `to_json`'s dict, or from the first form, for inputs `names`."""
        if isinstance(values, Mapping) and "inputs" not in values:
            return _first_form(checked_object(values, _FIRST_FORM, _FIRST_FORM), names)
        given = checked_object(values, {"inputs", "labels", "about"}, {"inputs"})
        inputs = given["inputs"]
        if not isinstance(inputs, Mapping):
            raise BadModelFile(f"text front end: 'inputs' should be an object, is {shown(inputs)}")
        encoders = {name: Encoder.from_json(encoder) for name, encoder in inputs.items()}
        return cls(encoders, _tuple(given.get("labels", ())), given.get("about", ""))

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold, for `Graph.text`."""
        inputs = {name: encoder.to_json() for name, encoder in self.inputs.items()}
        return {"inputs": inputs, "labels": list(self.labels), "about": self.about}

    def encode(
        self, inputs: Sequence[Any], specs: Sequence[TensorSpec], lengths: Any = None, mask: Any = None
    ) -> tuple[tuple[Any, ...], Any]:
        """A call's inputs as the core takes them, and its lengths with those of padded texts that are to be masked.

        Where an encoder takes strings, numbers are what it would give, and stay.

        Raises
        ------
        BadInput
            What an encoder cannot read; or the caller gives lengths or a mask of texts.
        """
        encoded, padded = list(inputs), {}
        for place, spec in enumerate(specs):
            encoder = self.inputs.get(spec.name)
            if encoder is None or (encoder.takes_strings and not is_strings(inputs[place])):
                continue
            if encoder.split is not None and any(_concerns(given, spec.name) for given in (lengths, mask)):
                raise BadInput(f"lengths and mask go with token ids; input {spec.name!r} is given texts")
            try:
                encoded[place], steps = encoder.encode(inputs[place])
            except BadInput as error:
                raise BadInput(f"input {spec.name!r}: {error}") from None
            if steps is not None:
                padded[spec.name] = steps
        return tuple(encoded), {**(lengths or {}), **padded} if padded else lengths


def _concerns(given: Any, name: str) -> bool:
    """Whether lengths or a mask, an array for every sequence or a dict by input, are of an input."""
    return given is not None and (not isinstance(given, Mapping) or name in given)


def _first_form(values: Mapping[str, Any], names: Sequence[str]) -> FrontEnd:
    """One encoder of texts, for the only input."""
    if len(names) != 1:
        raise BadModelFile(f"text front end: one vocabulary for {len(names)} inputs")
    if not isinstance(values["lowercase"], bool):
        raise BadModelFile(f"text front end: 'lowercase' should be true or false, is {shown(values['lowercase'])}")
    same = {key: _tuple(values[key]) for key in ("tokens", "split", "unknown", "max_length")}
    for key in ("split", "unknown", "tokens"):
        if same[key] is None:
            raise BadModelFile(f"text front end: {key!r} is null")
    encoder = Encoder(**same, standardize=("lower",) if values["lowercase"] else (), masks_padding=True)
    return FrontEnd({names[0]: encoder}, _tuple(values["labels"]), values["about"])


def _fits(encoder: Encoder, spec: TensorSpec) -> bool:
    if encoder.output == "ids":
        wanted: tuple[Any, ...] = ("int32", encoder.is_sequence, ())
    else:
        wanted = ("float32", encoder.is_sequence, (encoder.size,))
    return (spec.dtype, spec.is_sequence, spec.inner) == wanted


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
