"""The tenant layer: who is calling, what they may ask for, and nothing of anybody else's."""
