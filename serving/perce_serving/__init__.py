"""perce-serving: store, check and serve one LoRA adapter a user.

The modules here need neither torch nor vLLM nor perce, so that training machines publish with them.
"""

__version__ = "0.1.0"
