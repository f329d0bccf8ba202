"""Errors a program raises before it can serve."""


class ConfigurationError(Exception):
    """A setting is missing or wrong.

    The text is for the person who starts the program: one line that names the setting and says what to do.
    """
