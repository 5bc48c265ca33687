"""The rule on arrays whose answer is known."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cellglass.choice import choose_size
from cellglass.errors import InputError

SIZES = [2, 5, 10, 20]
# Differences to size 10 in the three replicates: .30 ± .01, .01 ± .0058·2, 0, .05.
ERRORS = np.array(
    [[1.30, 1.00, 1.00, 1.05], [1.51, 1.22, 1.20, 1.25], [1.19, 0.91, 0.90, 0.95]]
)
NULL = np.array([2.0, 2.2, 1.9])


def choose(errors=ERRORS, null=NULL, sizes=SIZES, **options):
    return choose_size(sizes, errors, null, np.random.default_rng(0), **options)


def test_the_smallest_size_within_one_standard_error_of_the_paired_difference_is_chosen():
    # Size 5 lies .00, .02 and .01 above: mean .01, standard error .01/√3 = .0058.
    assert choose().chosen == 10
    # .00, .03, .00: mean .01, standard error .01.
    nearer = ERRORS.copy()
    nearer[:, 1] = ERRORS[:, 2] + [0, 0.03 + 1e-9, 0]
    found = choose(nearer)
    assert (found.best, found.chosen) == (10, 5)
    # Unpaired standard errors, .09, would have let 5 and 20 pass for the same.
    assert min(found.standard_errors) > 0.08


def test_means_standard_errors_and_gain_are_those_of_the_formulas():
    found = choose()
    np.testing.assert_allclose(found.errors, ERRORS.mean(axis=0))
    np.testing.assert_allclose(found.standard_errors, stats.sem(ERRORS))
    assert found.null_error == pytest.approx(NULL.mean())
    assert found.null_standard_error == pytest.approx(stats.sem(NULL))
    gain = NULL - ERRORS[:, 2]
    assert found.best_gain == pytest.approx(gain.mean() / NULL.mean())
    assert found.best_gain_standard_error == pytest.approx(stats.sem(gain) / NULL.mean())
    assert found.n_replicates == 3 and found.sizes == tuple(SIZES)


@pytest.mark.parametrize(
    "null", [NULL, ERRORS[:, 2] + [0.1, 0.11, 0.05]], ids=["far-off", "in-sight"]
)
def test_agreement_is_the_share_of_resamples_that_choose_the_same(null):
    """Of all 27 equally likely resamples, counted by the definition of the rule."""

    def rule(errors, null):
        best = errors.mean(axis=0).argmin()
        behind = errors - errors[:, [best]]
        gain = null - errors[:, best]
        t = stats.t(len(errors) - 1).ppf(0.975)
        if gain.mean() <= max(t * stats.sem(gain), 0.001 * null.mean()):
            return None
        return next(s for s, d in enumerate(behind.T) if d.mean() <= stats.sem(d))

    expected = rule(ERRORS, null)
    index = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1).T
    exact = np.mean([rule(ERRORS[i], null[i]) == expected for i in index])
    assert 0.2 < exact < 0.95
    assert choose(null=null, n_resamples=20_000).agreement == pytest.approx(exact, abs=0.015)


@pytest.mark.parametrize(
    ("null", "chosen"),
    [
        (ERRORS.min(axis=1) - 0.1, None),
        (ERRORS[:, 2] + [0.1, 0.11, 0.09], 10),
        (ERRORS[:, 2] + [0.1, 0.3, -0.01], None),
        (ERRORS[:, 2] + [0.01, 0.3, 0.1], None),
        (ERRORS[:, 2] + 0.0005, None),
    ],
    ids=["worse", "clear", "not-in-all", "uncertain", "too-small-to-matter"],
)
def test_nothing_is_chosen_unless_the_best_surpasses_the_null_model(null, chosen):
    found = choose(null=null)
    assert found.chosen == chosen
    assert ("Nothing but noise was found" in found.sentence()) == (chosen is None)


def test_a_difference_that_never_varies_is_decided_by_its_sign():
    flat = np.tile([1.3, 1.1, 1.0, 1.2], (3, 1))
    found = choose(flat, np.full(3, 1.5))
    assert (found.chosen, found.agreement) == (10, 1.0)
    assert choose(np.ones((3, 4)), np.full(3, 1.5)).chosen == 2


def test_the_ends_of_the_grid_are_told():
    middle, falling, rising = choose(), choose(ERRORS[:, :3], sizes=SIZES[:3]), None
    rising = choose(ERRORS[:, 2:], sizes=SIZES[2:])
    assert not middle.largest_is_best and not middle.smallest_is_chosen
    assert falling.largest_is_best and "try larger ones" in falling.sentence()
    assert rising.smallest_is_chosen and "try smaller ones" in rising.sentence()
    assert not choose(ERRORS[:, 2:], sizes=[1, 2]).smallest_is_chosen
    nothing = choose(ERRORS[:, :3], NULL - 2, sizes=SIZES[:3])
    assert not nothing.largest_is_best and not nothing.smallest_is_chosen


def test_pure_noise_is_almost_never_found_to_be_something():
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(400):
        null = 1 + 0.1 * rng.standard_normal(4)
        # As good as the null model in the mean, 1 % apart in a replicate.
        errors = null[:, None] + 0.01 * rng.standard_normal((4, 1))
        found += choose(errors, null, sizes=[3], n_resamples=1).chosen is not None
    assert found / 400 < 0.045  # 2.5 % expected, standard error .8 %


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(1, 6), st.integers(0, 10**6), st.floats(0.01, 100))
def test_the_choice_depends_on_neither_unit_nor_order_of_replicates(r, s, seed, unit):
    rng = np.random.default_rng(seed)
    errors, null = rng.random((r, s)) + 1, rng.random(r) + 1.8
    sizes = list(range(1, s + 1))
    one = choose(errors, null, sizes, n_resamples=5)
    order = rng.permutation(r)
    other = choose(errors[order] * unit, null[order] * unit, sizes, n_resamples=5)
    assert (one.best, one.chosen) == (other.best, other.chosen)
    assert one.chosen is None or one.chosen <= one.best
    assert one.best_gain == pytest.approx(other.best_gain)


def test_the_dictionary_holds_all_as_plain_values():
    found = choose()
    held = found.to_dict()
    assert json.loads(json.dumps(held)) == held
    assert held["chosen"] == 10 and held["sizes"] == SIZES
    assert held["sentence"] == found.sentence()
    assert f"{100 * found.agreement:.0f} % of resamples of the 3" in held["sentence"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"errors": ERRORS[:, :2]}, r"shape \(3, 2\).*4 sizes"),
        ({"errors": ERRORS[0]}, r"shape \(4,\)"),
        ({"null": NULL[:2]}, r"shape \(2,\).*3 replicates"),
        ({"errors": ERRORS[:1], "null": NULL[:1]}, "There is 1 replicate.*more splits"),
        ({"sizes": [2, 5, 5, 20]}, r"\[2, 5, 5, 20\].*ascending"),
        ({"sizes": [0, 5, 10, 20]}, "at least 1"),
        ({"errors": np.where(ERRORS == 1.22, np.nan, ERRORS)}, "nan for replicate 2, size 5"),
        ({"null": np.array([1, np.inf, 1])}, "inf for replicate 2,"),
        ({"minimum_gain": -0.1}, "minimum_gain is -0.1"),
    ],
    ids=["sizes", "one-row", "null", "single", "twice", "zero", "nan", "infinite", "option"],
)
def test_what_the_rule_cannot_be_applied_to_is_named(change, expected):
    with pytest.raises(InputError, match=expected):
        choose(**change)


def test_a_gain_that_chance_may_have_given_asks_for_more_splits():
    null = np.array([1.0, 1.0, 1.0])
    unsure = choose([[0.9, 2], [0.99, 2], [0.8, 2]], null, [1, 2])
    assert unsure.chosen is None and "With more splits" in unsure.sentence()
    behind = choose([[1.1, 2], [1.2, 2], [1.3, 2]], null, [1, 2])
    assert behind.chosen is None and "With more splits" not in behind.sentence()
