"""The numbers behind the figures, computed without a plotting library.

Read `shown_components` first: which points, draws and fit a figure of components shows. `plot_coordinates` turns them
into coordinates: ellipses, density curves and histogram bins. `density_grids`, `group_panels`, `imputed_cells`,
`point_uncertainty`, `predictive_checks` and `traces` each serve one or two figures.

May import: the rooms up to `assessment`; not matplotlib, so that other front ends can draw the same figures.
Add here: what a new figure has to compute before it draws.
"""
