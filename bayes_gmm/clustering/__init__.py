"""Partitions of the points, whatever the components are called.

Read `assignment_moments` (soft assignments, averaged over draws), `point_assignments` (both answers for every point,
and which points are uncertain) and `co_clustering` (which points belong together).

May import: the rooms up to `bayes`; a partition is made of draws (a batched `Mixture`) and points.
Add here: point estimates of a partition, and their uncertainty.
"""
