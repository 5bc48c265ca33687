"""Checks on how a network is to be trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cellglass.checks.options import check_choice, check_range
from cellglass.errors import InputError

LARGEST = 1e6
"""Of settings that multiply: beyond it training could only end in numbers that are not."""


def check_losses(losses: Sequence[object], known: Iterable[str]) -> None:
    """Check the names of one or several losses.

    Rules: at least one; each is known; none twice.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    names = list(known)
    if not losses:
        raise InputError(f"loss is empty; give one or more of {', '.join(names)}.")
    for name in losses:
        check_choice("loss", name, names)
    if len(set(losses)) < len(losses):
        raise InputError(
            f"loss names one loss twice: {', '.join(map(str, losses))}. Give each only once."
        )


def check_schedule(schedule: object, known: Iterable[str]) -> None:
    """Check that something is a schedule of the learning rate.

    Rule: a known name, or something that can be called with a step.

    Raises
    ------
    InputError
        If it is neither; the message lists the names.
    """
    if not callable(schedule):
        check_choice("schedule", schedule, known)


def check_endless_schedule(schedule: object) -> None:
    """Check a schedule for a training of which nobody knows how long it will be.

    Rule: the constant one, or a function of the step; the others need to know the number
    of steps.

    Raises
    ------
    InputError
        If the rule is broken.
    """
    if isinstance(schedule, str) and schedule != "constant_schedule":
        raise InputError(
            f"schedule is {schedule!r}, which needs to know the number of steps before the "
            "first one, but partial_fit may be called any number of times. Give "
            "schedule='constant_schedule', a function of the step, such as "
            f"optax.{schedule}(...), or call fit."
        )


def check_early_stopping(
    patience: object, min_delta: object, validation_fraction: float
) -> None:
    """Check the options of early stopping.

    Rules: ``patience`` is None or a whole number of at least 1; ``min_delta`` is a number
    of at least 0; with patience some cells are held out.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    check_range("min_delta", min_delta, low=0)
    if patience is None:
        return
    check_range("patience", patience, low=1, integer=True)
    if validation_fraction == 0:
        raise InputError(
            f"patience is {patience}, but validation_fraction is 0: early stopping watches "
            "the loss of held-out cells, and there are none. Hold some out, such as "
            "validation_fraction=0.1, or leave patience out."
        )


def check_noise(
    dropout_rate: object,
    input_noise: object,
    weight_decay: object,
    variational: object,
    kl_warmup_epochs: object,
    free_bits: object,
) -> None:
    """Check what keeps a network from learning its cells by heart.

    Rules: ``dropout_rate`` is in [0, 1), ``input_noise``, ``weight_decay`` and ``free_bits``
    are in [0, 1e6], ``kl_warmup_epochs`` is a whole number of at least 0; ``variational`` is
    True or False.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    check_range("dropout_rate", dropout_rate, low=0, high=1, high_inclusive=False)
    check_range("input_noise", input_noise, low=0, high=LARGEST)
    check_range("weight_decay", weight_decay, low=0, high=LARGEST)
    check_range("free_bits", free_bits, low=0, high=LARGEST)
    check_range("kl_warmup_epochs", kl_warmup_epochs, low=0, integer=True)
    if not isinstance(variational, bool):
        raise InputError(f"variational is {variational!r}; expected True or False.")


def check_callbacks(callbacks: Any) -> tuple[Callable[[Any], object], ...]:
    """Check what is to be called after every epoch.

    Rules: one function, a list or tuple of them, or None for none; all can be called.

    Returns
    -------
    tuple of callable
        Empty for None.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    if callbacks is None:
        return ()
    listed = tuple(callbacks) if isinstance(callbacks, list | tuple) else (callbacks,)
    for place, callback in enumerate(listed, start=1):
        if not callable(callback):
            raise InputError(
                f"Callback {place} of {len(listed)} is {callback!r}, which cannot be called; "
                "give a function of one argument, the cellglass.callbacks.Epoch."
            )
    return listed


def check_checkpointing(folder: object, every: object, *, resume: bool) -> None:
    """Check what is asked for about checkpoints.

    Rules: ``checkpoint_every`` is None or a whole number of at least 1; it and ``resume``
    need a folder.

    Raises
    ------
    InputError
        If a rule is broken.
    """
    if every is not None:
        check_range("checkpoint_every", every, low=1, integer=True)
    if folder is None and (resume or every is not None):
        option = "resume" if resume else f"checkpoint_every={every}"
        raise InputError(
            f"{option} was given without a folder for checkpoints; give one, such as "
            'checkpoints="checkpoints/".'
        )
