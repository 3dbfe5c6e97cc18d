"""Fits compared, selected, resampled and tested."""
