"""Every check on what enters, with the message a user reads when it fails.

Each function returns ``None`` when all is well and raises
:class:`~cellglass.errors.InputError` when it is not. Its docstring is the one place
where its rules are written down.
"""

from cellglass.checks.matrix import (
    ConstantGenes,
    check_array,
    check_counts,
    check_largest,
    check_matrix,
    describe_place,
    find_constant_genes,
)
from cellglass.checks.options import (
    check_choice,
    check_key_added,
    check_labels_length,
    check_n_latent,
    check_names,
    check_range,
    check_resolution,
    suggest,
)
from cellglass.checks.training import (
    check_callbacks,
    check_checkpointing,
    check_early_stopping,
    check_endless_schedule,
    check_losses,
    check_noise,
    check_schedule,
)

__all__ = [
    "ConstantGenes",
    "check_array",
    "check_callbacks",
    "check_checkpointing",
    "check_choice",
    "check_counts",
    "check_early_stopping",
    "check_endless_schedule",
    "check_key_added",
    "check_labels_length",
    "check_largest",
    "check_losses",
    "check_matrix",
    "check_n_latent",
    "check_names",
    "check_noise",
    "check_range",
    "check_resolution",
    "check_schedule",
    "describe_place",
    "find_constant_genes",
    "suggest",
]
