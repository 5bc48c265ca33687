"""Chooses the size of the latent space from the errors of several sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import stdtrit

from cellglass.checks import check_range
from cellglass.errors import InputError

MINIMUM_GAIN = 0.001
N_RESAMPLES = 1000

# Quantile of Student's t that a gain must surpass: 2.5 % chance where there is none.
CONFIDENCE = 0.975


@dataclass(frozen=True)
class Choice:
    """The size to use, and how sure that is.

    Attributes
    ----------
    sizes
        What was tried, ascending.
    n_replicates
        Splits that every size was tried on; of several seeds on one split, the mean counts.
    errors, standard_errors
        Mean error of every size over the replicates, and the standard error of that mean.
    null_error, null_standard_error
        The same for the model without latent dimensions.
    best
        The size of lowest mean error; of several, the smallest.
    best_gain, best_gain_standard_error
        By how much the mean error of `best` lies below that of the null model, as a share
        of the latter, and the standard error of that share (paired by replicate); below 0
        where the null model is better.
    chosen
        The smallest size whose mean error is within one standard error of the best one's,
        or None where `best` does not surpass the null model.
    agreement
        Share of resamples of the replicates (bootstrap) that choose the same.
    largest_is_best
        Whether `best` is the largest size tried, so that a larger one may be better yet;
        False where nothing is chosen.
    smallest_is_chosen
        Whether `chosen` is the smallest size tried, and above 1, so that a smaller one
        may do.
    """

    sizes: tuple[int, ...]
    n_replicates: int
    errors: tuple[float, ...]
    standard_errors: tuple[float, ...]
    null_error: float
    null_standard_error: float
    best: int
    best_gain: float
    best_gain_standard_error: float
    chosen: int | None
    agreement: float
    largest_is_best: bool
    smallest_is_chosen: bool

    def sentence(self) -> str:
        """Say what to use, how sure that is, and whether other sizes should be tried."""
        share = f"{100 * abs(self.best_gain):.2g} %"
        side = "lower" if self.best_gain > 0 else "higher"
        against = (
            f"its error is {share} {side} than without any latent dimension (standard error "
            f"{100 * self.best_gain_standard_error:.2g} %)"
        )
        sure = (
            f"{100 * self.agreement:.0f} % of resamples of the {self.n_replicates} splits agree"
        )
        if self.chosen is None:
            unsure = (
                " With more splits the gain might be told from chance."
                if self.best_gain > MINIMUM_GAIN
                else ""
            )
            return (
                f"Nothing but noise was found: even the best size tried, {self.best}, does not "
                f"surpass a model without latent dimensions; {against}. {sure}.{unsure}"
            )
        dimensions = f"{self.chosen} latent dimension{'s' * (self.chosen != 1)}"
        if self.chosen == self.best:
            parts = [f"Use {dimensions}, the size of lowest error; {against}. {sure}."]
        else:
            parts = [
                f"Use {dimensions}, the smallest size within one standard error of the "
                f"best, {self.best}; of the best, {against}. {sure}."
            ]
        if self.largest_is_best:
            parts.append("The largest size tried has the lowest error: try larger ones.")
        if self.smallest_is_chosen:
            parts.append("The smallest size tried is enough: try smaller ones.")
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Hand over all fields, and the sentence, as plain, JSON-able values.

        Returns
        -------
        dict
            Field name → number, boolean, None or list of numbers; ``"sentence"`` → str.
        """
        fields = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }
        return {**fields, "sentence": self.sentence()}


def choose_size(
    sizes: Sequence[int],
    errors: Any,
    null_errors: Any,
    rng: np.random.Generator,
    *,
    minimum_gain: float = MINIMUM_GAIN,
    n_resamples: int = N_RESAMPLES,
) -> Choice:
    """Choose the smallest size that is as good as the best, if that is worth anything.

    Two rules, both on differences paired by replicate, so that what all sizes share of a
    split cancels:

    1. Of the size s* of lowest mean error, the gain over the null model must be above
       t · SE(gain), t the 97.5 % quantile of Student's t with n_replicates − 1 degrees of
       freedom, and above ``minimum_gain`` times the null model's error. Otherwise nothing
       is chosen. (t is 12.7 for 2 replicates, 4.3 for 3 and 2.8 for 5.)
    2. The smallest size s with mean(error(s) − error(s*)) ≤ SE(error(s) − error(s*)) is
       chosen: the one-standard-error rule (Breiman, Friedman, Olshen & Stone 1984,
       Classification and Regression Trees, section 3.4.3), paired.

    Replicates split the same data anew. So standard errors and the agreement tell how
    much splits and seeds matter, not how other cells would have turned out.

    Parameters
    ----------
    sizes : sequence of int, length n_sizes
        Sizes of the latent space, ascending, each at least 1.
    errors : array_like, shape (n_replicates, n_sizes)
        Error of every size on every replicate; lower is better.
    null_errors : array_like, shape (n_replicates,)
        Error of the model without latent dimensions on the same replicates.
    rng : numpy.random.Generator
        Where the resamples come from.
    minimum_gain : float, default 0.001
        Smallest gain that counts, as a share of the null model's error. A model that
        fits the dependence of the values on a cell's total a little better than the null
        model does gains a little in every replicate, and has yet found nothing.
    n_resamples : int, default 1000
        Bootstrap resamples, at least 1.

    Returns
    -------
    Choice

    Raises
    ------
    InputError
        If the shapes do not fit, there are fewer than 2 replicates, the sizes are not
        ascending, an error is not finite, or an option is out of bounds.
    """
    sizes = [int(size) for size in sizes]
    errors = np.asarray(errors, dtype=np.float64)
    null_errors = np.asarray(null_errors, dtype=np.float64)
    _check(sizes, errors, null_errors)
    check_range("minimum_gain", minimum_gain, low=0, high=1)
    check_range("n_resamples", n_resamples, low=1, integer=True)

    n_replicates = len(errors)
    found = int(_chosen(errors[None], null_errors[None], minimum_gain)[0])
    drawn = rng.integers(n_replicates, size=(n_resamples, n_replicates))
    again = _chosen(errors[drawn], null_errors[drawn], minimum_gain)

    mean = errors.mean(axis=0)
    null = float(null_errors.mean())
    best = int(mean.argmin())
    gain = null_errors - errors[:, best]
    scale = null if null > 0 else 1.0
    return Choice(
        sizes=tuple(sizes),
        n_replicates=n_replicates,
        errors=tuple(mean.tolist()),
        standard_errors=tuple(_standard_error(errors.T).tolist()),
        null_error=null,
        null_standard_error=float(_standard_error(null_errors)),
        best=sizes[best],
        best_gain=float(gain.mean() / scale),
        best_gain_standard_error=float(_standard_error(gain) / scale),
        chosen=sizes[found] if found >= 0 else None,
        agreement=float((again == found).mean()),
        largest_is_best=found >= 0 and best == len(sizes) - 1,
        smallest_is_chosen=found == 0 and sizes[0] > 1,
    )


def _check(sizes: list[int], errors: np.ndarray, null_errors: np.ndarray) -> None:
    """Refuse what the rules cannot be applied to."""
    if errors.ndim != 2 or errors.shape[1] != len(sizes) or not sizes:
        raise InputError(
            f"errors has the shape {errors.shape}, but one row for every replicate and one "
            f"column for each of the {len(sizes)} sizes were expected, at least one of each."
        )
    if null_errors.shape != errors.shape[:1]:
        raise InputError(
            f"null_errors has the shape {null_errors.shape}, but one error for each of the "
            f"{len(errors)} replicates was expected."
        )
    if len(errors) < 2:
        raise InputError(
            f"There is {len(errors)} replicate, but how sure a choice is can only be told "
            "from 2 or more: use more splits or seeds."
        )
    if sizes[0] < 1 or any(a >= b for a, b in pairwise(sizes)):
        raise InputError(
            f"sizes is {sizes}, but ascending whole numbers of at least 1 were expected: "
            "sort them, the columns of errors alike, and name each once."
        )
    for name, values in (("errors", errors), ("null_errors", null_errors)):
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            place = wrong[0].tolist()
            size = f", size {sizes[place[1]]}" if len(place) > 1 else ""
            raise InputError(
                f"{name} is {values[tuple(place)]} for replicate {place[0] + 1}{size}, but "
                "every error must be a finite number: leave out a size whose training failed."
            )


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Give the standard error of the mean over the last axis."""
    return values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1])


def _chosen(errors: np.ndarray, null_errors: np.ndarray, minimum_gain: float) -> np.ndarray:
    """Apply both rules to a stack of experiments.

    Parameters
    ----------
    errors
        Shape (n_experiments, n_replicates, n_sizes).
    null_errors
        Shape (n_experiments, n_replicates).
    minimum_gain
        As in :func:`choose_size`.

    Returns
    -------
    ndarray of int, shape (n_experiments,)
        Number of the chosen size, from 0, or −1 for none.
    """
    best = errors.mean(axis=1).argmin(axis=1)  # (n_experiments,)
    of_best = np.take_along_axis(errors, best[:, None, None], axis=2)
    behind = np.swapaxes(errors - of_best, 1, 2)  # (n_experiments, n_sizes, n_replicates)
    within = behind.mean(axis=2) <= _standard_error(behind)
    smallest = within.argmax(axis=1)

    gain = null_errors - of_best[:, :, 0]
    t = stdtrit(gain.shape[1] - 1, CONFIDENCE)
    needed = np.maximum(t * _standard_error(gain), minimum_gain * null_errors.mean(axis=1))
    return np.where(gain.mean(axis=1) > needed, smallest, -1)
