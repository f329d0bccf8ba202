"""What is wrong with an installation's keys. Every text is one line that says what to do."""

from pathlib import Path


class KeysError(Exception):
    """The keys of this installation cannot be used."""


class KeyFileError(KeysError):
    """A key file is damaged or cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the key file {path} cannot be used: {reason}; restore it from a backup")
        self.path = path
        self.reason = reason


class KeysLostError(KeysError):
    """The database knows a fleet whose keys are not here."""

    def __init__(self, keys_dir: Path) -> None:
        super().__init__(
            f"the database belongs to a fleet whose keys are not in {keys_dir}; restore them from a backup, "
            "because hosts take commands of no other keys"
        )
        self.keys_dir = keys_dir


class OtherFleetError(KeysError):
    """The database holds another manifest than the keys here."""

    def __init__(self, keys_dir: Path) -> None:
        super().__init__(f"the database belongs to another fleet than the keys in {keys_dir}")
        self.keys_dir = keys_dir
