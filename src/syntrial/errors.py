"""Errors that the user can correct, as opposed to bugs: a command reports them in one sentence, with exit code 2."""


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
