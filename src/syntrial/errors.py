"""What can go wrong by somebody's choice or data, so that it can be told from a bug: these end in one sentence and
exit code 2.
"""


class SyntrialError(Exception):
    """One sentence: what, where, and what would fit."""


class ConfigError(SyntrialError, ValueError):
    """A setting that is misspelt, out of bounds, or contradicts another."""


class DataError(SyntrialError, ValueError):
    """Images, manifests or image sets that cannot be used as they are."""


class LeakError(SyntrialError, ValueError):
    """An evaluation that would judge on what was trained on, or on images that are not real."""


class DegenerateError(SyntrialError, ValueError):
    """A number that cannot be computed from what there is, such as the AUROC of a single class."""


class TrainingError(SyntrialError, RuntimeError):
    """Training that stopped making sense: losses that are not finite, or a collapsed generator."""
