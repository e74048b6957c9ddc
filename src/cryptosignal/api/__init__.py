"""Control API for other programs."""
