"""Denoising: what is held out, what models see of it, and what they bring back."""

import jax.numpy as jnp
import numpy as np
import pytest

import cellglass as cg
from cellglass import denoising
from cellglass.denoising import score_denoising
from cellglass.dispersion import fit_dispersion
from cellglass.held_out_errors import poisson_deviance, rates_from_log
from cellglass.preprocess import Preprocessor
from cellglass.splitting import split_counts


def test_denoising_brings_expression_back(counts):
    found = score_denoising(
        counts,
        loss=("nb", "mse"),
        n_latent=3,
        n_hidden=16,
        max_epochs=200,
        learning_rate=1e-2,
        random_state=1,
    ).set_index("model")
    assert list(found.index) == ["nb", "mse", "pca", "thinned counts"]
    for model in ("nb", "mse", "pca"):
        assert found.loc[model, "recovery_correlation"] > 0.4
        assert found.loc[model, "recovery_mse"] < found.loc["thinned counts", "recovery_mse"]
    logs = counts.copy()
    logs.X = np.log1p(counts.X) + 0.5
    with pytest.raises(cg.InputError, match="takes raw counts"):
        score_denoising(logs)


def test_models_see_one_half_and_are_judged_by_the_other(counts, monkeypatch):
    real, given = denoising.train_network, []

    def train(rows, *args, **kwargs):
        given.append(np.asarray(rows.take(jnp.arange(counts.n_obs))))
        return real(rows, *args, **kwargs)

    monkeypatch.setattr(denoising, "train_network", train)
    told = []
    expectation = denoising.reconstruct
    monkeypatch.setattr(
        denoising, "reconstruct", lambda *a: told.append(expectation(*a)) or told[-1]
    )
    found = score_denoising(counts, n_latent=3, max_epochs=5, random_state=4)

    rng = np.random.default_rng(4)
    seen, unseen = split_counts(counts.X, rng, dispersion=fit_dispersion(counts.X, rng))
    np.testing.assert_array_equal(np.asarray(seen + unseen), counts.X)
    of_seen = Preprocessor.fit(counts.X).transform(np.asarray(seen))
    np.testing.assert_allclose(given[0], of_seen, rtol=1e-6)

    by_model = found.set_index("model")["held_out_deviance"]
    expected = poisson_deviance(rates_from_log(told[0]), seen, unseen)
    assert by_model["nb"] == pytest.approx(expected)
    u, s, axes = np.linalg.svd(of_seen - of_seen.mean(axis=0), full_matrices=False)
    of_rank_3 = (u[:, :3] * s[:3]) @ axes[:3] + of_seen.mean(axis=0)
    expected = poisson_deviance(rates_from_log(of_rank_3), seen, unseen)
    assert by_model["pca"] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(by_model["thinned counts"])


def test_a_network_is_judged_again_after_idec(counts, monkeypatch):
    real, joint = denoising.idec, []

    def train_further(network, rows, *args, **kwargs):
        joint.append(real(network, rows, *args, **kwargs))
        return joint[-1]

    monkeypatch.setattr(denoising, "idec", train_further)
    told = []
    expectation = denoising.reconstruct
    monkeypatch.setattr(
        denoising, "reconstruct", lambda *a: told.append((a[0], expectation(*a))) or told[-1][1]
    )
    found = score_denoising(counts, n_latent=3, n_clusters=3, max_epochs=5, random_state=4)
    assert list(found["model"]) == ["nb", "nb, IDEC", "pca", "thinned counts"]
    (_, before), (network, after) = told
    assert network is joint[0].network and len(joint[0].centers) == 3
    rng = np.random.default_rng(4)
    seen, unseen = split_counts(counts.X, rng, dispersion=fit_dispersion(counts.X, rng))
    by_model = found.set_index("model")["held_out_deviance"]
    for model, logs in (("nb", before), ("nb, IDEC", after)):
        expected = poisson_deviance(rates_from_log(logs), seen, unseen)
        assert by_model[model] == pytest.approx(expected)
    assert by_model["nb"] != by_model["nb, IDEC"]
    with pytest.raises(cg.InputError, match="n_clusters is 0"):
        score_denoising(counts, n_clusters=0)


def test_whoever_knows_the_rates_is_nearest_to_the_molecules_that_were_not_seen(counts):
    """An oracle bounds what a model can come to."""
    found = score_denoising(
        counts, n_latent=3, n_hidden=16, max_epochs=200, learning_rate=1e-2, random_state=1
    ).set_index("model")["held_out_deviance"]
    rng = np.random.default_rng(1)
    seen, unseen = split_counts(counts.X, rng, dispersion=fit_dispersion(counts.X, rng))
    group = counts.obs["label"].str[-1].astype(int).to_numpy()
    rates = np.full((150, 45), 1.0)
    rates[np.arange(45) // 15 == group[:, None]] = 6.0
    best = poisson_deviance(1e4 * rates / rates.sum(axis=1, keepdims=True), seen, unseen)
    flat = poisson_deviance(np.full((150, 45), 1e4 / 45), seen, unseen)
    assert best < found["nb"] < flat
    assert found["nb"] < found["pca"]


def test_genes_that_do_not_vary_but_for_rounding_have_no_correlation():
    rng = np.random.default_rng(0)
    truth = rng.random((200, 3))
    said = np.column_stack([truth[:, 0], 2 + 1e-9 * rng.random(200), truth[:, 2]])
    assert denoising._recovery(said, truth)["recovery_correlation"] == pytest.approx(1)
