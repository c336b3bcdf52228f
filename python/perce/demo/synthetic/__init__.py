"""A task whose truth is known: which tokens are personal, and what training must converge to."""
