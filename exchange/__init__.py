"""Models out and in: which exports there are, whether each is right, and models that come from elsewhere."""
