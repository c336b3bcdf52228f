"""Models of transformers, as perce runs them: loading, packed attention, head, self-check."""
