"""Einsum of two values, or of a value and a constant."""

from __future__ import annotations

import numpy as np

from ..arrange import unsqueezed
from ..node import Node, Refusal
from ..values import Constant, Tensor, Value
from .elementwise import as_numbers, pair
from .products import dense
from .reductions import reduced
from .table import reads


@reads("Einsum", note="of two values, or of one and a constant")
def einsum(node: Node) -> Value:
    given = [node.needed(index) for index in range(len(node.inputs))]
    ranks = [value.rank if isinstance(value, Tensor) else len(value.shape) for value in given]  # type: ignore[union-attr]
    terms, result = _parsed(node.text("equation", ""), ranks)
    if len(given) == 1:
        return _ordered(node, _single(node, 0), terms[0], result)
    if len(given) != 2 or any(len(set(term)) < len(term) for term in (*terms, result)):
        raise Refusal(f"has {len(given)} inputs, or takes a diagonal; two inputs of distinct axes are supported")
    if isinstance(given[1], Tensor) and not isinstance(given[0], Tensor):
        given, terms = given[::-1], terms[::-1]
    (a, b), (left, right) = given, terms
    x = as_numbers(a) if isinstance(a, Tensor) else None
    if x is None:
        raise Refusal("is of constants alone")
    summed = [letter for letter in left if letter in right and letter not in result]
    if isinstance(b, Constant) and len(right) == 2 and len(summed) == 1:
        new = right.replace(summed[0], "")
        if new not in left:  # a matrix product
            kernel = b.array if right[0] == summed[0] else b.array.T
            y = dense(node, x, np.asarray(kernel), None, axis=left.index(summed[0]))
            return _ordered(node, y, left.replace(summed[0], new), result)
    letters = result + "".join(letter for letter in dict.fromkeys(left + right) if letter not in result)
    product = pair(node, "multiply", _spread(x, left, letters), _spread(b, right, letters))
    if not isinstance(product, Tensor):
        raise Refusal("is of constants alone")
    return reduced(node, product, "sum", range(len(result), len(letters)), keep=False) if letters != result else product


def _single(node: Node, index: int) -> Tensor:
    return as_numbers(node.runtime(index))


def _parsed(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """A letter for each axis of each input and of the output."""
    equation = equation.replace(" ", "")
    inputs, arrow, result = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ranks):
        raise Refusal(f"equation {equation!r} is not for {len(ranks)} inputs")
    more = max(
        (rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "..." in term),
        default=0,
    )
    others = "".join(chr(0x400 + index) for index in range(max(more, 0)))
    found = []
    for term, rank in zip(terms, ranks, strict=True):
        wide = others[len(others) - (rank - len(term.replace("...", ""))) :] if "..." in term else ""
        found.append(term.replace("...", wide))
    if not arrow:
        letters = "".join(found)
        result = "..." * bool(others) + "".join(sorted(c for c in set(letters) - set(others) if letters.count(c) == 1))
    result = result.replace("...", others)
    is_said = all(len(term) == rank and "." not in term for term, rank in zip(found, ranks, strict=True))
    if not is_said or set(result) - set("".join(found)):
        raise Refusal(f"equation {equation!r} does not go with inputs of {', '.join(map(str, ranks))} axes")
    return found, result


def _ordered(node: Node, x: Tensor, letters: str, result: str) -> Tensor:
    """With the axes of the result, summed over others."""
    gone = [index for index, letter in enumerate(letters) if letter not in result]
    if len(set(letters)) < len(letters):
        raise Refusal("takes a diagonal")
    x = reduced(node, x, "sum", gone, keep=False) if gone else x
    kept = [letter for letter in letters if letter in result]
    return x.permuted(tuple(kept.index(letter) for letter in result))


def _spread(value: Value, own: str, letters: str) -> Value:
    """With an axis for each letter, of size 1 where the value has none."""
    order = [own.index(letter) for letter in letters if letter in own]
    absent = [index for index, letter in enumerate(letters) if letter not in own]
    if isinstance(value, Tensor):
        return unsqueezed(as_numbers(value).permuted(tuple(order)), absent)
    if not isinstance(value, Constant) or not value.is_plain:
        raise Refusal("multiplies by a constant of free size")
    return Constant.of(np.expand_dims(value.array.transpose(order), tuple(absent)))
