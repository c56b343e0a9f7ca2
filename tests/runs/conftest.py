"""The workspaces of the store's tests, for the log that stands beside the checkpoints."""

from tests.store.conftest import memory_folder, ws

__all__ = ["memory_folder", "ws"]
