"""Learning rates are those of Optax's schedules of the same names."""

import numpy as np
import optax
import pytest

from cellglass.checks import check_schedule
from cellglass.errors import InputError
from cellglass.schedules import SCHEDULES, learning_rates

STEPS = 40


def rates(schedule, start=0, stop=STEPS, n_steps=STEPS):
    return learning_rates(schedule, 0.1, start=start, stop=stop, n_steps=n_steps)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_name_is_one_of_optax_and_never_exceeds_the_learning_rate(name):
    assert hasattr(optax, name)
    found = rates(name)
    assert found.shape == (STEPS,) and found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_of_an_epoch_are_a_piece_of_those_of_the_whole_training(name):
    pieces = [rates(name, start, start + 8) for start in range(0, STEPS, 8)]
    np.testing.assert_array_equal(np.concatenate(pieces), rates(name))


@pytest.mark.parametrize(("name", "last"), [
    ("constant_schedule", 0.1),
    ("linear_schedule", 0.1 / STEPS),
    ("cosine_decay_schedule", 0.05 * (1 + np.cos(np.pi * (STEPS - 1) / STEPS))),
    ("polynomial_schedule", 0.1 / STEPS**2),
    ("exponential_decay", 0.1 * 0.01 ** ((STEPS - 1) / STEPS)),
    ("warmup_constant_schedule", 0.1),
])  # fmt: skip
def test_the_last_step_has_the_rate_of_the_formula(name, last):
    assert rates(name)[-1] == pytest.approx(last, rel=1e-4)


def test_a_warm_up_rises_over_the_first_tenth():
    for name in SCHEDULES:
        if not name.startswith("warmup"):
            continue
        found = rates(name)
        np.testing.assert_allclose(found[:5], [0.02, 0.04, 0.06, 0.08, 0.1], rtol=1e-5)
        assert found.argmax() == 4


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_single_step_trains(name):
    (only,) = rates(name, 0, 1, 1)
    assert 0 < only <= 0.1


def test_a_function_is_asked_for_every_step():
    np.testing.assert_allclose(rates(lambda step: step / 100, 3, 6), [0.03, 0.04, 0.05])
    np.testing.assert_allclose(
        rates(optax.polynomial_schedule(0.1, 0.0, 2, STEPS)),
        [0.1 * (1 - step / STEPS) ** 2 for step in range(STEPS)],
        rtol=1e-4,
    )


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf, "fast", None, [1, 2]])
def test_a_function_that_gives_no_rate_is_refused(bad):
    with pytest.raises(InputError, match=r"for step 2 of 40, but a learning rate must be"):
        rates(lambda step: bad if step == 2 else 0.1)


def test_an_unknown_name_is_refused_with_the_closest():
    with pytest.raises(InputError, match="Did you mean 'cosine_decay_schedule'"):
        check_schedule("cosine_decay", SCHEDULES)
    with pytest.raises(InputError, match="schedule is 3"):
        check_schedule(3, SCHEDULES)
    check_schedule(optax.constant_schedule(0.1), SCHEDULES)
