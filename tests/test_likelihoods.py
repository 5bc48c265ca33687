"""Log-likelihoods against scipy, exact sums and automatic differentiation."""

import contextlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.scipy.special import gammaln
from scipy import stats
from scipy.special import expit

from cellglass.losses import likelihoods
from cellglass.losses.likelihoods import (
    gaussian_log_likelihood,
    log_factorial,
    nb_log_likelihood,
    poisson_log_likelihood,
    zinb_log_likelihood,
)

TOLERANCE = 64
"""Units in the last place of the largest term. A sum such as log μ + log φ, up to 28, is
rounded by 16 of its terms' units and then exponentiated; a few roundings come on top."""

PRECISIONS = ["float32", "float64"]


def precision(name):
    """Let JAX compute in that many bits."""
    if name == "float32":
        return contextlib.nullcontext()
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # where JAX is older

    return enable_x64()


@pytest.fixture
def double():
    with precision("float64"):
        yield


GRID = [
    (count, mean, dispersion)
    for count in (0, 1, 2, 3, 5, 17, 400)
    for mean in (1e-3, 0.2, 1.0, 30.0, 2000.0)
    for dispersion in (1e-2, 0.3, 1.0, 8.0, 100.0)
]
COUNTS, MEANS, DISPERSIONS = np.array(GRID).T


def nbinom(dispersion, mean):
    return stats.nbinom(1 / dispersion, 1 / (1 + mean * dispersion))


# Known answers in 64 bits


def test_poisson_equals_scipy(double):
    got = poisson_log_likelihood(COUNTS, np.log(MEANS))
    np.testing.assert_allclose(got, stats.poisson(MEANS).logpmf(COUNTS), rtol=1e-12)


def test_negative_binomial_equals_scipy(double):
    got = nb_log_likelihood(COUNTS, np.log(MEANS), np.log(DISPERSIONS))
    want = nbinom(DISPERSIONS, MEANS).logpmf(COUNTS)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("logit", [-5.0, 0.0, 3.0])
def test_zero_inflated_negative_binomial_equals_the_mixture_of_scipy(double, logit):
    got = zinb_log_likelihood(COUNTS, np.log(MEANS), np.log(DISPERSIONS), logit)
    drawn = nbinom(DISPERSIONS, MEANS).logpmf(COUNTS) + np.log(expit(-logit))
    want = np.where(COUNTS == 0, np.logaddexp(np.log(expit(logit)), drawn), drawn)
    np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


def test_gaussian_equals_scipy(double):
    x, mean, log_variance = np.meshgrid([-3.0, 0.0, 8.0], [-1.0, 0.0, 9.0], [-9.0, 0.0, 5.0])
    want = stats.norm(mean, np.exp(log_variance / 2)).logpdf(x)
    np.testing.assert_allclose(gaussian_log_likelihood(x, mean, log_variance), want, rtol=1e-12)


@pytest.mark.parametrize("name", PRECISIONS)
def test_log_factorial_equals_lgamma(name):
    counts = np.array([0, 1, 2, 3, 4, 5, 10, 1e2, 1e3, 1e4, 1e5, 1e6])
    want = [math.lgamma(count + 1) for count in counts]
    eps = np.finfo(name).eps
    with precision(name):
        got = np.asarray(log_factorial(counts))
    assert got.dtype == name
    assert got[0] == 0
    np.testing.assert_allclose(got, want, rtol=16 * eps, atol=4 * eps)


@pytest.mark.parametrize("logit", [None, -1.0])
def test_probabilities_add_up_to_one_with_the_mean_and_variance_that_are_meant(double, logit):
    mean, dispersion = 3.0, 0.7
    x = np.arange(2000.0)
    if logit is None:
        kept = 1.0
        p = np.exp(nb_log_likelihood(x, np.log(mean), np.log(dispersion)))
    else:
        kept = expit(-logit)
        p = np.exp(zinb_log_likelihood(x, np.log(mean), np.log(dispersion), logit))
    second_moment = mean + (dispersion + 1) * mean**2
    assert p.sum() == pytest.approx(1, rel=1e-12)
    assert (p * x).sum() == pytest.approx(kept * mean, rel=1e-12)
    assert (p * x**2).sum() == pytest.approx(kept * second_moment, rel=1e-12)


def test_counts_that_are_not_whole_go_by_the_gamma_function(double):
    x, theta, mean = np.array([0.25, 0.5, 1.5, 7.7]), 0.8, 2.0
    want = (
        gammaln(x + theta) - gammaln(theta) - gammaln(x + 1)
        + theta * np.log(theta / (theta + mean)) + x * np.log(mean / (theta + mean))
    )  # fmt: skip
    got = nb_log_likelihood(x, np.log(mean), -np.log(theta))
    np.testing.assert_allclose(got, want, rtol=1e-12)


# The extremes, by sums over every smaller count


def exact(x, m, a, logit):
    """Values and derivatives in 64 bits by exact sums, each with its largest term."""
    theta, phi_mu = math.exp(-a), math.exp(m + a)
    k = np.arange(x)
    rising = np.log1p(k * math.exp(a)).sum()
    by_rising = (k / (theta + k)).sum()
    softplus, u = math.log1p(phi_mu), phi_mu / (1 + phi_mu)
    # log1p(z) − z / (1 + z) = Σ (−1)ⁿ (n − 1) / n zⁿ from n = 2 on
    excess = softplus - u
    if phi_mu < 0.3:
        excess = math.fsum((-1) ** n * (n - 1) / n * phi_mu**n for n in range(2, 40))
    factorial = math.lgamma(x + 1)
    nb = rising - factorial + x * m - (x + theta) * softplus
    by_m = (x - math.exp(m)) / (1 + phi_mu)
    by_a = by_rising + theta * excess - x * u

    log_pi, log_kept = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
    drawn, zinb = 1.0, log_kept + nb
    by_logit, largest_logit = -expit(logit), expit(logit)
    if x == 0:
        zinb = np.logaddexp(log_pi, zinb)
        drawn = math.exp(log_kept + nb - zinb)
        by_logit = expit(logit - nb) * expit(-logit) * -math.expm1(nb)
        largest_logit = expit(logit - nb)
    poisson = x * m - math.exp(m) - factorial

    # x counts as a term, since the gamma functions hold −x in Stirling's formula
    largest = max(x * abs(m), x * abs(a), factorial, (x + theta) * softplus, x)
    largest_m = max(x / (1 + phi_mu), theta * u)
    largest_a = max(by_rising, theta * excess, x * u, x / (theta + 1))
    return {
        "poisson": (poisson, max(x * abs(m), math.exp(m), factorial, x)),
        "nb": (nb, largest),
        "nb by log_mean": (by_m, largest_m),
        "nb by log_dispersion": (by_a, largest_a),
        "zinb": (zinb, max(largest, -log_kept, abs(logit) if x == 0 else 0)),
        "zinb by log_mean": (by_m * drawn, largest_m),
        "zinb by log_dispersion": (by_a * drawn, largest_a),
        "zinb by dropout_logit": (by_logit, largest_logit),
    }


@jax.jit
def computed(x, m, a, logit):
    """The same by the module."""
    nb, nb_slopes = jax.value_and_grad(nb_log_likelihood, (1, 2))(x, m, a)
    zinb, zinb_slopes = jax.value_and_grad(zinb_log_likelihood, (1, 2, 3))(x, m, a, logit)
    return {
        "poisson": poisson_log_likelihood(x, m),
        "nb": nb,
        "nb by log_mean": nb_slopes[0],
        "nb by log_dispersion": nb_slopes[1],
        "zinb": zinb,
        "zinb by log_mean": zinb_slopes[0],
        "zinb by log_dispersion": zinb_slopes[1],
        "zinb by dropout_logit": zinb_slopes[2],
    }


def single(low, high):
    """Numbers of 32 bits; subnormal ones are flushed to zero by the processor."""
    low, high = float(np.float32(low)), float(np.float32(high))
    return st.floats(low, high, width=32, allow_subnormal=False)


LOG_MEANS = single(math.log(1e-8), math.log(1e6))
LOG_DISPERSIONS = single(math.log(1e-6), math.log(1e6))
LOGITS = single(-30, 30)
EXTREME_COUNTS = st.one_of(
    st.integers(0, 10), st.floats(0, math.log(1e6)).map(lambda v: round(math.exp(v)))
)


@pytest.mark.parametrize("name", PRECISIONS)
@settings(max_examples=300, deadline=None)
@given(x=EXTREME_COUNTS, m=LOG_MEANS, a=LOG_DISPERSIONS, logit=LOGITS)
@example(x=1_000_000, m=13.8125, a=-13.8125, logit=-30.0)
@example(x=1_000_000, m=-18.25, a=13.8125, logit=30.0)
@example(x=1, m=-18.25, a=-13.8125, logit=0.0)
@example(x=2, m=0.0, a=-13.8125, logit=0.0)
@example(x=4, m=0.0, a=13.8125, logit=0.0)
@example(x=0, m=13.8125, a=-13.8125, logit=-30.0)
@example(x=0, m=-18.25, a=13.8125, logit=30.0)
def test_values_and_derivatives_equal_exact_sums_in_the_extremes(name, x, m, a, logit):
    with precision(name):
        got = computed(*(jnp.asarray(value, name) for value in (x, m, a, logit)))
    for what, (want, largest) in exact(x, m, a, logit).items():
        assert got[what].dtype == name
        error = abs(float(got[what]) - want)
        # Below 1e-37 numbers of 32 bits are flushed to zero.
        bound = TOLERANCE * np.finfo(name).eps * largest + 1e-37
        assert error <= bound, f"{what}: {float(got[what])!r}, not {want!r} ± {bound:.3g}"


@settings(max_examples=300, deadline=None)
@given(x=EXTREME_COUNTS, m=single(-80, 80), a=single(-30, 30), logit=single(-80, 80))
def test_nothing_overflows_far_beyond_the_extremes(x, m, a, logit):
    got = computed(*(jnp.asarray(value, "float32") for value in (x, m, a, logit)))
    assert all(np.isfinite(value) for value in got.values()), got


# The same by other ways


def plain_nb(x, m, a):
    theta, mu = jnp.exp(-a), jnp.exp(m)
    return (
        gammaln(x + theta) - gammaln(theta) - gammaln(x + 1)
        + theta * jnp.log(theta / (theta + mu)) + x * jnp.log(mu / (theta + mu))
    )  # fmt: skip


def plain_zinb(x, m, a, logit):
    nb = plain_nb(x, m, a)
    zero = jnp.logaddexp(jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit) + nb)
    return jnp.where(x == 0, zero, jax.nn.log_sigmoid(-logit) + nb)


def test_derivatives_equal_automatic_ones_of_the_plain_formulas(double):
    logits = np.linspace(-4, 4, len(COUNTS))
    arguments = COUNTS, np.log(MEANS), np.log(DISPERSIONS), logits
    for ours, plain, n in [
        (nb_log_likelihood, plain_nb, 3),
        (zinb_log_likelihood, plain_zinb, 4),
    ]:
        which = tuple(range(1, n))
        got = jax.jit(jax.grad(lambda *p, f=ours: f(*p).sum(), which))(*arguments[:n])
        want = jax.jit(jax.grad(lambda *p, f=plain: f(*p).sum(), which))(*arguments[:n])
        for ours_by, plain_by in zip(got, want, strict=True):
            np.testing.assert_allclose(ours_by, plain_by, rtol=1e-7, atol=1e-9)


def test_a_vanishing_dispersion_gives_poisson():
    x = np.arange(8.0)
    np.testing.assert_allclose(
        nb_log_likelihood(x, 0.5, -30.0), poisson_log_likelihood(x, 0.5), rtol=1e-6, atol=1e-6
    )


def test_no_dropout_gives_the_negative_binomial():
    x = np.arange(8.0)
    np.testing.assert_allclose(
        zinb_log_likelihood(x, 0.5, 0.1, -40.0), nb_log_likelihood(x, 0.5, 0.1), rtol=1e-6
    )


def test_a_dispersion_for_each_gene_gets_the_sum_over_its_cells():
    rng = np.random.default_rng(0)
    x = rng.poisson(2.0, (5, 3)).astype("float32")
    m, a = rng.normal(size=(5, 3)), rng.normal(size=3)

    slope = jax.jit(jax.grad(lambda a: nb_log_likelihood(x, m, a).sum()))
    by_gene, by_entry = slope(jnp.asarray(a)), slope(jnp.tile(a, (5, 1)))
    assert by_gene.shape == (3,)
    np.testing.assert_allclose(by_gene, by_entry.sum(axis=0), rtol=1e-5)


def test_counts_may_be_whole_numbers_and_stay_constants():
    x, rest = np.array([0, 1, 7]), (np.float32(0.5), np.float32(-0.2), np.float32(0.3))
    for function, n in [
        (poisson_log_likelihood, 1), (nb_log_likelihood, 2), (zinb_log_likelihood, 3)
    ]:  # fmt: skip
        of_integers = function(x, *rest[:n])
        assert of_integers.dtype == "float32"
        np.testing.assert_array_equal(of_integers, function(x.astype("float32"), *rest[:n]))
        slope = jax.grad(lambda v, f=function, n=n: f(v, *rest[:n]).sum())(x.astype("float32"))
        np.testing.assert_array_equal(slope, 0)


def test_32_bits_stay_32_where_64_are_allowed(double):
    arguments = np.float32([2, 0.5, -0.2, 0.3])
    assert zinb_log_likelihood(*arguments).dtype == "float32"
    assert zinb_log_likelihood(*arguments[:3], np.float64(0.3)).dtype == "float64"


@pytest.mark.parametrize("name", ["poisson", "nb", "zinb"])
def test_the_factorial_can_be_taken_apart(name):
    function = getattr(likelihoods, f"{name}_log_likelihood")
    x = np.array([0.0, 1.0, 7.0, 300.0])
    rest = (0.5, -0.2, 0.3)[: {"poisson": 1, "nb": 2, "zinb": 3}[name]]
    apart = function(x, *rest, with_factorial=False) - log_factorial(x)
    np.testing.assert_allclose(apart, function(x, *rest), rtol=1e-6)
