"""Adapters and profiles of users on disk: immutable versions, one current, every change atomic."""

from perce_serving.store.interface import AdapterStore, Check, Finding, Version
from perce_serving.store.local import LocalStore
from perce_serving.store.profile_interface import Profile, ProfileStore

__all__ = [
    "AdapterStore",
    "Check",
    "Finding",
    "LocalStore",
    "Profile",
    "ProfileStore",
    "Version",
]
