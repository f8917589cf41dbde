"""Builders, contracts and doubles that tests of any project may use."""
