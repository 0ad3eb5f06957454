"""An in-memory Backburner for the tests of those who use it: the real client, with a fake queue, store and workers."""

from backburner.testing.system import FakeSystem

__all__ = ["FakeSystem"]
