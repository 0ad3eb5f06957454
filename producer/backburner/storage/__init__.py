"""Object storage. Only this package speaks obstore; everything else sees `Storage`."""

from backburner.storage.storage import Storage, Stored

__all__ = ["Storage", "Stored"]
