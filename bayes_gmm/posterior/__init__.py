"""Draws: made, relabelled, judged and asked."""
