"""The errors a user can cause. Each message is one sentence: what is wrong and what to do about it."""


class StyleTransferError(Exception):
    """Base of all of them: catch it, show its text, and nothing else is needed."""


class PictureError(StyleTransferError):
    """A picture cannot be read, is too small, or is not safe to open."""


class SettingsError(StyleTransferError, ValueError):
    """A setting is unknown, of the wrong type or out of its range."""


class WeightsError(StyleTransferError):
    """The weights of a backbone are missing, broken or out of reach."""
