"""The numbers behind the figures, without a plotting library.

Read `shown_components` first (points, fits and colours of a figure of components); `density_grids`,
`point_uncertainty`, `predictive_checks` and `traces` belong to one figure each.

May import: the rooms up to `assessment`; not matplotlib, so that other front ends can draw the same figures.
Add here: what a new figure has to compute before it draws.
"""
