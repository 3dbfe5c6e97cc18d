"""Assignments of points to components, and partitions that do not depend on the labels of the components.

Read `assignment_moments` (soft assignments, averaged over draws), `point_assignments` (the component of each point by
both fits, and which points are uncertain), `co_clustering` (which points belong together) and `label_agreement`
(components against known labels). Noise is no component: it is -1 among labels, and together with no point.

May import: the rooms up to `bayes`; a partition is made of draws (a batched `Mixture`) and points.
Add here: point estimates of a partition, and their uncertainty.
"""
