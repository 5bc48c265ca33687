"""How the learning rate changes from step to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cellglass.errors import InputError

WARMUP = 0.1
"""Share of all steps in which schedules with a warm-up rise to the highest rate."""

SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant_schedule": lambda rate, n_steps: optax.constant_schedule(rate),
    "linear_schedule": lambda rate, n_steps: optax.linear_schedule(rate, 0.0, n_steps),
    "cosine_decay_schedule": optax.cosine_decay_schedule,
    "polynomial_schedule": lambda rate, n_steps: optax.polynomial_schedule(
        rate, 0.0, 2, n_steps
    ),
    "exponential_decay": lambda rate, n_steps: optax.exponential_decay(rate, n_steps, 0.01),
    "warmup_constant_schedule": lambda rate, n_steps: optax.warmup_constant_schedule(
        *_warmup(rate, n_steps)
    ),
    "warmup_cosine_decay_schedule": lambda rate, n_steps: optax.warmup_cosine_decay_schedule(
        *_warmup(rate, n_steps), max(n_steps, _warmup(rate, n_steps)[2] + 1)
    ),
    "warmup_exponential_decay_schedule": lambda rate, n_steps: (
        optax.warmup_exponential_decay_schedule(
            *_warmup(rate, n_steps), max(1, n_steps - _warmup(rate, n_steps)[2]), 0.01
        )
    ),
    "linear_onecycle_schedule": lambda rate, n_steps: optax.linear_onecycle_schedule(
        max(n_steps, 4), rate
    ),
    "cosine_onecycle_schedule": lambda rate, n_steps: optax.cosine_onecycle_schedule(
        max(n_steps, 4), rate
    ),
}
"""Optax's schedules by their names there: (highest rate, number of steps) → schedule.

Over all steps of the training, the linear, the cosine and the polynomial one (a parabola)
fall to 0 and the exponential one to a hundredth; those with a warm-up rise over the first
tenth of the steps; the one-cycle policies have Optax's own defaults. Those of Optax's that
need more than a rate and a number of steps, such as ``piecewise_constant_schedule``, are
given as functions."""


def _warmup(rate: float, n_steps: int) -> tuple[float, float, int]:
    """First rate, highest rate and number of steps between; no step has a rate of 0."""
    steps = max(1, round(WARMUP * n_steps))
    return rate / (steps + 1), rate, steps


def learning_rates(
    schedule: str | Callable[[int], Any],
    learning_rate: float,
    *,
    start: int,
    stop: int,
    n_steps: int,
) -> np.ndarray:
    """Learning rates of some steps.

    Parameters
    ----------
    schedule
        A name in ``SCHEDULES``, or a function of the step, from 0.
    learning_rate
        Highest rate of a schedule with a name; a function gives its own.
    start, stop
        Steps from ``start`` up to, not including, ``stop``.
    n_steps
        Number of steps of the whole training.

    Returns
    -------
    numpy.ndarray
        Shape (stop - start,), float32.

    Raises
    ------
    InputError
        If a function gives something that is no number of at least 0.
    """
    if isinstance(schedule, str):
        planned = SCHEDULES[schedule](learning_rate, n_steps)
        steps = jnp.arange(start, stop)
        return np.asarray(jax.vmap(planned)(steps), np.float32)
    rates = np.empty(stop - start, np.float32)
    for step in range(start, stop):
        value = schedule(step)
        try:
            rates[step - start] = value
        except (TypeError, ValueError):
            rates[step - start] = np.nan
        if not 0 <= rates[step - start] < np.inf:
            raise InputError(
                f"The schedule gives {value!r} for step {step:,} of {n_steps:,}, but a "
                "learning rate must be a finite number of at least 0. Steps count from 0."
            )
    return rates
