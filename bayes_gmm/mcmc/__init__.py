"""What draws of any Markov chain say: how well they mix, whether weights are to be trusted, what a prior does to them.

Read `mixing` (R-hat and effective sample sizes), then `importance_weights` (Pareto-smoothed ones, and leaving a point
out by them) and `power_scaling` (sensitivity to powers of a density). The numbers are ArviZ's, of many quantities at a
time and without its import, which takes a second.

May import: `core`.
Add here: a statistic of draws that knows nothing of mixtures.
"""
