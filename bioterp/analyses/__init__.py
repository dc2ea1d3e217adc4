"""One question per file: an array kernel, a score, a table."""
