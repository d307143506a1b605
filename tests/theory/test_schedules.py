"""Schedules: sums equal integrals, integrals equal quadrature, segments fit together."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from theory import WSD, Constant, Cosine, CosineRestarts, InvalidParameter, Linear, Schedule, Tabulated
from theory.schedules import PIECES, as_schedule, coarsened
from theory.segments import Segment


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    num_steps = draw(st.integers(1, 300))
    common = {"num_steps": num_steps, "warmup_steps": draw(st.integers(0, num_steps))}
    kind = draw(st.sampled_from([Constant, Linear, Cosine, WSD, CosineRestarts, Tabulated]))
    if kind is Tabulated:
        steps = sorted(draw(st.sets(st.integers(0, num_steps + 20), min_size=1, max_size=8)))
        values = [draw(st.floats(0, 1).filter(lambda v: v == 0 or v > 1e-9)) for _ in steps]
        values[0] = values[0] or 0.5  # held up to the first row: not all are 0
        return Tabulated(num_steps=num_steps, steps=tuple(steps), values=tuple(values))
    if kind is CosineRestarts:
        common["num_cycles"] = draw(st.integers(1, max(1, min(5, num_steps - common["warmup_steps"]))))
    if kind is not Constant:
        common["final_fraction"] = draw(st.floats(0, 1))
    if kind is WSD:
        common["decay_fraction"] = draw(st.floats(0, 1))
    return kind(**common)


@given(schedules())
def test_the_sum_over_steps_is_the_integral(schedule: Schedule) -> None:
    multipliers = schedule.multipliers()
    assert multipliers.shape == (schedule.num_steps,)
    assert np.all((multipliers >= 0) & (multipliers <= 1))
    assert multipliers.sum() == pytest.approx(schedule.integral(schedule.num_steps), rel=1e-9)


@given(schedules(), st.floats(0, 1))
def test_integrals_equal_quadrature(schedule: Schedule, fraction: float) -> None:
    end = fraction * schedule.num_steps
    breaks = np.cumsum([segment.length for segment in schedule.segments()])
    inside = [float(b) for b in breaks if 0 < b < end] or None
    options = {"points": inside, "epsabs": 1e-10, "limit": 1000}  # a table can have a piece for every step
    for power, integral in ((1, schedule.integral), (2, schedule.integral_of_square)):
        expected = quad(lambda x: float(schedule.value(x)) ** power, 0, end, **options)[0]  # noqa: B023
        assert integral(end) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("shape", ["ramp", "half cosine"])
@pytest.mark.parametrize(("first", "last"), [(0.7, 0.2), (0.3, 0.9), (0.4, 0.4)])
def test_a_piece_between_any_two_rates(shape: Literal["ramp", "half cosine"], first: float, last: float) -> None:
    piece, x = Segment(shape, 5, first, last), np.array([0.5, 2.0, 5.0])
    np.testing.assert_allclose(piece.value(np.array([0.0, 2.5, 5.0])), [first, (first + last) / 2, last], rtol=1e-14)
    for power, integral in ((1, piece.integral(x)), (2, piece.integral_of_square(x))):
        expected = [quad(lambda u: float(piece.value(np.array(u))) ** power, 0, end)[0] for end in x]  # noqa: B023
        np.testing.assert_allclose(integral, expected, rtol=1e-12)
    np.testing.assert_allclose(piece.time_at_integral(piece.integral(x)), x, rtol=1e-12)


def test_shapes_at_known_points() -> None:
    cosine = Cosine(num_steps=110, warmup_steps=10, final_fraction=0.1)
    np.testing.assert_allclose(cosine.value([0, 5, 10, 60, 110]), [0, 0.5, 1, 0.55, 0.1])
    wsd = WSD(num_steps=100, warmup_steps=10, decay_fraction=0.3)
    np.testing.assert_allclose(wsd.value([5, 10, 70, 85, 100]), [0.5, 1, 1, 0.5, 0], atol=1e-12)
    np.testing.assert_array_equal(wsd.value([np.nan, 20]), [np.nan, 1])
    assert (wsd.peak_end, cosine.peak_end, Constant(num_steps=7).peak_end) == (70, 10, 7)
    np.testing.assert_allclose(Linear(num_steps=4).multipliers(), [0.875, 0.625, 0.375, 0.125])
    assert WSD(num_steps=100).peak_end == 80  # a fifth of the run decays unless told
    assert len(CosineRestarts(num_steps=100).segments()) == 2


def test_times_of_integrals_at_both_ends_and_beyond() -> None:
    """A rise of 4 steps adds 2, a fall of 8 to nothing 4; what a run never reaches has no time."""
    up_and_down = Linear(num_steps=12, warmup_steps=4)
    times = up_and_down.time_at_integral([0.0, 0.5, 2.0, 5.0, 6.0, 6.1])
    np.testing.assert_allclose(times, [0, 2, 4, 8, 12, np.inf], rtol=1e-12)
    cosine = Cosine(num_steps=10)
    np.testing.assert_allclose(cosine.time_at_integral([0.0, 0.05, 2.5 + 5 / np.pi, 5.0]), [0, 0.05, 5, 10], rtol=5e-5)
    with pytest.raises(InvalidParameter, match="amount"):
        up_and_down.time_at_integral([1.0, -1.0])


@given(schedules(), st.floats(0, 1))
def test_the_time_of_an_integral_inverts_it(schedule: Schedule, share: float) -> None:
    amount = share * float(schedule.integral(schedule.num_steps))
    time = float(schedule.time_at_integral(amount))
    assert schedule.integral(time) == pytest.approx(amount, rel=1e-9, abs=1e-9)


def test_restarts_begin_at_the_peak_again() -> None:
    schedule = CosineRestarts(num_steps=70, warmup_steps=10, num_cycles=3, final_fraction=0.1)
    one = Cosine(num_steps=20, final_fraction=0.1).multipliers()
    np.testing.assert_allclose(schedule.multipliers()[10:], np.tile(one, 3))
    assert (schedule.peak_end, schedule.warmup_steps) == (10, 10)
    np.testing.assert_allclose(schedule.value([30, 70]), [1, 0.1])


def test_a_table_of_a_schedule_is_that_schedule() -> None:
    whole = WSD(num_steps=300, warmup_steps=30)
    rows = (0, 29, 30, 239, 240, 299)  # both ends of every straight piece
    table = Tabulated(num_steps=300, steps=rows, values=tuple(whole.multipliers()[list(rows)]))
    np.testing.assert_allclose(table.multipliers(), whole.multipliers(), rtol=1e-12)
    np.testing.assert_allclose(table.integral([120, 300]), whole.integral([120, 300]), rtol=1e-12)
    assert (table.warmup_steps, table.peak_end) == (30, 240)
    rising = Tabulated(num_steps=5, steps=(0, 4), values=(0.2, 1.0))
    assert (rising.warmup_steps, rising.peak_end) == (4, 5)
    np.testing.assert_allclose(rising.value([0, 0.9, 4, 5]), [0.2, 0.2, 1, 1])
    assert rising.integral_of_square(2.5) == pytest.approx(0.2**2 + 0.4**2 + 0.6**2 / 2)


@pytest.mark.parametrize(
    ("steps", "values", "name"),
    [
        ((), (), "steps"),
        ((0, 1), (1.0,), "steps"),
        ((0, 0), (1.0, 0.5), "steps"),
        ((0, 1), (1.0, 1.5), "values"),
        ((0, 1), (0.0, 0.0), "values"),
        ((0, 20), (0.0, 0.0), "values"),
    ],
)
def test_bad_tables_are_refused_by_name(steps: tuple[int, ...], values: tuple[float, ...], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Tabulated(num_steps=10, steps=steps, values=values)
    assert caught.value.name == name


@pytest.mark.parametrize("peak", [3.0, 1.01, 0.5, 0.05, 6e-4])
def test_an_array_whose_highest_is_not_1_is_one_of_rates(peak: float) -> None:
    multipliers = Cosine(num_steps=20, warmup_steps=4).multipliers()
    assert as_schedule(multipliers).num_steps == 20  # the highest is half a step off the peak
    with pytest.raises(InvalidParameter, match="1 at its peak") as caught:
        as_schedule(peak / multipliers.max() * multipliers)
    assert f"divided by their peak, {peak:g}" in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ([0.89, 0.5], "schedule"),
        (1.0, "schedule"),
        ([], "schedule"),
        (np.ones((2, 3)), "schedule"),
        ("cosine", "schedule"),
        ([0.0, 0.0], "values"),
    ],
)
def test_what_is_no_row_of_multipliers_is_refused_by_name(bad: object, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        as_schedule(bad)  # type: ignore[arg-type]
    assert caught.value.name == name
    assert as_schedule([0.9, 0.5]).multipliers().tolist() == [0.9, 0.5]


def test_a_long_table_is_coarsened_into_few_pieces_of_the_same_sum() -> None:
    """Jumps stay where they are; what swings at every step is refused, and what has few pieces is left alone."""
    jumps = np.repeat([1.0, 0.1, 0.01], 5000) * np.linspace(1, 0.99, 15_000)
    whole = as_schedule(jumps)
    few = coarsened(whole)
    assert len(few.segments()) <= PIECES
    assert few.integral(15_000) == pytest.approx(whole.integral(15_000), rel=1e-12)
    np.testing.assert_allclose(few.multipliers(), jumps, rtol=2e-3)
    assert coarsened(few) is few
    with pytest.raises(InvalidParameter, match="smooth or thin"):
        coarsened(as_schedule(np.tile([1.0, 0.5], 5000)))
    for low, lost in ((0.94, 9.6e-4), (0.9372, 1.05e-3)):  # of which a thousandth may be
        swinging = np.tile([1.0, low], 5000)
        assert 1 - swinging.mean() ** 2 / np.mean(swinging**2) == pytest.approx(lost, rel=0.01)
        if lost < 1e-3:
            coarsened(as_schedule(swinging))
            continue
        with pytest.raises(InvalidParameter, match="smooth or thin"):
            coarsened(as_schedule(swinging))
    short = as_schedule(np.linspace(0.5, 1, PIECES))
    restarts = CosineRestarts(num_steps=2 * PIECES, num_cycles=PIECES + 1)
    assert (coarsened(short), coarsened(restarts)) == (short, restarts)
    assert len(coarsened(as_schedule(np.linspace(0.5, 1, PIECES + 1))).segments()) <= PIECES


def test_no_piece_changes_by_more_than_its_share() -> None:
    """Of change and of the logarithm of the time left: one part in `PIECES` at most, beside the first step of each."""
    m = np.append(1.0, 0.45 + 0.05 * np.cos(np.linspace(0, np.pi, 3000)))
    left = 1 / np.arange(len(m), 0, -1)
    shares = (np.abs(np.diff(m, prepend=1.0)) / np.abs(np.diff(m)).sum() + left / left.sum()) / 2
    pieces = coarsened(as_schedule(m)).segments()
    ends = np.cumsum([piece.length for piece in pieces])
    held = np.diff(np.cumsum(shares)[ends - 1], prepend=0.0)
    first = shares[np.append(0, ends[:-1])]
    assert np.all(held - first < 1 / PIECES + 1e-12)
    assert first[1] > 0.4


def test_kappa_counts_relaxations() -> None:
    kappa = Constant(num_steps=20_000).kappa(20_000, learning_rate=1e-3, weight_decay=0.1)
    assert 2 * kappa == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"num_steps": 2.5}, "num_steps"),
        ({"num_steps": 10, "warmup_steps": 11}, "warmup_steps"),
        ({"num_steps": 10, "warmup_steps": -1}, "warmup_steps"),
        ({"num_steps": 10, "final_fraction": 1.5}, "final_fraction"),
        ({"num_steps": 10, "decay_fraction": float("nan")}, "decay_fraction"),
    ],
)
def test_bad_schedules_are_refused_by_name(arguments: dict[str, float], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        WSD(**arguments)  # type: ignore[arg-type]
    assert caught.value.name == name


def test_times_outside_the_run_are_refused() -> None:
    for times in (11, -0.1, [5, 11], [5, -0.1]):
        with pytest.raises(InvalidParameter, match=r"^x = "):
            Constant(num_steps=10).integral(times)
