"""The grammar of stories.

Its entropy against counts and against a filter that knows nothing of the formula.
"""

from __future__ import annotations

import collections
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from study.data import IGNORE, DataError, estimate, load_data, story_words
from study.data.base import Dataset
from study.data.config import StoriesData
from study.data.grammar import Grammar


def load(tmp_path: Path, **settings: Any) -> Dataset:
    return load_data(StoriesData(**settings), base=tmp_path, cache=tmp_path)


def zipf(size: int, exponent: float) -> np.ndarray:
    weights = np.array([1 / rank**exponent for rank in range(1, size + 1)])
    return weights / weights.sum()


@pytest.mark.parametrize(
    ("exponent", "ambiguity"),
    [
        pytest.param(0.0, 0.0, marks=pytest.mark.long),
        (1.0, 0.2),
        pytest.param(0.5, 1.0, marks=pytest.mark.long),
    ],
)
def test_entropy_agrees_with_counting_what_follows_what(exponent: float, ambiguity: float) -> None:
    """Plug-in estimate of the entropy, Miller-Madow corrected.

    It is from counts of (whole prefix, next token) over a long sample.
    """
    context, rows = 26, 150_000
    grammar = Grammar(2, exponent, ambiguity)
    tokens = grammar.write(rows, context, np.random.default_rng(3)).tokens
    row_losses = np.zeros(rows)
    bias = 0.0
    prefix = np.zeros(rows, dtype=np.int64)
    for position in range(1, context):
        _, prefix = np.unique(prefix * 1000 + tokens[:, position - 1], return_inverse=True)
        pairs, pair, count = np.unique(
            prefix * 1000 + tokens[:, position], return_inverse=True, return_counts=True
        )
        row_losses += np.log(np.bincount(prefix)[prefix] / count[pair])
        bias += (len(pairs) - (prefix.max() + 1)) / (2 * rows)
    counted = (row_losses.mean() + bias) / (context - 1)
    error = row_losses.std() / math.sqrt(rows) / (context - 1)
    assert abs(counted - grammar.entropy(context)) < 4 * error + 1e-9
    assert error < 0.002


class Filter:
    """A hidden Markov model of the stories, built from the sentences alone.

    States are place and memories.

    The probability of a token given those before it comes from summing over all states, as for any
    hidden Markov model; that a reader knows the state, which the exact entropy rests on, is not
    used.
    """

    def __init__(self, size: int, exponent: float, ambiguity: float) -> None:
        self.sentences = [
            s.split() for s in (story_words.OPENING, *story_words.TELLING, story_words.CLOSING)
        ]
        self.p, self.ambiguity, self.size = zipf(size, exponent), ambiguity, size
        self.lists = {name: words[:size] for name, words in story_words.WORDS.items()}

    def followers(self, sentence: int) -> dict[int, float]:
        last = len(self.sentences) - 1
        if sentence == last:
            return {0: 1.0}
        telling = [s for s in range(1, last) if s != sentence]
        if sentence == 0:
            return dict.fromkeys(telling, 1 / len(telling))
        closing = story_words.CLOSING_PROBABILITY
        return {**dict.fromkeys(telling, (1 - closing) / len(telling)), last: closing}

    def emissions(
        self, part: str, memory: tuple[int, ...]
    ) -> list[tuple[str, tuple[int, ...], float]]:
        if not part.startswith("{"):
            return [(part, memory, 1.0)]
        name = part.strip("{*}")
        slot = story_words.MEMORY[name]
        if "*" in part:
            return [
                (self.lists[name][w], (*memory[:slot], w, *memory[slot + 1 :]), self.p[w])
                for w in range(self.size)
            ]
        chance = [
            self.ambiguity * self.p[w] + (1 - self.ambiguity) * (w == memory[slot])
            for w in range(self.size)
        ]
        return [(self.lists[name][w], memory, chance[w]) for w in range(self.size)]

    def surprise(self, words: list[str]) -> list[float]:
        """-log P(word | words before it) for all words but the first."""
        slots = max(story_words.MEMORY.values()) + 1
        memories = list(itertools.product(range(self.size), repeat=slots))
        states = {(0, 0, memory): 1 / len(memories) for memory in memories}
        values = []
        for word in words[1:]:
            after: dict[tuple[int, int, tuple[int, ...]], float] = collections.defaultdict(float)
            for (sentence, place, memory), probability in states.items():
                if place + 1 < len(self.sentences[sentence]):
                    nexts = {(sentence, place + 1): 1.0}
                else:
                    nexts = {
                        (follower, 0): chance
                        for follower, chance in self.followers(sentence).items()
                    }
                for (s, i), chance in nexts.items():
                    for emitted, told, likelihood in self.emissions(self.sentences[s][i], memory):
                        if emitted == word and likelihood > 0:
                            after[s, i, told] += probability * chance * likelihood
            total = sum(after.values())
            values.append(-math.log(total))
            states = {state: probability / total for state, probability in after.items()}
        return values


def test_entropy_and_surprise_agree_with_a_hidden_markov_filter() -> None:
    settings = (3, 1.3, 0.25)
    grammar = Grammar(*settings)
    written = grammar.write(150, 60, np.random.default_rng(5))
    filtered = np.array(
        [
            Filter(*settings).surprise([grammar.vocabulary[number] for number in row])
            for row in written.tokens
        ]
    )
    np.testing.assert_allclose(written.surprise[:, 1:], filtered, rtol=1e-5, atol=1e-6)
    of_row = filtered.mean(axis=1)
    assert abs(of_row.mean() - grammar.entropy(60)) < 4 * of_row.std() / math.sqrt(len(of_row))
    recalled = filtered[written.recalled[:, 1:]]
    assert abs(recalled.mean() - grammar.recall_entropy) < 5 * recalled.std() / math.sqrt(
        len(recalled)
    )


def test_entropy_in_closed_form() -> None:
    """An opening tells four words and nothing else.

    Recalled words are certain without ambiguity, free with all of it.
    """
    opening = len(story_words.OPENING.split())
    for size, exponent in ((5, 1.0), (40, 0.7), (10, 0.0)):
        of_list = float(stats.entropy(zipf(size, exponent)))
        assert Grammar(size, exponent, 0.3).entropy(opening) == pytest.approx(
            4 * of_list / (opening - 1), rel=1e-12
        )
        assert Grammar(size, exponent, 0.0).recall_entropy == 0
        assert Grammar(size, exponent, 1.0).recall_entropy == pytest.approx(of_list, rel=1e-12)
    # One sentence more: which of six, first seen in its first word.
    assert Grammar(5, 1.0, 0.0).entropy(opening + 1) == pytest.approx(
        (4 * float(stats.entropy(zipf(5, 1.0))) + math.log(6)) / opening
    )


def test_each_dial_moves_the_floor_as_it_should() -> None:
    assert Grammar(40, 1.0, 0.1).entropy(64) > Grammar(10, 1.0, 0.1).entropy(64)
    assert Grammar(20, 1.0, 0.3).entropy(64) > Grammar(20, 1.0, 0.1).entropy(64)
    assert Grammar(20, 2.0, 0.1).entropy(64) < Grammar(20, 1.0, 0.1).entropy(64)


def test_words_and_sentences_keep_what_the_entropy_rests_on() -> None:
    sentences = [
        s.split() for s in (story_words.OPENING, *story_words.TELLING, story_words.CLOSING)
    ]
    firsts = [sentence[0] for sentence in sentences]
    assert len(set(firsts)) == len(firsts)
    assert not any(word.startswith("{") for word in firsts)
    words = [word for words in story_words.WORDS.values() for word in words]
    fixed = {part for sentence in sentences for part in sentence if not part.startswith("{")}
    assert len(set(words)) == len(words) == 8 * 40
    assert not fixed & set(words)
    assert {len(words) for words in story_words.WORDS.values()} == {40}
    memories = {
        story_words.MEMORY[part.strip("{*}")] for part in sentences[0] if part.endswith("*}")
    }
    assert memories == set(story_words.MEMORY.values())
    recalled = collections.Counter(
        part.strip("{}") for s in sentences[1:] for part in s if part.startswith("{")
    )
    assert recalled == dict.fromkeys(story_words.WORDS, 2)  # equally frequent lists


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_told_words_follow_the_zipf_distribution(exponent: float) -> None:
    grammar = Grammar(12, exponent, 0.5)
    tokens = grammar.write(20_000, 17, np.random.default_rng(1)).tokens
    animal = 1 + story_words.OPENING.split().index("{animal*}")
    column = tokens[:, animal - 1]
    counts = np.bincount(column - column.min(), minlength=12)
    assert stats.chisquare(counts, 20_000 * zipf(12, exponent)).pvalue > 1e-3


def test_predicting_only_what_is_determined(tmp_path: Path) -> None:
    settings = {
        "train_tokens": 64 * 200,
        "words_per_list": 6,
        "zipf_exponent": 0.0,
        "ambiguity": 0.0,
    }
    data = load(tmp_path, **settings, predict="determined")
    inputs, targets = data.train.batch(np.arange(len(data.train)))
    names = np.array(data.class_names)
    row_of = {
        word: (story_words.MEMORY[name], i)
        for name, ws in story_words.WORDS.items()
        for i, word in enumerate(ws)
    }
    for words, expected in zip(names[inputs.numpy()], targets.numpy(), strict=True):
        memory: dict[int, int] = {}
        for position, target in enumerate(expected):
            if words[position] == story_words.START:
                memory = {}
            elif words[position] in row_of:
                slot, index = row_of[words[position]]
                assert memory.setdefault(slot, index) == index
            if target != IGNORE:
                slot, index = row_of[names[target]]
                assert memory[slot] == index  # what the story told before
    assert data.train.samples == int((targets != IGNORE).sum()) == data.class_counts.sum()
    assert (
        data.class_counts.tolist()
        == np.bincount(targets[targets != IGNORE], minlength=data.classes).tolist()
    )
    assert (
        data.facts["entropy_floor"]
        == data.facts["train_ideal_loss"]
        == data.facts["val_ideal_loss"]
        == 0
    )


def test_data_set_of_stories(tmp_path: Path) -> None:
    data = load(tmp_path, train_tokens=64 * 300, val_tokens=64 * 50, words_per_list=5)
    again = load(tmp_path, train_tokens=64 * 300, val_tokens=64 * 50, words_per_list=5)
    other = load(tmp_path, train_tokens=64 * 300, val_tokens=64 * 50, words_per_list=5, seed=1)
    assert data.fingerprint == again.fingerprint != other.fingerprint
    assert (len(data.train), len(data.val), data.train.samples) == (300, 50, 300 * 63)
    inputs, targets = data.val.batch(np.array([3, 0]))
    assert inputs.shape == targets.shape == (2, 63)
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    assert [data.class_names[number] for number in inputs[:, 0]] == [story_words.START] * 2
    train_rows = {row.tobytes() for row in data.train.batch(np.arange(300))[0].numpy()}
    val_rows = {row.tobytes() for row in data.val.batch(np.arange(50))[0].numpy()}
    assert len(train_rows & val_rows) < 5
    assert data.facts["val_ideal_loss"] == pytest.approx(data.facts["entropy_floor"], rel=0.1)
    size = estimate(
        StoriesData(train_tokens=64 * 300, words_per_list=5), base=tmp_path, cache=tmp_path
    )
    assert size is not None
    assert (size.train_rows, size.train_samples, size.classes) == (
        300,
        data.train.samples,
        data.classes,
    )


def test_estimate_of_determined_samples_is_the_expectation(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"train_tokens": 64 * 3000, "predict": "determined"}
    size = estimate(StoriesData(**settings), base=tmp_path, cache=tmp_path)
    assert size is not None
    assert size.train_samples == pytest.approx(load(tmp_path, **settings).train.samples, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_tokens": 10}, "data.train_tokens: 10 are less than one row of data.context = 64"),
        ({"val_tokens": 10}, "data.val_tokens: 10 are less"),
        (
            {"context": 12, "predict": "determined"},
            "data.context: the train rows of 12 tokens end before",
        ),
    ],
)
def test_what_cannot_be_written_is_said(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, **settings)
