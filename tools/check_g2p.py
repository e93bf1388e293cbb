"""g2p-en, English spelling → phonemes: its network in fastgru against its own NumPy code.

    python tools/check_g2p.py [folder]

`folder` is the unpacked package (with g2p.py and checkpoint20.npz); default: the installed one. 200 words that are in
no dictionary must come out as the same phonemes; prints the speed-up, word by word and for all words at once. Exits
with 1 where a word differs, and with 0, saying so, where the package is not there.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastgru

WORDS, SEED, TURNS = 200, 5, 5
#: g2p-en writes at most so many phonemes
LONGEST = 20
START, END = 2, 3
ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k kn l m n p ph pl pr qu r s sc sh sk sl sm sn sp st str sw t th tr v "
    "w wh wr y z"
)
VOWELS = "a ai au aw ay e ea ee ei ew i ie ig o oa oi oo ou ow oy u ue y"
CODAS = "b ck ct d dge ff ft g ght k l ld ll lt m mp n nd ng nk nt p pt r rd rk rm rn rt s sh sk ss st t tch th ve x z"


def words() -> list[str]:
    """Words that English could have."""
    rng = np.random.default_rng(SEED)
    onsets, vowels, codas = ONSETS.split(), VOWELS.split(), CODAS.split()
    made: list[str] = []
    while len(made) < WORDS:
        word = "".join(
            str(rng.choice(onsets)) + str(rng.choice(vowels)) + (str(rng.choice(codas)) if rng.integers(2) else "")
            for _ in range(rng.integers(1, 5))
        )
        if word not in made:
            made.append(word)
    return made


def their_own(folder: Path) -> Any:
    """A G2p without what its constructor asks of nltk: its methods, its weights, its symbols."""
    tree = ast.parse((folder / "g2p.py").read_text(encoding="utf-8"))
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "G2p")
    names = {"np": np, "os": __import__("os"), "dirname": str(folder)}
    exec(compile(ast.Module([cls], []), "g2p.py", "exec"), names)  # the class alone; the module wants nltk
    found: Any = object.__new__(names["G2p"])  # type: ignore[call-overload]
    constructor = next(node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    for statement in constructor.body:
        text = ast.unparse(statement)
        if text.startswith(("self.graphemes", "self.phonemes", "self.g2idx", "self.idx2g", "self.p2idx", "self.idx2p")):
            exec(text, {"self": found})
    found.load_variables()
    return found


class Ours:
    """The same network in fastgru."""

    def __init__(self, folder: Path, symbols: dict[str, int]) -> None:
        arrays = np.load(folder / "checkpoint20.npz")
        encoder = [{"embedding": "enc_emb"}, {"gru": "enc", "return_sequences": False}]
        decoder = [{"embedding": "dec_emb"}, {"gru": "dec", "initial_state": True}, {"linear": "fc"}]
        self.encoder = fastgru.gru_network(arrays, encoder, ignore=["dec_*", "fc_*"], threads=1)
        self.decoder = fastgru.gru_network(arrays, decoder, ignore="enc_*", threads=1)
        self.symbols = symbols

    def one(self, word: str) -> list[int]:
        ids = np.array([[self.symbols[char] for char in word] + [self.symbols["</s>"]]], np.int32)
        phonemes: list[int] = []
        token = np.array([START], np.int32)
        with self.decoder.stream(inputs={"h0": self.encoder(ids)}) as stream:
            while len(phonemes) < LONGEST:
                token[0] = stream.step(token)[0].argmax()
                if token[0] == END:
                    break
                phonemes.append(int(token[0]))
        return phonemes

    def together(self, many: list[str]) -> list[list[int]]:
        """All words in one batch."""
        lengths = np.array([len(word) + 1 for word in many])
        ids = np.zeros((len(many), lengths.max()), np.int32)
        for row, word in zip(ids, many, strict=True):
            row[: len(word) + 1] = [self.symbols[char] for char in word] + [self.symbols["</s>"]]
        states = self.encoder(ids, lengths=lengths)
        with self.decoder.stream(batch_size=len(many), inputs={"h0": states}) as stream:
            tokens, alive = np.full((len(many), 1), START, np.int32), np.ones(len(many), bool)
            steps: list[np.ndarray] = []
            while alive.any() and len(steps) < LONGEST:
                logits = stream.run(tokens, lengths=alive.astype(int))  # a masked row costs nothing
                tokens = np.where(alive[:, None], logits.argmax(-1), END).astype(np.int32)
                alive &= tokens[:, 0] != END
                steps.append(tokens[:, 0])
        rows = np.stack(steps, axis=1).tolist()
        return [row[: row.index(END)] if END in row else row for row in rows]


def seconds(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    folder = parser.parse_args().folder
    if folder is None:
        spec = importlib.util.find_spec("g2p_en")
        if spec is None or spec.origin is None:
            print("skipped: g2p-en is not installed (pip download --no-deps g2p-en==2.1.0), and no folder is given")
            return 0
        folder = Path(spec.origin).parent
    theirs = their_own(folder)
    ours = Ours(folder, theirs.g2idx)
    many = words()
    expected = [theirs.predict(word) for word in many]
    one = [[theirs.idx2p[token] for token in ours.one(word)] for word in many]
    batch = [[theirs.idx2p[token] for token in row] for row in ours.together(many)]
    wrong = [word for word, *answers in zip(many, expected, one, batch, strict=True) if answers[1:] != answers[:1] * 2]
    shown = ", ".join(f"{word} {' '.join(answer)}" for word, answer in zip(many[:3], expected[:3], strict=True))
    print(f"{len(many) - len(wrong)} of {len(many)} words as g2p-en has them, such as {shown}")
    for word in wrong:
        print(f"differs: {word}")
    runs = (
        lambda: [theirs.predict(word) for word in many],
        lambda: [ours.one(word) for word in many],
        lambda: ours.together(many),
    )
    times = np.median([[seconds(run) for run in runs] for _ in range(TURNS)], axis=0)
    print(f"g2p-en {times[0] / WORDS * 1e6:,.0f} µs a word; fastgru {times[1] / WORDS * 1e6:,.0f} µs, "
          f"{times[0] / times[1]:.1f} times faster; in one batch {times[2] / WORDS * 1e6:,.0f} µs, "
          f"{times[0] / times[2]:.1f} times faster")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
