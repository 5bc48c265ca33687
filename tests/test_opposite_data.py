"""From data of opposite kinds, the whole path comes to opposite conclusions."""

import numpy as np
import pytest

import cellglass as cg

SIZE, RECONSTRUCTION, LATENT, LOSS = range(4)
LINEAR = {"n_layers": 0, "max_epochs": 80, "learning_rate": 0.01, "batch_size": 50}


@pytest.fixture(scope="module", autouse=True)
def no_tsne():
    """Leave out t-SNE, which no conclusion looks at."""
    from importlib import import_module

    with pytest.MonkeyPatch.context() as patch:
        module = import_module("cellglass.project")
        patch.setattr(module, "tsne", lambda scores, **_: scores[:, :2])
        yield


def answers(X, labels=None, **options):
    import anndata

    adata = anndata.AnnData(X.astype(np.float32))
    if labels is not None:
        adata.obs["label"] = labels
    summary = cg.compare(adata, loss="mse", **(LINEAR | options)).summary
    return [item["answer"] for item in summary["conclusions"]]


def factors(rng, n_cells=200, n_genes=40, rank=10):
    """Ten programmes of genes that all cells mix, with little noise: ten true dimensions."""
    X = rng.gamma(1.0, size=(n_cells, rank)) @ rng.gamma(0.3, size=(rank, n_genes))
    return X + 0.05 * rng.gamma(1.0, size=X.shape)


def noise(rng, n_cells=200, n_genes=40):
    """Every entry for itself: no dimensions at all."""
    return rng.gamma(1.0, size=(n_cells, n_genes))


def test_more_dimensions_help_new_cells_only_where_there_are_dimensions():
    rng = np.random.default_rng(0)
    structured = answers(factors(rng), n_latent=(1, 10))[SIZE]
    assert "gets better, of new cells too" in structured
    assert "does not show that there is more structure" in structured
    # 30 cells to learn from, each of which a network this wide can store.
    storing = {"n_layers": 1, "n_hidden": 100, "max_epochs": 300, "validation_fraction": 0.9}
    storing |= {"batch_size": 16, "learning_rate": 1e-3}
    random = answers(noise(rng, 300, 200), n_latent=(2, 50), **storing)[SIZE]
    assert "training cells gets better, that of cells never trained on gets worse" in random
    assert "without describing new ones better" in random


def test_classes_stand_apart_only_where_labels_mean_something():
    rng = np.random.default_rng(1)
    labels = np.repeat(["a", "b"], 100)
    X = noise(rng) + np.where(labels[:, None] == "a", 1.0, 0.0) * (np.arange(40) < 20)
    true = answers(X, labels, n_latent=2)
    assert "stand further apart" in true[RECONSTRUCTION]
    shuffled = answers(X, rng.permutation(labels), n_latent=2)
    assert "are separated in it as they were" in shuffled[RECONSTRUCTION]


def test_masking_the_zeros_changes_sides_with_what_the_zeros_mean():
    rng = np.random.default_rng(2)
    labels = np.repeat(["a", "b"], 100)

    def verdict(X):
        import anndata

        adata = anndata.AnnData(X.astype(np.float32))
        adata.obs["label"] = labels
        options = {**LINEAR, "n_latent": 2, "loss": ("mse", "nonzero_mse")}
        return cg.compare(adata, **options).summary["conclusions"][LOSS]

    with_zeros = noise(rng) * (rng.random((200, 40)) < 0.4)
    masked = verdict(with_zeros)["evidence"]["nonzero_mse"]
    assert masked["mse_nonzero"]["verdict"] == "lower"
    assert masked["mse_zero"]["verdict"] == "higher"
    without = verdict(noise(rng) + 0.1)  # nothing is zero: the two losses are one
    assert "no better" in without["short"]
    assert "mse_zero" not in without["evidence"]["nonzero_mse"]
