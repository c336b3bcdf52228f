"""Adapters of users on disk: immutable versions, one of them current, every change atomic."""

from perce_serving.store.interface import AdapterStore, Check, Finding, Version
from perce_serving.store.local import LocalStore

__all__ = ["AdapterStore", "Check", "Finding", "LocalStore", "Version"]
