"""Sizes of axes that may be free: polynomials with whole coefficients in the sizes that only a call knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Symbol:
    """A free size: the batch, the steps of some sequence.

    Attributes
    ----------
    name : str
    declared : int or None
        What the file says that it is, although it may be something else.
    """

    name: str
    declared: int | None = None


Monomial = tuple[Symbol, ...]  # factors, ordered by name


@dataclass(frozen=True)
class Size:
    """A sum of monomials, each with a whole coefficient that is not 0.

    >>> t = Size.of(Symbol("time"))
    >>> (t * 6 + t) // 7 == t, t + 1 - t
    (True, 1)
    """

    terms: tuple[tuple[Monomial, int], ...]

    @classmethod
    def of(cls, symbol: Symbol) -> Size:
        return cls((((symbol,), 1),))

    @property
    def symbol(self) -> Symbol | None:
        """The one free size that it is; None where it is more or other than that."""
        ((monomial, coefficient), *others) = self.terms
        return monomial[0] if not others and coefficient == 1 and len(monomial) == 1 else None

    def linear_in(self, symbol: Symbol) -> tuple[int, int] | None:
        """(a, b) where it is a · symbol + b with a ≠ 0; None where it is not."""
        terms = dict(self.terms)
        factor, rest = terms.pop((symbol,), 0), terms.pop((), 0)
        return (factor, rest) if factor and not terms else None

    @cached_property
    def declared(self) -> Size | int:
        """The same with the sizes that the file declares put in; those that are free there stay."""
        total: Size | int = 0
        for monomial, coefficient in self.terms:
            term: Size | int = coefficient
            for symbol in monomial:
                term = term * (Size.of(symbol) if symbol.declared is None else symbol.declared)
            total = total + term
        return total

    def __add__(self, other: Size | int) -> Size | int:
        terms = dict(self.terms)
        for monomial, coefficient in _terms(other).items():
            terms[monomial] = terms.get(monomial, 0) + coefficient
        return _size(terms)

    def __neg__(self) -> Size | int:
        return self * -1

    def __sub__(self, other: Size | int) -> Size | int:
        return self + other * -1

    def __rsub__(self, other: int) -> Size | int:
        return -self + other

    def __mul__(self, other: Size | int) -> Size | int:
        terms: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other).items():
                monomial = tuple(sorted((*left, *right), key=lambda symbol: symbol.name))
                terms[monomial] = terms.get(monomial, 0) + a * b
        return _size(terms)

    def __floordiv__(self, other: Size | int) -> Size | int:
        """The exact quotient: long division of polynomials.

        Raises
        ------
        ValueError
            It does not divide.
        """
        divisor = _terms(other)
        if not divisor:
            raise ValueError(f"divides {self} by 0")
        names = sorted({symbol.name for monomial in (*dict(self.terms), *divisor) for symbol in monomial})

        def order(monomial: Monomial) -> tuple[int, ...]:
            powers = [sum(symbol.name == name for symbol in monomial) for name in names]
            return (len(monomial), *powers)

        lead = max(divisor, key=order)
        quotient: Size | int = 0
        rest: Size | int = self
        while rest != 0:
            found = _terms(rest)
            first = max(found, key=order)
            left = list(first)
            for symbol in lead:
                if symbol not in left:
                    raise ValueError(f"{other} does not divide {self}")
                left.remove(symbol)
            if found[first] % divisor[lead]:
                raise ValueError(f"{other} does not divide {self}")
            term = _size({tuple(left): found[first] // divisor[lead]})
            quotient, rest = quotient + term, rest - term * other
        return quotient

    def __rfloordiv__(self, other: int) -> Size | int:
        raise ValueError(f"cannot divide {other} by {self}")

    def __lt__(self, other: Size | int) -> bool:
        return self._difference(other) < 0

    def __le__(self, other: Size | int) -> bool:
        return self._difference(other) <= 0

    def __gt__(self, other: Size | int) -> bool:
        return self._difference(other) > 0

    def __ge__(self, other: Size | int) -> bool:
        return self._difference(other) >= 0

    def _difference(self, other: Size | int) -> int:
        """By how much it is more than another.

        Raises
        ------
        ValueError
            That hangs on sizes that are free.
        """
        found = as_declared(self - other)
        if isinstance(found, Size):
            least = sum(coefficient for _, coefficient in found.terms)  # sizes are 1 or more
            signs = {coefficient > 0 for monomial, coefficient in found.terms if monomial}
            if len(signs) == 1 and least and (least > 0) in signs:
                return least
            raise ValueError(f"cannot compare {self} with {other}")
        return found

    __radd__ = __add__
    __rmul__ = __mul__
    __truediv__ = __floordiv__

    def __str__(self) -> str:
        shown = []
        for monomial, coefficient in self.terms:
            number = [str(coefficient)] if coefficient != 1 or not monomial else []
            shown.append("·".join([*number, *(symbol.name for symbol in monomial)]))
        return " + ".join(shown)

    __repr__ = __str__


Dim = int | Size


def product(sizes: Iterable[Dim]) -> Dim:
    total: Dim = 1
    for size in sizes:
        total = total * size
    return total


def same(a: Dim, b: Dim) -> bool:
    """Whether two sizes are equal, if need be as the file declares them."""
    return a == b or as_declared(a) == as_declared(b)


def as_declared(size: Dim) -> Dim:
    """A size with what the file declares put in."""
    return size.declared if isinstance(size, Size) else int(size)


def declared(size: Dim) -> int | None:
    """A size as the file declares it; None where it is free there."""
    known = as_declared(size)
    return known if isinstance(known, int) else None


def _terms(value: Size | int) -> Mapping[Monomial, int]:
    return dict(value.terms) if isinstance(value, Size) else {(): int(value)}


def _size(terms: Mapping[Monomial, int]) -> Size | int:
    kept = tuple(sorted((item for item in terms.items() if item[1]), key=str))
    if not kept:
        return 0
    return kept[0][1] if len(kept) == 1 and not kept[0][0] else Size(kept)
