"""Log-likelihoods of counts and of real values, entry by entry.

Every function works on single entries, broadcasts its arguments and can be traced and
differentiated by JAX. It computes in 32 bits, or in 64 if an argument has 64. Counts are
data: derivatives with respect to them are zero.

The error of a value or of a derivative is at most 64 units in the last place of the largest
term that is added up on the way, for means from 1e-8 to 1e6, dispersions from 1e-6 to 1e6,
counts to 1e6 and logits of dropout from -30 to 30. Most of it is the rounding of log μ + log φ
or of a logit, numbers as large as 30 that are then exponentiated. Log means to ±80 and log
dispersions to ±30 still give finite values and derivatives in 32 bits.

The gamma functions of the negative binomial are taken together as

    R(θ, x) = log Γ(x + θ) − log Γ(θ) − x log θ = Σ_{k<x} log(1 + k/θ),    θ = 1/φ,

because they cancel: for a large θ their difference has no correct digit in 32 bits.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

LOG_2PI = math.log(2 * math.pi)

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
"""The Bernoulli numbers B₂, B₄, …"""

STIRLING = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, start=1))
"""log Γ(z) = (z − ½) log z − z + ½ log 2π + Σ_k STIRLING[k − 1] / z²ᵏ⁻¹ for a large z
(Abramowitz & Stegun 1964, 6.1.40)."""

SERIES = {"float32": (4, 3, 6), "float64": (10, 7, 16)}
"""By precision: the (even) number that is added to the argument of Γ to make it large
enough, the terms of Stirling's series, and the terms of artanh's."""


def poisson_log_likelihood(
    counts: ArrayLike, log_mean: ArrayLike, *, with_factorial: bool = True
) -> Array:
    """Log-probability of counts that are Poisson around a mean μ.

    log P(x) = x log μ − μ − log x!

    Parameters
    ----------
    counts
        Raw counts x, of any shape.
    log_mean
        log μ, of a shape that broadcasts with it.
    with_factorial
        Whether −log x! is part of the value. It does not depend on the mean: who needs it
        again and again may compute :func:`log_factorial` once. Default: it is.

    Returns
    -------
    Array
        In nats, of the broadcast shape.
    """
    x, log_mu = _data_and_parameters(counts, log_mean)
    return _with_factorial(x * log_mu - jnp.exp(log_mu), x, with_factorial)


def nb_log_likelihood(
    counts: ArrayLike,
    log_mean: ArrayLike,
    log_dispersion: ArrayLike,
    *,
    with_factorial: bool = True,
) -> Array:
    """Log-probability of counts that are negative binomial around a mean μ.

    With the dispersion φ the variance is μ + φμ², as in Hilbe (2011), where it is called
    NB2, and in Love et al. (2014, DESeq2). With θ = 1/φ and R as on top of this module,

    log P(x) = R(θ, x) − log x! + x log μ − (x + θ) log(1 + μ/θ).

    Parameters
    ----------
    counts
        Raw counts x, of any shape.
    log_mean
        log μ, of a shape that broadcasts with it.
    log_dispersion
        log φ, likewise: one for all, one a gene, shape (n_genes,), or one an entry.
    with_factorial
        Whether −log x! is part of the value, see :func:`poisson_log_likelihood`.

    Returns
    -------
    Array
        In nats, of the broadcast shape.
    """
    parameters = _data_and_parameters(counts, log_mean, log_dispersion)
    return _with_factorial(_nb(*parameters), parameters[0], with_factorial)


def zinb_log_likelihood(
    counts: ArrayLike,
    log_mean: ArrayLike,
    log_dispersion: ArrayLike,
    dropout_logit: ArrayLike,
    *,
    with_factorial: bool = True,
) -> Array:
    """Log-probability of negative binomial counts of which some were replaced by 0.

    With probability π a count is 0 whatever it was; otherwise it is that of
    :func:`nb_log_likelihood`, P_NB (Lambert 1992 for Poisson counts, Greene 1994 for these;
    Eraslan et al. 2019 in an autoencoder, DCA):

    log P(0) = log(π + (1 − π) P_NB(0)),    log P(x) = log(1 − π) + log P_NB(x) for x > 0.

    Parameters
    ----------
    counts
        Raw counts x, of any shape.
    log_mean
        log μ before any count is replaced, of a shape that broadcasts with it.
    log_dispersion
        log φ, likewise.
    dropout_logit
        log(π / (1 − π)), likewise.
    with_factorial
        Whether −log x! is part of the value, see :func:`poisson_log_likelihood`.

    Returns
    -------
    Array
        In nats, of the broadcast shape.
    """
    parameters = _data_and_parameters(counts, log_mean, log_dispersion, dropout_logit)
    return _with_factorial(_zinb(*parameters), parameters[0], with_factorial)


def gaussian_log_likelihood(
    values: ArrayLike, mean: ArrayLike, log_variance: ArrayLike
) -> Array:
    """Log-density of values that are normal around a mean (Nix & Weigend 1994, eq. 2).

    log p(x) = −½ (log 2π + log σ² + (x − mean)² / σ²)

    Parameters
    ----------
    values
        Real values x, such as log-normalised ones, of any shape.
    mean
        Of a shape that broadcasts with it, in the same units.
    log_variance
        log σ², likewise.

    Returns
    -------
    Array
        In nats, of the broadcast shape.
    """
    x, center, log_var = _data_and_parameters(values, mean, log_variance)
    return -0.5 * (LOG_2PI + log_var + jnp.square(x - center) * jnp.exp(-log_var))


def log_factorial(counts: ArrayLike) -> Array:
    """Give log x! = log Γ(x + 1) for raw counts x of any shape; same shape.

    It is R(1, x), and exactly 0 for x = 0.
    """
    (x,) = _data_and_parameters(counts)
    return _log_rising(jnp.ones((), x.dtype), x)[0]


def _data_and_parameters(data: ArrayLike, *parameters: ArrayLike) -> tuple[Array, ...]:
    """Bring all to one precision, the data as constants."""
    dtype = jnp.result_type(jnp.float32, data, *parameters)
    constant = jax.lax.stop_gradient(jnp.asarray(data, dtype))
    return constant, *(jnp.asarray(parameter, dtype) for parameter in parameters)


def _with_factorial(value: Array, x: Array, with_factorial: bool) -> Array:
    return value - log_factorial(x) if with_factorial else value


# The derivatives are written out: those that JAX derives are slower and not always finite.
# Operations are so arranged that XLA can share exponentials, logarithms and divisions
# between value and derivatives without computing any of them twice.


@jax.custom_jvp
def _nb(x: Array, log_mu: Array, log_phi: Array) -> Array:
    """Give log P_NB(x) + log x!."""
    return _nb_and_slopes(x, log_mu, log_phi)[0]


@_nb.defjvp
def _nb_jvp(
    primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    value, by_log_mu, by_log_phi, _ = _nb_and_slopes(*primals)
    _, log_mu_dot, log_phi_dot = tangents
    return value, by_log_mu * log_mu_dot + by_log_phi * log_phi_dot


@jax.custom_jvp
def _zinb(x: Array, log_mu: Array, log_phi: Array, logit: Array) -> Array:
    """Give log P_ZINB(x) + log x!."""
    return _zinb_and_slopes(x, log_mu, log_phi, logit)[0]


@_zinb.defjvp
def _zinb_jvp(
    primals: tuple[Array, Array, Array, Array], tangents: tuple[Array, Array, Array, Array]
) -> tuple[Array, Array]:
    value, by_log_mu, by_log_phi, by_logit = _zinb_and_slopes(*primals)
    _, log_mu_dot, log_phi_dot, logit_dot = tangents
    return value, by_log_mu * log_mu_dot + by_log_phi * log_phi_dot + by_logit * logit_dot


def _nb_and_slopes(
    x: Array, log_mu: Array, log_phi: Array
) -> tuple[Array, Array, Array, Array]:
    """Give log P_NB(x) + log x!, its derivatives by log μ and log φ, and −log P_NB(0)."""
    theta = jnp.exp(-log_phi)
    s = log_mu + log_phi  # log φμ
    e = jnp.exp(-jnp.abs(s))  # at most 1
    inverse = 1 / (1 + e)
    u = jnp.where(s > 0, 1, e) * inverse  # φμ / (1 + φμ)
    v, log1p_rest = _log1p(e)
    softplus = jnp.maximum(s, 0) + (2 * v + log1p_rest)  # log(1 + φμ)
    # log(1 + φμ) − u: for a small φμ the difference of two numbers that are almost equal.
    # There e / (1 + e) = 2v − ev / (1 + e), so that 2v cancels on paper.
    excess = jnp.where(s > 0, softplus - u, v * u + log1p_rest)

    rising, by_rising = _log_rising(theta, x)
    value = rising + x * log_mu - (x + theta) * softplus
    by_log_mu = x * (jnp.where(s > 0, e, 1) * inverse) - theta * u
    by_log_phi = by_rising + theta * excess - x * u
    return value, by_log_mu, by_log_phi, theta * softplus


def _zinb_and_slopes(
    x: Array, log_mu: Array, log_phi: Array, logit: Array
) -> tuple[Array, Array, Array, Array]:
    """Give log P_ZINB(x) + log x!, and its derivatives by log μ, log φ and the logit."""
    nb, by_log_mu, by_log_phi, cost = _nb_and_slopes(x, log_mu, log_phi)
    zero = x == 0
    odds = logit + cost  # log odds that a zero is a dropout
    e_odds, e_logit = jnp.exp(-jnp.abs(odds)), jnp.exp(-jnp.abs(logit))
    inverse_odds, inverse_logit = 1 / (1 + e_odds), 1 / (1 + e_logit)
    # At a zero log(e^logit + e^−cost), elsewhere nb; everywhere less log(1 + e^logit).
    value = (
        jnp.where(zero, jnp.maximum(logit, -cost), nb)
        - jnp.maximum(logit, 0)
        + jnp.log1p((jnp.where(zero, e_odds, 0) - e_logit) * inverse_logit)
    )
    drawn = jnp.where(zero, jnp.where(odds > 0, e_odds, 1) * inverse_odds, 1)
    dropped = jnp.where(zero, jnp.where(odds > 0, 1, e_odds) * inverse_odds, 0)
    pi = jnp.where(logit > 0, 1, e_logit) * inverse_logit
    return value, drawn * by_log_mu, drawn * by_log_phi, dropped - pi


def _log_rising(theta: Array, x: Array) -> tuple[Array, Array]:
    """R(θ, x) = Σ_{k<x} log(1 + k/θ), and −θ ∂R/∂θ = Σ_{k<x} k / (θ + k).

    By Γ(z + 1) = z Γ(z), with a shift n and t = θ + n,

    R(θ, x) = log Γ(t + x) − log Γ(t) − x log θ + log ∏_{k<n} (θ + k) / (θ + x + k),

    where Stirling's series (`STIRLING`) is good enough for log Γ(t + x) − log Γ(t):

    (t + x − ½) log(1 + w) + x log t − x + Σ …,    w = x / t.

    Differences are taken on paper wherever they would cancel, and both results are exactly 0
    for x = 0.
    """
    shift, n_terms, _ = SERIES[x.dtype.name]
    t, last = theta + shift, shift - 1
    r, r0 = 1 / (t + x), 1 / t
    w = x * r0
    v, log1p_rest = _log1p(w)
    log1p_w = jnp.where(w < 1, 2 * v + log1p_rest, jnp.log(1 + w))
    excess = jnp.where(w < 1, v * w - log1p_rest, w - log1p_w)  # w − log(1 + w)
    stirling, by_stirling = _stirling(r, n_terms)
    stirling0, by_stirling0 = _stirling(r0, n_terms)

    # In pairs (z + k)(z + n − 1 − k) = z (z + n − 1) + k (n − 1 − k), which has no overflow.
    z = theta + x
    q, q0 = z * (z + last), theta * (theta + last)
    product, by_product = jnp.ones_like(q), jnp.zeros_like(q)
    for k in range(shift // 2):
        c = k * (last - k)
        inverse, inverse0 = 1 / (q + c), 1 / (q0 + c)
        product *= (q0 + c) * inverse
        by_product += (2 * theta * z + last * (theta + z + last) - 2 * c) * inverse0 * inverse

    value = (
        (t + x - 0.5) * log1p_w
        + x * (jnp.log1p(shift / theta) - 1)
        + (stirling - stirling0)
        + jnp.log(product)
    )
    slope = (
        t * excess
        + shift * log1p_w
        - theta * (0.5 * w * r + (by_stirling - by_stirling0) + x * by_product)
    )
    return jnp.where(x > 0, value, 0), jnp.where(x > 0, slope, 0)


def _stirling(r: Array, n_terms: int) -> tuple[Array, Array]:
    """Σ_k STIRLING[k − 1] / z²ᵏ⁻¹ with r = 1/z, and its derivative by z."""
    r2 = r * r
    value, slope = jnp.zeros_like(r), jnp.zeros_like(r)
    for k in range(n_terms, 0, -1):
        value = value * r2 + STIRLING[k - 1]
        slope = slope * r2 + (2 * k - 1) * STIRLING[k - 1]
    return r * value, -r2 * slope


def _log1p(x: Array) -> tuple[Array, Array]:
    """Give v = x / (2 + x), and log(1 + x) − 2v, for 0 ≤ x ≤ 1.

    That is 2 artanh v − 2v = 2v³ (1/3 + v²/5 + v⁴/7 + …), which is cheaper than ``log1p``
    and keeps its relative precision where 2v is taken away.
    """
    v = x / (2 + x)
    v2 = v * v
    series = jnp.zeros_like(v)
    for k in range(SERIES[x.dtype.name][2], 0, -1):
        series = series * v2 + 2 / (2 * k + 1)
    return v, v * v2 * series
