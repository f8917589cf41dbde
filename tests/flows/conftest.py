"""The loops' cloud, for the tests of flows that loops carry out."""

from tests.loops.conftest import cloud, driven, make_cloud

__all__ = ["cloud", "driven", "make_cloud"]
