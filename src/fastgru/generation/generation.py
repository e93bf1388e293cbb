"""Generation: the tokens of one prompt, or of several, as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from .options import Options
from .stops import StopTexts, Token
from .vocabulary import Vocabulary


class Loop(Protocol):
    """What chooses tokens, one after the other, for each of several rows."""

    #: of the token that `next` gave; None where it is not wanted
    @property
    def log_probability(self) -> float | None: ...

    def next(self) -> int:
        """The next token of row 0."""

    def next_of(self, rows: Sequence[int]) -> list[tuple[int, float | None]]:
        """The next token of each of several rows, and its log-probability."""


class _Row:
    """What a row has been given so far."""

    def __init__(self, vocabulary: Vocabulary | None, options: Options, prompt: str) -> None:
        self.tokens: list[int] = []
        self.texts: list[Any] = []
        self.finish: str | None = None
        self.ready: deque[Token] = deque()
        self.known: dict[int, Token] = {}  # tokens whose text does not depend on what it stands behind
        self.left = options.max_tokens
        self.stop_ids = options.stop_ids
        self.is_plain = not options.stop_texts and not options.logprobs
        self._vocabulary = vocabulary
        self._stops = StopTexts(options.stop_texts) if options.stop_texts else None
        self._end = prompt[-1:]

    def take(self, token: int, logprob: float | None) -> None:
        """Put into `ready` what a chosen token makes ready, and say in `finish` whether it was the last."""
        if token in self.stop_ids:
            self._close("stop")
            return
        made = self.made(token, logprob)
        if self._stops is None:
            self.ready.append(made)
        else:
            free, has_stopped = self._stops.add(made)
            self.ready.extend(free)
            if has_stopped:
                self.finish = "stop"
                return
        if self.left is not None:
            self.left -= 1
            if not self.left:
                self._close("length")

    def made(self, token: int, logprob: float | None) -> Token:
        """The token, with what it adds to the text."""
        if self._vocabulary is None:
            made = Token(token, None, logprob)
        else:
            made = Token(token, self._vocabulary.piece(token, self._end), logprob)
            self._end = made.text or self._end
        if logprob is None and (self._vocabulary is None or self._vocabulary.joins_nothing):
            self.known[token] = made
        return made

    def give(self) -> Token | None:
        """The next ready token, if any, which counts as given from now on."""
        if not self.ready:
            return None
        token = self.ready.popleft()
        self.tokens.append(token.id)
        self.texts.append(token.text)
        return token

    @property
    def text(self) -> str | None:
        return None if self._vocabulary is None else "".join(self.texts)

    def _close(self, finish: str) -> None:
        self.finish = finish
        if self._stops is not None:
            self.ready.extend(self._stops.rest())


class Generation(Iterator[Token]):
    """The tokens that a network makes of a prompt, as it makes them: what `fastgru.generate` gives.

    Attributes
    ----------
    tokens : list of int
        Ids given so far.
    text : str or None
        Their text, without the prompt; None without a vocabulary.
    finish : str or None
        Why it ended: ``"stop"`` at one of the stops, which is not part of the text, or ``"length"`` after `max_tokens`;
        None before that.
    seed : (int, int)
        Gives the same tokens again as ``seed=``.
    """

    def __init__(
        self,
        loop: Loop,
        vocabulary: Vocabulary | None,
        options: Options,
        prompt: str = "",
        callback: Callable[[Token], Any] | None = None,
    ) -> None:
        self.seed = options.seed
        self._row = _Row(vocabulary, options, prompt)
        self._steps = (self._given_at_once if self._row.is_plain else self._given)(loop, callback)

    def __iter__(self) -> Iterator[Token]:
        return self._steps  # goes on where `next` does, for less

    def __next__(self) -> Token:
        return next(self._steps)

    def _given(self, loop: Loop, callback: Callable[[Token], Any] | None) -> Iterator[Token]:
        row = self._row
        while row.finish is None:
            token = loop.next()
            row.take(token, loop.log_probability)
            while (given := row.give()) is not None:
                if callback is not None:
                    callback(given)
                yield given

    def _given_at_once(self, loop: Loop, callback: Callable[[Token], Any] | None) -> Iterator[Token]:
        """The same where nothing is held back, in few words: a small network's step takes no longer than they do."""
        row, choose = self._row, loop.next
        known, add_token, add_text = row.known, row.tokens.append, row.texts.append
        left = -1 if row.left is None else row.left
        while left:
            token = choose()
            made = known.get(token)
            if made is None:
                if token in row.stop_ids:
                    row.finish = "stop"
                    return
                made = row.made(token, None)
            add_token(token)
            add_text(made.text)
            left -= 1
            if not left:
                row.finish = "length"
            if callback is not None:
                callback(made)
            yield made

    @property
    def tokens(self) -> list[int]:
        return self._row.tokens

    @property
    def text(self) -> str | None:
        return self._row.text

    @property
    def finish(self) -> str | None:
        # tokens may be ready that nobody has been given yet
        return None if self._row.ready else self._row.finish

    def run(self) -> Generation:
        """Go on to the end; returns itself."""
        deque(self, maxlen=0)
        return self

    def __str__(self) -> str:
        """The whole text, for which it goes on to the end; ids where there is no vocabulary."""
        text = self.run().text
        return " ".join(map(str, self.tokens)) if text is None else text

    def __repr__(self) -> str:
        return f"<fastgru.Generation: {len(self.tokens)} tokens, {self.finish or 'unfinished'}, seed={self.seed}>"


class BatchGeneration(Iterator[tuple[Token | None, ...]]):
    """The tokens that a network makes of several prompts: what `fastgru.generate` gives for a list of them.

    Each step is a tuple: a token of each row, or None of one that has ended, or holds back what may be a stop.

    Attributes
    ----------
    tokens : list of list of int
    texts : list of (str or None)
    finish : tuple of (str or None)
        As of `Generation`, one a row.
    seed : (int, int)
        Of row 0; row r, which does not depend on the others, has ``(seed[0], seed[1] + r)``.
    """

    def __init__(
        self,
        loop: Loop,
        vocabulary: Vocabulary | None,
        options: Options,
        prompts: Sequence[str],
        callback: Callable[[tuple[Token | None, ...]], Any] | None = None,
    ) -> None:
        self.seed = options.seed
        self._rows = [_Row(vocabulary, options, prompt) for prompt in prompts]
        self._steps = self._given(loop, callback)

    def __next__(self) -> tuple[Token | None, ...]:
        return next(self._steps)

    def _given(
        self, loop: Loop, callback: Callable[[tuple[Token | None, ...]], Any] | None
    ) -> Iterator[tuple[Token | None, ...]]:
        rows = self._rows
        running = list(range(len(rows)))
        while running or any(row.ready for row in rows):
            if running:
                for place, (token, logprob) in zip(running, loop.next_of(running), strict=True):
                    rows[place].take(token, logprob)
                running = [place for place in running if rows[place].finish is None]
            step = tuple([row.give() for row in rows])
            if step.count(None) < len(step):
                if callback is not None:
                    callback(step)
                yield step

    @property
    def tokens(self) -> list[list[int]]:
        return [row.tokens for row in self._rows]

    @property
    def texts(self) -> list[str | None]:
        return [row.text for row in self._rows]

    @property
    def finish(self) -> tuple[str | None, ...]:
        return tuple(None if row.ready else row.finish for row in self._rows)

    def run(self) -> BatchGeneration:
        """Go on to the end; returns itself."""
        deque(self, maxlen=0)
        return self

    def __repr__(self) -> str:
        return f"<fastgru.BatchGeneration: {len(self._rows)} rows, seed={self.seed}>"
