"""Networks that learned nothing are told from those that did, and the default avoids them."""

import numpy as np
import pytest

import cellglass as cg
from cellglass.collapse import ACTIVE, has_collapsed, warn_of_collapse
from cellglass.metrics import AGREEMENT
from cellglass.settings import TrainingSettings

VARIATIONAL = TrainingSettings(
    variational=True, max_epochs=7, kl_warmup_epochs=3, free_bits=0.125
)


def latent_vectors(*variances: float) -> np.ndarray:
    """Two cells whose dimensions have these variances, exactly."""
    return np.outer([1, -1], np.sqrt(variances))


def test_one_dimension_that_varies_is_enough():
    assert has_collapsed(latent_vectors(0, 0.99 * ACTIVE))
    assert not has_collapsed(latent_vectors(0, 1.01 * ACTIVE))
    assert has_collapsed(latent_vectors(0, 0) + 5)  # the same for all cells, though not zero


def test_it_is_said_which_networks_have_collapsed_and_what_can_be_done():
    dead, alive = latent_vectors(0, 0), latent_vectors(1, 0)
    said = warn_of_collapse({"a": dead, "b": alive, "c": dead}, VARIATIONAL)
    assert len(said) == 1
    assert said[0].startswith("2 of 3 networks (a, c) learned nothing that tells cells apart")
    assert "max_epochs=7" in said[0]
    assert "kl_warmup_epochs=3" in said[0]
    assert "free_bits=0.125" in said[0]
    assert warn_of_collapse({"a": dead}, VARIATIONAL)[0].startswith("The network learned")
    many = warn_of_collapse({str(i): dead for i in range(4)}, VARIATIONAL)
    assert many[0].startswith("4 of 4 networks learned")


def test_nothing_is_said_of_networks_that_learned_or_are_not_variational():
    assert warn_of_collapse({"a": latent_vectors(1, 0)}, VARIATIONAL) == ()
    assert warn_of_collapse({"a": latent_vectors(0, 0)}, TrainingSettings()) == ()


@pytest.fixture(scope="module")
def faint():
    """Groups that differ by ten genes each among much noise."""
    adata = cg.simulate(1500, 200, 5, random_state=1)
    return adata.layers["counts"], np.unique(adata.obs["label"], return_inverse=True)[1]


def test_faint_groups_are_found_where_each_dimension_has_free_bits(faint):
    X, groups = faint
    found = cg.cluster(X, "kmeans", n_clusters=5)
    assert found.settings.free_bits > 0
    assert found.warnings == ()
    assert AGREEMENT["ari"](groups, found.clusters) > 0.35


@pytest.mark.slow
@pytest.mark.parametrize(
    "size",
    [(1500, 200, 5), (300, 1000, 4), (300, 400, 4)],
    ids=["faint", "few cells", "few cells and genes"],
)
def test_the_default_is_no_worse_than_its_median_member_on_simulated_cells(size):
    """With principal components, which of few cells have as many votes as all networks."""
    adata = cg.simulate(*size, random_state=1)
    found = cg.cluster(adata.layers["counts"], n_clusters=size[2])
    of_members = [AGREEMENT["ari"](adata.obs["label"], m) for m in found.found.members]
    assert len(of_members) == 5
    assert AGREEMENT["ari"](adata.obs["label"], found.clusters) >= np.median(of_members)


@pytest.mark.slow
def test_of_faint_groups_a_network_learns_nothing_under_the_whole_divergence(faint):
    X, groups = faint
    found = cg.cluster(X, "kmeans", n_clusters=5, free_bits=0)
    assert AGREEMENT["ari"](groups, found.clusters) < 0.05
    assert [said[:40] for said in found.warnings] == [
        "The network learned nothing that tells c"
    ]
    assert found.summary["dataset"]["warnings"] == list(found.warnings)


NOTHING = {"loss": "nb", "variational": True, "kl_warmup_epochs": 0, "free_bits": 0,
           "max_epochs": 60, "learning_rate": 0.01}  # fmt: skip


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).poisson(1.0, (1000, 20))


def test_every_way_to_train_tells_of_it(noise):
    with pytest.warns(UserWarning, match="The network learned nothing"):
        cg.Autoencoder(n_latent=2, **NOTHING).fit(noise)
    adata = cg.simulate(1000, 20, 1, random_state=0)
    adata.X = noise
    with pytest.warns(UserWarning, match="The network learned nothing"):
        cg.tl.autoencoder(adata, n_latent=2, **NOTHING)
    comparison = cg.compare(noise, n_latent=2, seeds=2, **NOTHING)
    assert comparison.warnings[0].startswith("2 of 2 networks (nb_2_seed0, nb_2_seed1) learned")
    assert comparison.summary["dataset"]["warnings"] == list(comparison.warnings)
