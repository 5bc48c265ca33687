"""Whether variational networks have learned what tells cells apart.

Where the divergence from the standard normal distribution costs more than a latent vector
tells of a cell, a network does best to give all cells the same one (posterior collapse,
Bowman et al. 2016, CoNLL 10). So it may be because there is nothing to tell, or because the
divergence had its whole weight before anything was learned.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cellglass.settings import TrainingSettings

ACTIVE = 0.01
"""A dimension tells cells apart if the means of their latent distributions have a variance
above this (Burda, Grosse & Salakhutdinov 2016, ICLR)."""
NAMED = 3
"""Of more networks no names are given."""


def has_collapsed(latent_vectors: np.ndarray) -> bool:
    """Tell whether no dimension tells cells apart.

    Parameters
    ----------
    latent_vectors
        Of a variational network, shape (n_cells, n_latent).
    """
    return not (latent_vectors.var(axis=0) > ACTIVE).any()


def warn_of_collapse(
    latent_vectors: Mapping[str, np.ndarray], settings: TrainingSettings
) -> tuple[str, ...]:
    """Say which networks have collapsed, and what can be done.

    Parameters
    ----------
    latent_vectors
        By the name of the network, each of shape (n_cells, n_latent).
    settings
        What all of them were trained with.

    Returns
    -------
    tuple of str
        One sentence or more as one string, or nothing where no network has collapsed or
        none is variational.
    """
    if not settings.variational:
        return ()
    collapsed = [name for name, Z in latent_vectors.items() if has_collapsed(Z)]
    if not collapsed:
        return ()
    who = f"{len(collapsed)} of {len(latent_vectors)} networks"
    if len(latent_vectors) == 1:
        who = "The network"
    elif len(collapsed) <= NAMED:
        who += f" ({', '.join(collapsed)})"
    return (
        f"{who} learned nothing that tells cells apart: no dimension of the latent vectors has "
        f"a variance above {ACTIVE:g} (posterior collapse). Either the cells differ by noise "
        "alone, or the divergence had its whole weight before anything was learned. Train for "
        f"longer than max_epochs={settings.max_epochs}, give more than "
        f"free_bits={settings.free_bits:g} to each dimension, let the weight grow for longer "
        f"than kl_warmup_epochs={settings.kl_warmup_epochs}, or train without variational.",
    )
