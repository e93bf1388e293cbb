"""`fastgru generate`: text as it comes, to a pipe and past a closed one; what goes wrong is a sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from building import chain, dense, embedding, gru, tokens
from commands import fail, program, succeed
from fastgru import Model, file, generate

CHARACTERS = list("abcdefghij klmno\n\x1b\t\u202e")
PROMPT = "a big lamb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, rng, count = tmp_path_factory.mktemp("generate"), np.random.default_rng(5), len(CHARACTERS)
    cell = gru(rng, 8, 12, source="embedding", return_sequences=True)
    head = dense(rng, 12, count, name="y", source="gru", function="softmax")
    file.write(chain(tokens(), embedding(rng, count, 8), cell, head), made / "model.safetensors")
    (made / "characters.json").write_text(json.dumps(CHARACTERS))
    (made / "words.txt").write_text("\n".join(f"word{i}" for i in range(count)))
    return made


def arguments(folder: Path, *more: object) -> tuple[object, ...]:
    return ("generate", folder / "model.safetensors", PROMPT, "--vocab", folder / "characters.json", *more)


def expected(folder: Path, **options: object) -> str:
    from fastgru import load

    given: dict[str, object] = {"vocabulary": CHARACTERS, "seed": 3} | options
    return str(generate(load(folder / "model.safetensors"), PROMPT, **given))  # type: ignore[arg-type]


def escaped(text: str) -> str:
    return text.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")


def test_writes_prompt_and_text(folder: Path) -> None:
    text = expected(folder, max_tokens=200)
    assert {"\x1b", "\n", "\t", "\u202e"} <= set(text)
    written = succeed(*arguments(folder, "--seed", 3, "--max-tokens", 200))
    assert written == f"{PROMPT}{escaped(text)}\n"
    assert succeed(*arguments(folder, "--seed", 3, "--max-tokens", 200, "--no-echo")) == f"{escaped(text)}\n"


def test_options_reach_the_sampler(folder: Path) -> None:
    more = ("--temperature", 0.7, "--top-k", 9, "--top-p", 0.9, "--repetition-penalty", 1.2, "--window", 4,
            "--pad", "a", "--ban", "e", "--ban", "f", "--stop", "kk", "--stop", "ll", "--seed", 3)  # fmt: skip
    options = {"temperature": 0.7, "top_k": 9, "top_p": 0.9, "repetition_penalty": 1.2, "window": 4, "pad": "a",
               "ban": ["e", "f"], "stop": ["kk", "ll"]}  # fmt: skip
    assert succeed(*arguments(folder, *more, "--no-echo")) == escaped(expected(folder, **options)) + "\n"


def test_words_are_split_as_told(folder: Path) -> None:
    command = ("generate", folder / "model.safetensors", "word1, word2", "--vocab", folder / "words.txt")
    assert "'word1,', is not in" in fail(*command)
    assert "','" in fail(*command, "--split", "words")


def test_without_a_vocabulary_ids_are_written(folder: Path) -> None:
    model = Model(file.read(folder / "model.safetensors"))
    ids = generate(model, [3, 1, 4], seed=5, max_tokens=6, stop=[2], ban=[0, 1]).run().tokens
    more = ("--seed", 5, "--max-tokens", 6, "--stop", 2, "--ban", "0,1")
    for prompt in ("3 1 4", "3, 1,4"):
        written = succeed("generate", folder / "model.safetensors", prompt, *more, "--no-echo")
        assert written.split() == [str(token) for token in ids]


def test_beams_are_lines_of_score_and_text(folder: Path) -> None:
    model = Model(file.read(folder / "model.safetensors"))
    found = generate(model, PROMPT, vocabulary=CHARACTERS, beams=3, max_tokens=12, length_penalty=0.5)
    more = ("--beams", 3, "--max-tokens", 12, "--length-penalty", 0.5)
    lines = succeed(*arguments(folder, *more, "--no-echo")).splitlines()
    shown = [escaped(one.text).replace("\n", "\\n").replace("\t", "\\t") for one in found]
    assert lines == [f"{one.score:.6f}\t{text}" for one, text in zip(found, shown, strict=True)]
    assert succeed(*arguments(folder, *more)).startswith(f"{found[0].score:.6f}\t{PROMPT}")
    ids = succeed("generate", folder / "model.safetensors", "3 1 4", "--beams", 2, "--max-tokens", 5, "--no-echo")
    assert all(len(line.split("\t")[1].split()) == 5 for line in ids.splitlines())
    assert "takes no temperature" in fail(*arguments(folder, "--beams", 2, "--temperature", 0.5))


def test_as_a_program_it_writes_plain_text(folder: Path) -> None:
    done = program(*arguments(folder, "--seed", 3, "--max-tokens", 50))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{PROMPT}{escaped(expected(folder, max_tokens=50))}\n"
    ascii_only = program(*arguments(folder, "--max-tokens", 5), prelude="sys.stdout.reconfigure(encoding='ascii')")
    assert ascii_only.returncode == 0


def started(folder: Path, *more: object) -> subprocess.Popen[bytes]:
    # a shell's job in the background is started with interrupts ignored
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heed}; import sys; sys.argv[0] = 'fastgru'; from fastgru.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments(folder, *more))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})


def test_text_comes_as_it_is_made_and_an_interrupt_ends_it(folder: Path) -> None:
    with started(folder, "--max-tokens", 2_000_000_000) as running:
        assert running.stdout is not None
        first = running.stdout.read(2000)  # long before the end
        assert first.startswith(PROMPT.encode())
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert errors == b""
    assert rest.endswith(b"\n")


def test_a_closed_pipe_is_the_end(folder: Path) -> None:
    with started(folder, "--max-tokens", 2_000_000_000) as running:
        assert running.stdout is not None
        running.stdout.read(100)
        running.stdout.close()
        start = time.monotonic()
        assert running.wait(timeout=60) == 0
        assert time.monotonic() - start < 60
        assert running.stderr is not None
        assert running.stderr.read() == b""


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (("--temperature", -1), "temperature should be a number from 0"),
        (("--top-k", 0), "top_k should be a positive whole number"),
        (("--top-p", 2), "top_p should be a number above 0, up to 1"),
        (("--max-tokens", 0), "max_tokens should be a positive whole number"),
        (("--seed", -4), "seed should be a whole number"),
        (("--ban", "?"), "ban='?': the vocabulary has no such token"),
        (("--split", "halves"), "splitter should be a function or one of"),
        (("--vocab", "none.json"), "none.json"),
        (("--vocab", "none.csv"), "a vocabulary should be a .json file"),
        (("--top-k", "many"), "--top-k"),
    ],
)
def test_what_goes_wrong_is_a_sentence(folder: Path, more: tuple[object, ...], fault: str) -> None:
    sentence = fail(*arguments(folder, *more))
    assert fault in sentence
    assert "\n" not in sentence


def test_prompts_that_cannot_be_read(folder: Path) -> None:
    model = folder / "model.safetensors"
    sentence = fail("generate", model, "a?b", "--vocab", folder / "characters.json")
    assert "the prompt's character 1, '?', is not in the vocabulary" in sentence
    assert "give --vocab, or token ids such as '3 1 4'; got 'hello'" in fail("generate", model, "hello")
    assert "--pad should be one token id, got '1 2'" in fail("generate", model, "1", "--window", 3, "--pad", "1 2")
