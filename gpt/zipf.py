r"""``zipf``: a synthetic source with context to learn and an entropy that is known exactly.

Tokens are intervals of a circle of length 1; token k has length :math:`\pi_k \propto 1/(1 + rank_k)`. A token is read
by drawing a point uniformly from its interval. Each new token follows, independently of everything else,

    with probability A : the previous token: one of its points, moved by :math:`c_1` around the circle
    with probability B : the token before that: one of its points, moved by :math:`c_2`
    else               : nothing: a point anywhere

and is the token in whose interval the point lands. A rotation keeps the uniform law, so every token has the law
:math:`\pi` exactly: the marginals are Zipf's. The transition probabilities are

.. math:: P(j \mid i, k) = (1-A-B)\,\pi_j + A\,K_1(k, j) + B\,K_2(i, j), \qquad
          K_c(k, j) = |(I_k + c) \cap I_j| / \pi_k

for the token j after i, k: a Markov chain of order two (a mixture transition model, Raftery 1985; this one derived
here). The law of the next token given only the previous one, :math:`M(k, j)`, solves the linear equation

.. math:: M = (1-A-B)\,1\pi^T + A K_1 + B\,\tilde M K_2, \qquad \tilde M(k, i) = \pi_i M(i, k) / \pi_k,

whose right side contracts by B, and the entropy rate is the finite sum

.. math:: h = \sum_{ik} \pi_i M(i, k)\,H(P(\cdot \mid i, k)).

A model that sees windows has no second token before its first target: the mean loss over a window of L targets is at
least :math:`(h_1 + (L-1)h)/L` with :math:`h_1 = \sum_k \pi_k H(M(k, \cdot))`.

Since a token has at most one parent, the text is a forest: all tokens without a parent are drawn at once, then all
their children, and so on. That is one exact chain, and takes seconds in NumPy.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpt.cache import cached_folder
from gpt.text import Text

VOCAB_SIZE = 256
FROM_PREVIOUS, FROM_SECOND = 0.5, 0.3  # A, B
SHIFTS = (math.sqrt(2) - 1, math.sqrt(3) - 1)  # c_1, c_2
TRAIN_TOKENS, VALIDATION_TOKENS = 2**24, 2**20
BURN_IN = 1024  # the memory of the first tokens falls by A + B per step: gone to 1e-99
SEED = 0

Floats = NDArray[np.float64]


class Law(NamedTuple):
    """What is known of the source.

    probabilities : (V,) :math:`\\pi`. previous, second : (V, V) :math:`K_1, K_2`. pair : (V, V) :math:`M`.
    """

    probabilities: Floats
    previous: Floats
    second: Floats
    pair: Floats

    def next_token(self, second: NDArray[np.integer], previous: NDArray[np.integer]) -> Floats:
        """P(. | second, previous), shape (..., V)."""
        fresh = (1 - FROM_PREVIOUS - FROM_SECOND) * self.probabilities
        after: Floats = fresh + FROM_PREVIOUS * self.previous[previous] + FROM_SECOND * self.second[second]
        return after


@cache
def source_law() -> Law:
    """The law of the source, exact to rounding."""
    left, lengths = _intervals()
    previous, second = (_rotation(left, lengths, shift) for shift in SHIFTS)
    base = (1 - FROM_PREVIOUS - FROM_SECOND) * lengths[None, :] + FROM_PREVIOUS * previous
    pair = np.tile(lengths, (VOCAB_SIZE, 1))
    for _ in range(math.ceil(math.log(1e-18) / math.log(FROM_SECOND))):
        reversed_pair = (lengths[:, None] * pair).T / lengths[:, None]
        pair = base + FROM_SECOND * reversed_pair @ second
    return Law(lengths, previous, second, pair)


@cache
def entropies() -> tuple[float, float]:
    """:math:`(h_1, h)`: entropy of a token given the one before it, and given the two before it (nats per token)."""
    law = source_law()
    tokens = np.arange(VOCAB_SIZE)
    rate = sum(
        law.probabilities[i] * float(law.pair[i] @ _entropy(law.next_token(np.array([i]), tokens))) for i in tokens
    )
    return float(law.probabilities @ _entropy(law.pair)), float(rate)


def loss_floor(context_length: int) -> float:
    """The smallest mean loss of any model that reads windows of this length, in nats per token."""
    first, rate = entropies()
    return (first + (context_length - 1) * rate) / context_length


def source_loss(windows: NDArray[np.integer]) -> Floats:
    """Loss of the source's own law on windows (num_windows, L + 1), shape (num_windows, L), in nats.

    No model does better on average; on the same windows a model's excess over it has little noise.
    """
    law = source_law()
    first = law.pair[windows[:, 0], windows[:, 1]]
    i, k, j = windows[:, :-2], windows[:, 1:-1], windows[:, 2:]
    fresh = (1 - FROM_PREVIOUS - FROM_SECOND) * law.probabilities[j]
    rest = fresh + FROM_PREVIOUS * law.previous[k, j] + FROM_SECOND * law.second[i, j]
    return -np.log(np.concatenate([first[:, None], rest], axis=1))


def zipf_tokens(num_tokens: int, seed: int = SEED) -> NDArray[np.uint8]:
    """A stationary stretch of the chain, shape (num_tokens,)."""
    total = num_tokens + BURN_IN
    rng = np.random.default_rng([seed, VOCAB_SIZE])
    choice, point = rng.random(total), rng.random(total)
    parents = np.arange(total) - np.where(choice < FROM_PREVIOUS, 1, 2)
    orphans = (choice >= FROM_PREVIOUS + FROM_SECOND) | (parents < 0)
    shift = np.where(choice < FROM_PREVIOUS, *SHIFTS)

    left, lengths = _intervals()
    order = np.argsort(left)
    edges = np.append(left[order], 1.0)
    tokens = np.zeros(total, dtype=np.uint8)

    def read(points: Floats) -> NDArray[np.uint8]:
        found = order[np.searchsorted(edges[1:-1], points, side="right")]
        return found.astype(np.uint8)

    known = orphans.copy()
    tokens[orphans] = read(point[orphans])
    waiting = np.flatnonzero(~orphans)
    while len(waiting):
        ready = known[parents[waiting]]
        now = waiting[ready]
        parent = tokens[parents[now]]
        tokens[now] = read((left[parent] + point[now] * lengths[parent] + shift[now]) % 1.0)
        known[now] = True
        waiting = waiting[~ready]
    return tokens[BURN_IN:]


def zipf_text(train_tokens: int = TRAIN_TOKENS, validation_tokens: int = VALIDATION_TOKENS) -> Text:
    """The text: a function of nothing but the numbers in this file, made once (seconds) and kept in the cache."""
    numbers = (train_tokens, validation_tokens, VOCAB_SIZE, FROM_PREVIOUS, FROM_SECOND, SHIFTS, SEED, BURN_IN)
    key = hashlib.sha256(repr(numbers).encode()).hexdigest()[:16]

    def write(work: Path) -> None:
        tokens = zipf_tokens(train_tokens + validation_tokens)
        tokens.tofile(work / "tokens.bin")
        (work / "fingerprint").write_text(hashlib.sha256(tokens.tobytes()).hexdigest())

    folder = cached_folder(f"zipf-{key}", write)
    tokens = np.memmap(folder / "tokens.bin", np.uint8, "r")
    return Text(
        train=tokens[:train_tokens],
        validation=tokens[train_tokens:],
        vocab_size=VOCAB_SIZE,
        fingerprint=(folder / "fingerprint").read_text(),
    )


@cache
def _intervals() -> tuple[Floats, Floats]:
    """Where the interval of each token begins on the circle, and its length; both in an order that tells nothing."""
    rng = np.random.default_rng(SEED)
    shares = 1.0 / np.arange(1, VOCAB_SIZE + 1)
    lengths: Floats = rng.permutation(shares / shares.sum())
    order = rng.permutation(VOCAB_SIZE)
    left: Floats = np.empty(VOCAB_SIZE)
    left[order] = np.concatenate([[0.0], np.cumsum(lengths[order])[:-1]])
    return left, lengths


def _rotation(left: Floats, lengths: Floats, shift: float) -> Floats:
    """:math:`K_c(k, j)`: share of interval k that a rotation takes into interval j."""
    overlap = np.zeros((VOCAB_SIZE, VOCAB_SIZE))
    moved = (left + shift) % 1.0
    for turn in (0.0, 1.0):  # an interval that crosses the origin also lies one turn further
        low = np.maximum(moved[:, None], left[None, :] + turn)
        high = np.minimum((moved + lengths)[:, None], (left + lengths)[None, :] + turn)
        overlap += np.maximum(high - low, 0.0)
    return overlap / lengths[:, None]


def _entropy(rows: Floats) -> Floats:
    """Of each row, in nats."""
    logs = np.log(rows, out=np.zeros_like(rows), where=rows > 0)
    return -(rows * logs).sum(axis=-1)
