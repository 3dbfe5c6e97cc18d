"""Fits compared, selected, resampled and tested.

Read `compare` first (the maximum-likelihood fit beside the posterior), with `parameter_comparison`,
`normal_approximation` (flags), `prior_sensitivity` (what the prior does to each parameter), `sentences` (what the point
estimate hides) and `predictive_scores`; then `leave_one_out`, `compare_models` (several posteriors), `select_em`
(criteria for numbers of components and structures), `fit_em_groups` (a mixture for each group of rows), and the
sampling distribution of the maximum-likelihood fit: `bootstrap`, `profile_interval`, `likelihood_ratio_test`; and
`parameter_shifts` (how an answer changes against another, such as that of the complete rows).

May import: the rooms up to `posterior`.
Add here: another criterion, test or interval, a public verb in a file of its name.
"""
