"""One process at a time makes a model's folder, also where pods share the volume: the others wait, and find it made.

It is a lock of the file system (flock), which ends with its holder, however that ends. It holds between the pods of a
node, and between nodes on NFS 4, CephFS and Lustre. Where a volume's locks do not reach other nodes, each of those
fetches for itself: that costs time, and no more, for all write the same bytes to the same places, and the first to be
done gives the folder its name. A file without a sum is begun anew by whoever comes later, and whoever was sooner ends
with an error that says to start again.
"""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from backburner.logs import get_logger
from backburner_worker.model_fetch.folder import unusable

_LOOK_SECONDS = 0.5
_LOG_SECONDS = 30.0
_WITHOUT_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS})

log = get_logger(__name__)


@asynccontextmanager
async def folder_lock(lock: Path, folder: Path) -> AsyncIterator[None]:
    """Hold the lock on making `folder` within the block; wait until it is free. Raises `ModelFolderUnusable`."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise unusable(folder, error) from error
    try:
        await _lock(descriptor, folder)
        yield
    finally:
        # The file stays: one that is removed while somebody waits for it would be two.
        os.close(descriptor)


async def _lock(descriptor: int, folder: Path) -> None:
    told = 0.0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= told:
                told = time.monotonic() + _LOG_SECONDS
                log.info("another process fetches this model; waiting for it", folder=str(folder))
            await asyncio.sleep(_LOOK_SECONDS)
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise unusable(folder, error) from error
            log.warning("the volume has no locks; others may fetch the same at the same time", folder=str(folder))
            return
        else:
            return
