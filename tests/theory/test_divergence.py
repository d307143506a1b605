"""Runs that went wrong: the two words, and their limits."""

import numpy as np

from theory.divergence import FAR_ABOVE_BEST, FAR_ABOVE_MEDIAN, comparable, largest_loss


def test_what_is_not_finite_or_beyond_the_margin_is_not_comparable() -> None:
    losses = np.array([2.0, 3.0, 3.0001, np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(comparable(losses, 2.0, FAR_ABOVE_BEST), [True, True, False, False, False, False])
    assert comparable([2.5, 2.5001], [2.0, 2.0], FAR_ABOVE_MEDIAN).tolist() == [True, False]
    assert not comparable(np.nan, np.inf, FAR_ABOVE_BEST)


def test_a_uniform_guess_has_not_diverged() -> None:
    assert np.log(256) < largest_loss(256) == 3 * np.log(256)
