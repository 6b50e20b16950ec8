"""The errors that earsight raises. Each message says what is wrong, what was got and what to do."""


class EarsightError(Exception):
    """Base of all errors that earsight raises on purpose. The command line prints it in one line and exits with 2."""


class SettingsError(EarsightError):
    """A setting, flag or recipe that can't be used."""


class DecodeError(EarsightError):
    """A recording that can't be read as sound."""


class TruncatedError(DecodeError):
    """A recording whose rest is missing or damaged."""


class DataError(EarsightError):
    """A data set that can't be trained on or scored."""


class DiskFullError(DataError):
    """A disk that is too full."""


class SplitError(DataError):
    """Clips that can't be divided as asked."""


class ModelError(EarsightError):
    """A network, weights file or run folder that can't be used."""


class TrainingError(EarsightError):
    """A training run that can't go on."""


class MissingExtraError(EarsightError, ImportError):
    """An optional package that this call needs and that is not installed."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
