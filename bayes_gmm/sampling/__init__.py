"""Draws from a posterior density: the samplers of a `Target`, in unconstrained coordinates.

Two ways lead to draws. `chains` runs the chains of a `kernel` from the modes of the posterior: enough where components
stand apart. The kernels are `nuts` and `fixed_length_hmc`; `counted_random` gives them random numbers, `step_size`
tunes their steps, `relative_covariances` straightens their coordinates, and `metric` finds the metric where no mode
tells it. Where components overlap, `tempered_pilot` moves particles from the prior to the posterior, and
`independence_chains` mixes the moves of `hamiltonian` with `proposals` fitted to these particles and to draws
(`t_mixture` for one component, `unlabelled_t_mixture` for all at once), on mixtures without labels (`label_symmetry`).

May import: the rooms up to `bayes`.
Add here: another sampler, an iterator of what is observed of some transitions of all chains (`Observed`).
"""
