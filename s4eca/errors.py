"""The errors a user can mend, under one root.

Every message is one sentence (or two) that names the file or the field, the value found, and what would be right.
The command line prints the message and ends with `exit_code`; nothing here is ever shown with a traceback.
"""

from __future__ import annotations

import importlib
from types import ModuleType


class S4ECAError(Exception):
    """Root of every error that s4eca raises on purpose."""

    exit_code = 2


class ConfigError(S4ECAError):
    """A setting has an unknown name, or a value outside its range."""


class MissingDependencyError(S4ECAError):
    """An optional package is needed and not installed."""


class EncoderError(S4ECAError):
    """A frozen encoder cannot be found, read, verified, or is of an unknown kind."""


class AdapterFolderError(S4ECAError):
    """A saved adapter is incomplete, damaged, or does not belong to these encoders."""


class DataError(S4ECAError):
    """A data set, image, mask or annotation is missing, damaged or contradicts its layout."""


class CacheError(S4ECAError):
    """A feature cache was made from something else than what is asked of it."""


class ExpressionError(S4ECAError):
    """A referring expression is no text, empty, longer than the text encoder reads, or in words it does not know."""


class NotFiniteError(S4ECAError):
    """A model, or a tensor of it, holds NaN or infinity where numbers are needed."""


class CascadeError(S4ECAError):
    """A detector or refiner that cannot be had, or a phrase that it cannot be asked."""


class CalibrationError(S4ECAError):
    """No threshold does what is asked of it; done and found wanting, so that the command line ends with 1."""

    exit_code = 1


class TeacherRejected(S4ECAError):
    """A teacher's maps do not find what phrases mean, as its audit says in numbers, or nothing was audited."""


class RasterError(S4ECAError):
    """A raster cannot be read, is not georeferenced, or an output cannot be written."""


class ClusterError(S4ECAError):
    """The workers of a cluster cannot be reached, are not of one kind, or do not come through."""


class ExpressionWarning(UserWarning):
    """Part of a referring expression is not read by the text encoder."""


def needs(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which extra brings it.

    Args:
        module: import name, for instance ``"pyogrio"``.
        extra: name of the extra of s4eca that installs it.
        purpose: what cannot be done without it, as it would follow "is needed to".

    Raises:
        MissingDependencyError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not module.startswith(error.name):
            raise
        raise MissingDependencyError(
            f'The package {module} is needed to {purpose}; install it with: pip install "s4eca[{extra}]"'
        ) from error
