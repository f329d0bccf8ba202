"""The root of the families of errors this package raises; each module defines its own beside its code."""


class StoreError(Exception):
    """Something the database, or the way it was asked, refused."""
