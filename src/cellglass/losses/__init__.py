"""The registry of losses: what a network can be trained to make small."""

from __future__ import annotations

import re

from cellglass.errors import InputError
from cellglass.losses.base import GeneStatistics, Loss
from cellglass.losses.counts import NB, NB_GENE_CELL, POISSON, ZINB
from cellglass.losses.gaussian import GAUSSIAN
from cellglass.losses.squared import MSE, NONZERO_MSE

LOSSES: dict[str, Loss] = {
    loss.name: loss for loss in (MSE, NONZERO_MSE, GAUSSIAN, POISSON, NB, NB_GENE_CELL, ZINB)
}
"""Every loss by its name; a new one is a file in this folder and a word in this row."""


def register(loss: Loss) -> Loss:
    """Make a loss of one's own known under its name, for this process.

    Parameters
    ----------
    loss
        The same again may be registered again.

    Returns
    -------
    Loss
        The loss itself.

    Raises
    ------
    InputError
        If the name is taken by another loss, or is not made of lower-case letters, digits
        and underscores: it becomes part of the names of files.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", loss.name):
        raise InputError(
            f"A loss cannot be called {loss.name!r}: expected lower-case letters, digits and "
            "underscores, a letter first, because the name becomes part of names of files."
        )
    if LOSSES.get(loss.name, loss) != loss:
        raise InputError(
            f"There is another loss called {loss.name!r} already. Choose another name."
        )
    LOSSES[loss.name] = loss
    return loss


__all__ = ["LOSSES", "GeneStatistics", "Loss", "register"]
