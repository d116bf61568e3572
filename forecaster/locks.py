"""One writer at a time: a lock that ends with the process that holds it, however that ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from forecaster.errors import Locked, StoreError


@contextmanager
def exclusive(home: Path, work: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a workspace's lock for one kind of work.

    Parameters
    ----------
    home : Path
        Folder of the workspace; made if it is not there.
    work : str
        A noun for messages, which also names the lock file.
    patience : float
        Seconds to wait for a process that holds it.

    Raises
    ------
    Locked
        If another process holds it.
    StoreError
        If the folder cannot be written.
    """
    lock = FileLock(home / f"{work}.lock", timeout=patience)
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise Locked(f"Another {work} runs in {home}; wait until it has ended, then try again") from error
    except OSError as error:
        raise StoreError(
            f"{home} cannot be written ({error.strerror}); check its path and permissions, or choose another "
            f"with --home"
        ) from error
    try:
        yield
    finally:
        lock.release()
