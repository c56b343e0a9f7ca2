"""Models and checkpoints on disk, and the cache of loaded models."""
