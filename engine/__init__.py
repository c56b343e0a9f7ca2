"""Text generation: the one place where tokens are chosen."""
