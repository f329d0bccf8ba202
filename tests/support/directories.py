"""Temporary directories that servers running as another account can reach.

Under root, pytest's own are closed to everybody else, and PostgreSQL does not run as root.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_directory(prefix: str) -> Iterator[Path]:
    """Make a directory that others may enter and list; remove it with all it holds."""
    path = Path(tempfile.mkdtemp(prefix=f"redflag-{prefix}-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
