"""The posterior density, its modes and its sampler."""
