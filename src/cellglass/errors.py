"""The exceptions for a user's mistake and for a training that failed."""


class InputError(ValueError):
    """What was given cannot be used: a file, a value in it, or an option.

    The message is one paragraph of prose that names the value, its place, what was
    expected and the remedy. The command line prints it without a traceback and exits
    with code 2; from Python it is a ``ValueError`` like any other.
    """


class TrainingError(RuntimeError):
    """Training could not go on; the message says where it stopped and why."""
