"""Davidson's model against closed forms, its score equations, a general optimiser and Hunter's algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rewardbench.errors import InputError
from rewardbench.metrics.davidson import davidson_parameters, davidson_strengths


def counts(seed: int, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    wins = rng.integers(1, 20, size=(k, k)).astype(float)
    np.fill_diagonal(wins, 0)
    ties = np.triu(rng.integers(0, 10, size=(k, k)), 1).astype(float)
    return wins, ties + ties.T


def chances(strengths: np.ndarray, log_nu: float) -> tuple[np.ndarray, np.ndarray]:
    """P(row beats column) and P(tie)."""
    worth = np.exp(strengths)
    tie = np.exp(log_nu) * np.sqrt(np.outer(worth, worth))
    whole = worth[:, None] + worth[None, :] + tie
    return worth[:, None] / whole, tie / whole


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 50))
def test_two_competitors_have_a_closed_form(won: int, lost: int, tied: int) -> None:
    strengths, log_nu = davidson_strengths([[0, won], [lost, 0]], [[0, tied], [tied, 0]])
    assert strengths[0] - strengths[1] == pytest.approx(np.log(won / lost), abs=1e-9)
    assert strengths.sum() == pytest.approx(0, abs=1e-12)
    assert np.exp(log_nu) == pytest.approx(tied / np.sqrt(won * lost), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7))
def test_expected_points_and_ties_are_the_observed_ones(seed: int, k: int) -> None:
    wins, ties = counts(seed, k)
    strengths, log_nu = davidson_strengths(wins, ties)
    meets = wins + wins.T + ties
    p_win, p_tie = chances(strengths, log_nu)
    np.testing.assert_allclose((meets * (p_win + p_tie / 2)).sum(axis=1), (wins + ties / 2).sum(axis=1), rtol=1e-8)
    assert (meets * p_tie).sum() == pytest.approx(ties.sum(), rel=1e-8, abs=1e-8)


def test_maximum_equals_that_of_a_general_optimiser() -> None:
    wins, ties = counts(3)

    def loss(x: np.ndarray) -> float:
        p_win, p_tie = chances(np.append(0, x[:4]), x[4])
        return -float((wins * np.log(p_win)).sum() + (ties * np.log(p_tie)).sum() / 2)

    best = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-8})
    strengths, log_nu = davidson_strengths(wins, ties)
    np.testing.assert_allclose(strengths - strengths[0], np.append(0, best.x[:4]), atol=1e-5)
    assert log_nu == pytest.approx(best.x[4], abs=1e-5)


def test_without_ties_it_is_bradley_terry_by_hunter_s_algorithm() -> None:
    wins, _ = counts(4)
    worth = np.ones(5)
    for _ in range(5000):
        worth = wins.sum(axis=1) / ((wins + wins.T) / (worth[:, None] + worth[None, :])).sum(axis=1)
        worth /= np.exp(np.log(worth).mean())
    strengths, log_nu = davidson_strengths(wins, np.zeros((5, 5)))
    np.testing.assert_allclose(strengths, np.log(worth), atol=1e-9)
    assert log_nu == -np.inf


def test_many_tables_at_once_are_each_fitted_alone() -> None:
    tables = [counts(seed) for seed in range(6)]
    tables[2] = (tables[2][0], np.zeros((5, 5)))
    tables[4] = (np.triu(np.ones((5, 5)), 1), np.zeros((5, 5)))
    found = davidson_parameters(np.array([w for w, _ in tables]), np.array([t for _, t in tables]))
    for row, (wins, ties) in zip(found, tables, strict=True):
        strengths, log_nu = davidson_strengths(wins, ties)
        np.testing.assert_allclose(row, np.append(strengths, log_nu), atol=1e-8)


@pytest.mark.parametrize(
    ("wins", "ties"),
    [
        ([[0, 3], [0, 0]], [[0, 0], [0, 0]]),  # one side never took a point
        ([[0, 0], [0, 0]], [[0, 4], [4, 0]]),  # nothing but ties
        ([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], np.zeros((4, 4))),  # two leagues that never met
        ([[0, 3], [0, 0]], [[0, 1], [1, 0]]),  # wins and ties, never a loss: nu grows with the distance
        ([[0, 2, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1], [1, 1, 0]]),
    ],
)
def test_where_no_maximum_exists_there_is_no_number(wins: object, ties: object) -> None:
    strengths, log_nu = davidson_strengths(wins, ties)  # type: ignore[arg-type]
    assert np.isnan(strengths).all()
    assert np.isnan(log_nu)


def test_ties_close_a_circle_of_wins() -> None:
    # One beat two, two beat three, three only drew with one: two wins against one draw pin everything down.
    wins, ties = np.array([[0, 2, 0], [0, 0, 2], [0, 0, 0.0]]), np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0.0]])
    strengths, log_nu = davidson_strengths(wins, ties)
    _, p_tie = chances(strengths, log_nu)
    assert ((wins + wins.T + ties) * p_tie).sum() == pytest.approx(2)
    assert strengths[0] > strengths[1] > strengths[2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["none", "win", "loss", "both", "tie", "win+tie"]), min_size=3, max_size=3))
def test_a_maximum_is_claimed_just_where_the_likelihood_falls_in_every_direction(kinds: list[str]) -> None:
    pairs = [(0, 1), (0, 2), (1, 2)]
    wins, ties = np.zeros((2, 3, 3))
    for kind, (i, j) in zip(kinds, pairs, strict=True):
        wins[i, j] = 2 * ("win" in kind or kind == "both")
        wins[j, i] = kind in ("loss", "both")
        ties[i, j] = ties[j, i] = "tie" in kind

    def fall(x: float, y: float, e: float) -> float:
        """How fast the log likelihood falls far out: each outcome against the one that grows fastest there."""
        d, total = (0.0, x, y), 0.0
        for i, j in pairs:
            tie = e + (d[i] + d[j]) / 2
            fastest = max(d[i], d[j], tie if ties.any() else -np.inf)
            total += wins[i, j] * (fastest - d[i]) + wins[j, i] * (fastest - d[j])
            total += ties[i, j] * (fastest - tie) if ties[i, j] else 0.0
        return total

    steps = (-4, -2, 0, 2, 4)
    directions = [(x, y, e) for x in steps for y in steps for e in (-1, 0, 1) if (x, y) != (0, 0) or e != 0]
    if not ties.any():
        directions = [d for d in directions if d[:2] != (0, 0)]
    bounded = all(fall(*d) > 0 for d in directions)
    assert np.isfinite(davidson_strengths(wins, ties)[0]).all() == bounded


def test_bad_tables_are_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="two square tables"):
        davidson_strengths([[0, 1]], [[0, 1]])
    with pytest.raises(InputError, match="not symmetric"):
        davidson_strengths([[0, 1], [1, 0]], [[0, 1], [0, 0]])
    with pytest.raises(InputError, match="negative or infinite"):
        davidson_strengths([[0, -1], [1, 0]], np.zeros((2, 2)))
