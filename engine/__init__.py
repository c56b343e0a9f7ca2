"""Writing text: the one place where tokens are chosen."""
