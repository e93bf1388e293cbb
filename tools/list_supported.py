"""Print, as Markdown, what the importers of Keras and ONNX read: taken from their own tables.

python tools/list_supported.py             the tables
python tools/list_supported.py --write     … put between their marks in docs/formats.md
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fastgru.graph import ELEMENTWISE, ROWWISE, Activation
from fastgru.importers.keras import activations, layers, text
from fastgru.importers.onnx import network as onnx_network

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
#: modules of the importer's layers, as the page has them
ROOMS = ("recurrent", "wrappers", "basic", "windows", "shaping", "normalize", "merge", "attention")
BEGIN, END = "<!-- begin: tools/list_supported.py -->\n", "<!-- end: tools/list_supported.py -->\n"
ONNX_BEGIN, ONNX_END = (f"<!-- {word}: tools/list_supported.py, ONNX -->\n" for word in ("begin", "end"))


def code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def rows(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, ("---",) * len(head), *body):
        yield "| " + " | ".join(cells) + " |"


def formula(activation: Activation) -> str:
    """The canonical name, with the parameters that are not its defaults: ``relu(max_value=6)``."""
    defaults = {**ELEMENTWISE, **ROWWISE}[activation.name]
    pairs = zip(defaults.items(), activation.params, strict=True)
    given = ", ".join(f"{key}={value:.4g}" for (key, default), value in pairs if value != default)
    return f"{activation.name}({given})" if given else activation.name


def readers() -> Iterator[tuple[str, ...]]:
    """One row for the classes that share a reader, room by room."""
    found = sorted(shared(layers.READERS), key=lambda entry: ROOMS.index(entry[0].read.__module__.rpartition(".")[2]))
    for reader, class_names in found:
        yield code(class_names), reader.note or "–", code(sorted(reader.ignored)) or "–"
    yield code(text.CLASSES), "directly behind an input: see [below](#what-keras-means-by-its-text-layers)", "–"


def operations() -> Iterator[tuple[str, ...]]:
    """One row for the operations of which the same is to be said."""
    by_note: dict[str, list[str]] = defaultdict(list)
    for name, reader in layers.OPERATIONS.items():
        by_note[reader.note].append(name)
    for note, found in by_note.items():
        generations = ([name for name in found if name.startswith("tf.") == is_keras2] for is_keras2 in (False, True))
        yield *(code(group) or "–" for group in generations), note or "–"


def shared(table: Mapping[str, Hashable]) -> list[tuple[Any, list[str]]]:
    """The values of a table, each with the names that it stands under."""
    found: dict[Hashable, list[str]] = defaultdict(list)
    for name, value in table.items():
        found[value].append(name)
    return list(found.items())


def functions() -> dict[str, list[Activation]]:
    """By the name that Keras writes: the one function, or (hard_sigmoid) that of Keras 1 and 2 and that of Keras 3."""
    found = {name: [activation] for name, activation in activations.FUNCTIONS.items()}
    slopes = dict.fromkeys(activations.HARD_SIGMOID.values())
    found["hard_sigmoid"] = [Activation.of("hard_sigmoid", slope=slope) for slope in slopes]
    return dict(sorted(found.items()))


def names() -> Iterator[tuple[str, ...]]:
    for answer, rowwise in (("yes", False), ("no: they look at a whole row", True)):
        yield answer, code(name for name, found in functions().items() if found[0].is_rowwise == rowwise)


def renamed() -> Iterator[tuple[str, ...]]:
    """Where Keras' name is not that of the function here, or says more than one thing."""
    for name, found in functions().items():
        words = " in Keras 1 and 2, ".join(map(formula, found)) + (" in Keras 3" if len(found) > 1 else "")
        if words != name:
            yield f"`{name}`", words


def refused() -> Iterator[tuple[str, ...]]:
    reasons = {**layers.REFUSED, **text.REFUSED}
    for why, class_names in shared({name: why for name, why in reasons.items() if name not in text.CLASSES}):
        yield code(class_names), why


def page() -> str:
    """All tables, each under a line that says what it lists."""
    parts = [
        "Layers:",
        rows(("Keras class", "notes", "options without effect at inference"), readers()),
        "Operations between layers, such as `x + y` and `x[:, -1]`:",
        rows(("Keras 3: `keras.ops`", "Keras 2: functions", "notes"), operations()),
        "Activations by name; an `activation` may also be one of the layers " + code(activations.LAYERS) + ":",
        rows(("in a GRU", "Keras names"), names()),
        "Not computed under the same name with default parameters:",
        rows(("Keras name", "computed as"), renamed()),
        "Refused with a reason of their own, like every class that is not listed above:",
        rows(("Keras class", "why"), refused()),
    ]
    return "\n\n".join(part if isinstance(part, str) else "\n".join(part) for part in parts) + "\n"


def onnx_operators() -> Iterator[tuple[str, ...]]:
    """One row for the operators of which the same is to be said."""
    by_note: dict[str, list[str]] = defaultdict(list)
    for (domain, name), operator in sorted(onnx_network.OPERATORS.items()):
        if not domain:  # others are made by the importer itself
            by_note[operator.note].append(name)
    for note, found in sorted(by_note.items(), key=lambda entry: (not entry[0], entry[1])):
        yield code(found), note or "–"
    known = {name for _, name in onnx_network.OPERATORS}
    folded = sorted({*onnx_network.ELEMENTWISE, *onnx_network.SHAPING} - known)
    yield code(folded), "of constants and sizes only, computed when the file is loaded"


def onnx_page() -> str:
    return "\n".join(rows(("ONNX operator", "notes"), onnx_operators())) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/formats.md")
    if parser.parse_args().write:
        text_of_page = PAGE.read_text(encoding="utf-8")
        for begin, made, end in ((BEGIN, page(), END), (ONNX_BEGIN, onnx_page(), ONNX_END)):
            before, rest = text_of_page.split(begin)
            text_of_page = before + begin + made + end + rest.split(end)[1]
        PAGE.write_text(text_of_page, encoding="utf-8")
    else:
        print(page(), onnx_page(), sep=ONNX_BEGIN, end="")
