"""PerContrast and PerCE: token-level personalisation of language models."""
