"""Data shared by tests: small, simulated, made once."""

import os

import jax
import numpy as np
import pytest

import cellglass as cg

HOSTILE = ["<script>alert(1)</script>", "=1+1", "$x_$"]
"""Names of classes that would do harm or look odd where they are not escaped."""


def pytest_configure(config):
    """Keep what JAX compiles, for this run's other processes and for the next run."""
    if config.pluginmanager.hasplugin("cacheprovider"):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


@pytest.fixture(scope="session")
def small():
    """60 cells × 20 genes in three groups with hostile names."""
    adata = cg.simulate(60, 20, 3, random_state=1)
    names = np.array(HOSTILE)[adata.obs["label"].astype(int)]
    adata.obs["label"] = names
    adata.uns["cellglass_source"] = {"matrix": "<b>.npy", "labels": "l & l.txt"}
    return adata


@pytest.fixture(scope="session")
def small_comparison(small):
    """Two sizes, two losses, three epochs."""
    return cg.compare(small, n_latent=(2, 3), n_hidden=8, max_epochs=3)


@pytest.fixture
def quick_compilation():
    """Compile programs fast rather than make fast programs."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
