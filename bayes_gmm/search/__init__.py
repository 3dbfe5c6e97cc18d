"""Where EM starts; for many components cells merged to components, and moves of components from one place to another.

Read `initialisation` (random starts of several kinds, or a given one), then `component_moves` and what that is made of:
`kmeans` and `merged_cells` (where a climb begins), `component_splits` and `component_removals` (what moves would gain
and lose), `rehearsals` (what they do gain, by EM of the components near by), `row_statistics` (EM in NumPy that keeps
the responsibilities), `nearest_donors` (gaps of rows closed, for starts alone), and `covariance_shape` (what of a
covariance is a component's own).

May import: the rooms up to `objective`.
Add here: another kind of start, or another move.
"""
