"""A grammar of stories whose entropy per token is known exactly.

It is that for a reader who sees the stories from their beginning.

A story is a walk over *places* (the words of sentences, in order; after a sentence a random
next one). A place holds a fixed word, or tells something new (a draw from a Zipf distribution
p), or recalls what was told: with probability 1 - ambiguity the word that belongs to the memory
w, else a draw from p.

Why the entropy is exact. Sentences that can follow each other begin with different words, so a
reader always knows the place; an opening tells every memory before anything recalls it, so a
reader always knows the memories. What has been read thus determines the state, and the entropy
of the next token given everything read is that of one step from the state. Places do not depend
on memories and memories are distributed as p at any time, so the mean over states needs only
the chain of places:

    H(next | place i) = H(A_i) + sum_j A_ij h_j
    h_j = 0 (fixed), H(p) (tells), sum_w p_w H((1 - a) [x = w] + a p_x) (recalls)

with A the transition probabilities of places. A row starts at the beginning of a story;
position t of it is at place j with probability (A^t)_0j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from study.data import story_words

Floats = npt.NDArray[np.float64]


class Place(IntEnum):
    """What a place of a sentence does."""

    FIXED = 0
    TELLS = 1
    RECALLS = 2


@dataclass(frozen=True)
class Rows:
    """Text written by a grammar, all (S, T)."""

    tokens: npt.NDArray[np.uint16]
    recalled: npt.NDArray[np.bool_]
    """Whether the token stands at a place that recalls."""
    surprise: npt.NDArray[np.float32]
    """-log of the token's probability for a reader who knows the grammar.

    The reader knows all tokens before it.
    """


class Grammar:
    """Stories with lists of `words_per_list` words.

    `zipf_exponent` is of the lists, `ambiguity` of what is recalled.
    """

    def __init__(self, words_per_list: int, zipf_exponent: float, ambiguity: float) -> None:
        lists = {name: words[:words_per_list] for name, words in story_words.WORDS.items()}
        sentences = [
            sentence.split()
            for sentence in (story_words.OPENING, *story_words.TELLING, story_words.CLOSING)
        ]
        parts = [part for sentence in sentences for part in sentence]
        fixed = dict.fromkeys(part for part in parts if not part.startswith("{"))
        self.ambiguity = ambiguity
        self.vocabulary: list[str] = [*fixed, *(word for words in lists.values() for word in words)]
        number = {word: index for index, word in enumerate(self.vocabulary)}
        names = [part.strip("{*}") for part in parts]
        self.kinds = np.array([_kind(part) for part in parts])
        self.first_tokens = np.array(
            [number[lists[name][0]] if name in lists else number[name] for name in names]
        )
        self.memories = np.array([story_words.MEMORY.get(name, 0) for name in names])
        self.transitions = _transitions([len(sentence) for sentence in sentences])
        ranks = np.arange(1, words_per_list + 1, dtype=np.float64)
        self.zipf: Floats = ranks**-zipf_exponent / (ranks**-zipf_exponent).sum()

    def places(self, context: int) -> Floats:
        """(T, places) probability of each place at each position of a row."""
        probabilities = np.zeros((context, len(self.kinds)))
        probabilities[0, 0] = 1
        for position in range(1, context):
            probabilities[position] = probabilities[position - 1] @ self.transitions
        return probabilities

    def recalled_share(self, context: int) -> float:
        """Expected share of the T - 1 predicted positions of a row that recall."""
        return float(self.places(context)[1:, self.kinds == Place.RECALLS].sum() / (context - 1))

    @cached_property
    def recall_entropy(self) -> float:
        """Entropy of a recalled word given the story so far, in nats."""
        identity = np.eye(len(self.zipf))
        probabilities = (1 - self.ambiguity) * identity + self.ambiguity * self.zipf
        return float(self.zipf @ _entropy(probabilities))

    def entropy(self, context: int) -> float:
        """Entropy of a token given all before it in its row, in nats.

        It is the mean over the T - 1 predicted positions.
        """
        of_place = np.zeros(len(self.kinds))
        of_place[self.kinds == Place.TELLS] = _entropy(self.zipf)
        of_place[self.kinds == Place.RECALLS] = self.recall_entropy
        next_token = _entropy(self.transitions) + self.transitions @ of_place
        return float((self.places(context)[:-1] @ next_token).mean())

    def write(self, rows: int, context: int, generator: np.random.Generator) -> Rows:
        """Write rows that each begin with a new story.

        When it ends within the row another follows.
        """
        tokens = np.zeros((rows, context), dtype=np.uint16)
        recalled = np.zeros((rows, context), dtype=np.bool_)
        surprise = np.zeros((rows, context), dtype=np.float32)
        memory = np.zeros((rows, max(story_words.MEMORY.values()) + 1), dtype=np.int64)
        place = np.zeros(rows, dtype=np.int64)
        everyone = np.arange(rows)
        tokens[:, 0] = self.first_tokens[0]
        for position in range(1, context):
            before = place
            choice, replaced, word = generator.random((3, rows))
            place = _pick(self.transitions, choice, before)
            probability = self.transitions[before, place]
            kind, slot = self.kinds[place], self.memories[place]
            fresh = _pick(self.zipf[None], word, np.zeros_like(place))
            memory[everyone, slot] = np.where(kind == Place.TELLS, fresh, memory[everyone, slot])
            remembered = memory[everyone, slot]
            recalls = kind == Place.RECALLS
            index = np.where(recalls & (replaced < self.ambiguity), fresh, remembered)
            of_recalled = (1 - self.ambiguity) * (index == remembered) + self.ambiguity * self.zipf[
                index
            ]
            probability = probability * np.select(
                [recalls, kind == Place.TELLS], [of_recalled, self.zipf[index]], 1.0
            )
            tokens[:, position] = self.first_tokens[place] + np.where(kind == Place.FIXED, 0, index)
            recalled[:, position] = recalls
            surprise[:, position] = -np.log(probability)
        return Rows(tokens, recalled, surprise)


def _kind(part: str) -> Place:
    if not part.startswith("{"):
        return Place.FIXED
    return Place.TELLS if "*" in part else Place.RECALLS


def _transitions(lengths: Sequence[int]) -> Floats:
    """(places, places) probabilities of what follows a place.

    Opening -> telling; telling -> another telling or closing; closing -> opening.
    """
    ends = np.cumsum(lengths) - 1
    starts = ends - np.array(lengths) + 1
    opening, telling, closing = 0, range(1, len(lengths) - 1), len(lengths) - 1
    table = np.eye(int(ends[-1]) + 1, k=1)
    table[ends] = 0
    for sentence in telling:
        others = [other for other in telling if other != sentence]
        table[ends[opening], starts[sentence]] = 1 / len(telling)
        table[ends[sentence], starts[others]] = (1 - story_words.CLOSING_PROBABILITY) / len(others)
        table[ends[sentence], starts[closing]] = story_words.CLOSING_PROBABILITY
    table[ends[closing], starts[opening]] = 1
    return table


def _pick(
    probabilities: Floats, uniform: Floats, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Index drawn from one row of (n, k) probabilities for each uniform number.

    Never one of probability 0.
    """
    cumulative = np.cumsum(probabilities, axis=1)
    cumulative /= cumulative[:, -1:]
    indices: npt.NDArray[np.int64] = (uniform[:, None] >= cumulative[rows]).sum(axis=1)
    return indices


def _entropy(probabilities: Floats) -> Floats:
    """Entropy of the last axis, in nats."""
    positive = probabilities > 0
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=positive)
    entropy: Floats = -(probabilities * logs).sum(axis=-1)
    return entropy
