"""One quantity under two conditions: what can be said, and how it is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.special import stdtrit

SAME_ERROR = 0.01
"""Errors within 1 % of each other are called practically the same."""
SAME_SCORE = 0.02
"""Scores on a scale up to 1 that differ by less are called practically the same."""


CONFIDENCE = 0.95


@dataclass(frozen=True)
class Contrast:
    """One quantity under two conditions, one value a seed.

    Attributes
    ----------
    before, after
        Values under either condition; at least one each.
    is_error
        True for errors and log-likelihoods, which are compared by their ratio; False for
        scores on a scale up to 1, compared by their difference.
    """

    before: tuple[float, ...]
    after: tuple[float, ...]
    is_error: bool

    @property
    def verdict(self) -> str:
        """``lower``, ``higher`` or ``none``: what can be said of after against before.

        A difference counts from 1 % for errors and from .02 for scores. With several seeds
        the 95 % interval of the difference must leave out 0 as well.
        """
        a, b = mean(self.before), mean(self.after)
        if abs(b - a) < (SAME_ERROR * abs(a) if self.is_error else SAME_SCORE) or a == b:
            return "none"
        if self.is_uncertain:
            return "none"
        return "lower" if b < a else "higher"

    @property
    def is_uncertain(self) -> bool:
        """Whether the seeds leave it open which of the two means is the higher.

        That is so where the 95 % interval of their difference holds 0 (Welch 1947; a single
        value, such as PCA's, which no seed moves, is taken as exact). Two single values have
        no interval, and nothing is said of how sure they are.
        """
        sides = [v for v in (self.before, self.after) if len(v) > 1]
        shares = [_variance(v) / len(v) for v in sides]  # of the squared standard error
        if not sum(shares):
            return False
        freedom = sum(shares) ** 2 / sum(
            share**2 / (len(v) - 1) for share, v in zip(shares, sides, strict=True)
        )
        half_width = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(sum(shares))
        return abs(mean(self.after) - mean(self.before)) <= half_width

    @property
    def change(self) -> str:
        """Change of the mean in words: percent, a factor, or a difference of scores."""
        a, b = mean(self.before), mean(self.after)
        if not self.is_error:
            return f"{round(b, 3) - round(a, 3):+.3f}".replace("-", "−")  # of what is shown
        if a <= 0 or b <= 0:
            return f"{b - a:+.3g}".replace("-", "−")
        if b > 2 * a:
            return f"{number(b / a)} times as much"
        return f"{100 * (b / a - 1):+.1f}\u00a0%".replace("-", "−")

    @property
    def evidence(self) -> dict[str, Any]:
        """The values and the verdict, for ``results.json``."""
        return {
            "before": list(self.before),
            "after": list(self.after),
            "verdict": {"none": "no difference"}.get(self.verdict, self.verdict),
        }

    def show(self, values: Sequence[float]) -> str:
        """Write values as their mean, with their range if there are several."""
        form = number if self.is_error else score
        text = form(mean(values))
        low, high = form(min(values)), form(max(values))
        if low != high:
            text += f" ({low} to {high})"
        return text

    def moves(self) -> str:
        """Tell the change as a predicate: «falls from … to …»."""
        a, b = self.show(self.before), self.show(self.after)
        if self.verdict != "none":
            verb = "falls" if self.verdict == "lower" else "rises"
            return f"{verb} from {a} to {b} ({self.change})"
        if self.is_uncertain:
            return f"shows no difference that seeds do not make: {a} and {b}"
        return f"stays practically the same, {a} and {b}"


def number(value: float) -> str:
    """Three significant digits, without an exponent where that stays readable."""
    if value < 0:
        return f"−{number(-value)}"
    if value == 0 or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}"


def score(value: float) -> str:
    """Three decimals, with a true minus sign."""
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")  # + 0.0: nothing is −0.000


def plus_minus(shown: str, half_width: float | None) -> str:
    """Write half the width of an interval as its mean is shown, with as many decimals.

    Parameters
    ----------
    shown
        The mean, as :func:`number`, :func:`score` or :func:`percent` write it.
    half_width
        Of the interval; None, where there is none, is written as nothing.
    """
    if half_width is None:
        return ""
    if "e" in shown:
        return f"±\u00a0{half_width:.2g}"
    digits = shown.removesuffix("\u00a0%")
    scale = 1 if digits == shown else 100
    return f"±\u00a0{scale * half_width:,.{len(digits.partition('.')[2])}f}"


def percent(share: float) -> str:
    """Write a share in percent, with a decimal where it is small."""
    return f"{100 * share:.0f}\u00a0%" if share >= 0.1 else f"{100 * share:.1f}\u00a0%"


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    """Variance that is expected of one value, from several."""
    middle = mean(values)
    return sum((value - middle) ** 2 for value in values) / (len(values) - 1)
