"""Numerics, checks and writers that know no statistics."""
