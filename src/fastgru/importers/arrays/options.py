"""One entry of a description, read key by key: every option has a type, and one that nobody asks for is a fault."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...graph import ELEMENTWISE, LINEAR, ROWWISE, Activation

#: names by which frameworks call activations otherwise
ALIASES = {
    "swish": "silu", "leaky_relu": "relu", "relu6": "relu", "hardsigmoid": "hard_sigmoid", "hardtanh": "hard_tanh",
    "logsigmoid": "log_sigmoid", "logsoftmax": "log_softmax", "none": "linear", "identity": "linear",
}  # fmt: skip
#: names with more than one meaning
AMBIGUOUS = {
    "hard_sigmoid": "Keras 2 has slope 0.2, PyTorch and Keras 3 have 1/6",
    "leaky_relu": "PyTorch has negative_slope 0.01, Keras 0.2 or 0.3",
}


class Options:
    """An entry such as ``{"gru": "rnn", "batch_first": true}`` and what is wrong with it.

    Attributes
    ----------
    kind : str
        The key that says what the entry is.
    owner : str
        Names the entry in messages.
    """

    def __init__(self, entry: Mapping[str, Any], kind: str, number: int, faults: list[str]) -> None:
        self._entry = dict(entry)
        self._asked = {kind}
        self._faults = faults
        self.kind = kind
        self.source = entry[kind]
        self.owner = f"layers[{number}] ({kind} {self.source!r})"

    def fault(self, text: str) -> None:
        self._faults.append(f"{self.owner}: {text}")

    def flag(self, key: str) -> bool | None:
        """True or false; None where it is not said."""
        return self._take(key, "true or false", lambda value: isinstance(value, bool))  # type: ignore[no-any-return]

    def whole(self, key: str) -> int | None:
        return self._take(key, "a whole number", lambda value: type(value) is int)  # type: ignore[no-any-return]

    def number(self, key: str) -> float | None:
        """A number from 0 on."""
        return self._take(key, "a number from 0 on", lambda value: _is_number(value) and 0 <= value < math.inf)  # type: ignore[no-any-return]

    def text(self, key: str, *allowed: str) -> str | None:
        wanted = f"one of {', '.join(map(repr, allowed))}" if allowed else "a string"
        fits = (lambda value: value in allowed) if allowed else (lambda value: isinstance(value, str))
        return self._take(key, wanted, fits)  # type: ignore[no-any-return]

    def whole_is(self, key: str, actual: int) -> None:
        """Hold a number that the arrays say, too, against them."""
        said = self.whole(key)
        if said not in (None, actual):
            self.fault(f"{key} should be {actual}, as the arrays have it, is {said}")

    def flag_is(self, key: str, actual: bool) -> None:
        """Hold a fact that the arrays say, too, against them."""
        said = self.flag(key)
        if said not in (None, actual):
            self.fault(f"{key} is {said}, but the arrays say {actual}")

    def activation(self, key: str, default: Activation = LINEAR, *, gate: bool = False) -> Activation:
        """An activation by its name, or by an object with ``name`` and its parameters."""
        value = self._value(key)
        if value is None:
            return default
        found = self.activation_of(key, value)
        if gate and found.is_rowwise:
            self.fault(f"{key} {found.name!r} looks at a whole row and cannot stand in a gate")
        return found

    def activation_of(self, key: str, value: Any) -> Activation:
        params = dict(value) if isinstance(value, Mapping) else {"name": value}
        name = params.pop("name", None)
        low = name.lower() if isinstance(name, str) else None
        known = ALIASES.get(low, low) if low is not None else None
        table: dict[str, float] | None = {**ELEMENTWISE, **ROWWISE}.get(known or "")
        if table is None:
            self.fault(f"{key} should be the name of an activation, is {value!r}")
            return LINEAR
        if low == "relu6":
            params.setdefault("max_value", 6.0)
        if (known in AMBIGUOUS and not params) or (low in AMBIGUOUS and not params):
            says = AMBIGUOUS[known if known in AMBIGUOUS else low]  # type: ignore[index]
            wanted = "slope" if known == "hard_sigmoid" else "negative_slope"
            self.fault(f'{key} {name!r} needs its {wanted}, as {{"name": "{name}", "{wanted}": …}}: {says}')
            return LINEAR
        if set(params) - set(table) or not all(map(_is_number, params.values())):
            self.fault(f"{key} {name!r} takes the numbers {', '.join(table) or 'none'}, got {params}")
            return LINEAR
        assert known is not None
        return Activation.of(known, **params)

    def finish(self) -> None:
        """Name every option that nobody has asked for."""
        for key in self._entry:
            if key not in self._asked:
                self.fault(f"has no option {key!r}")

    def _value(self, key: str) -> Any:
        self._asked.add(key)
        return self._entry.get(key)

    def _take(self, key: str, wanted: str, fits: Any) -> Any:
        value = self._value(key)
        if value is None or fits(value):
            return value
        self.fault(f"{key} should be {wanted}, is {value!r}")
        return None


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float can hold; JSON's may have any length."""
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
