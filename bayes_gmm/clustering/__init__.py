"""Partitions of the points."""
