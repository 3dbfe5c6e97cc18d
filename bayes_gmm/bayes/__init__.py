"""The posterior density of a mixture: prior, coordinates and modes.

Read `prior` and `sites` (the parameters and their priors; `coordinates` maps them to vectors without constraints, and
`compiled_sites` makes them ready for compiled programs), `model` (the same density as a NumPyro model), `target` (what
is sampled) and `posterior_problem` (the question, checked once). The default prior is made of `exchangeable_log_normal`
(the scales), `resolution` (the floor below them) and `shifted_gamma` (degrees of freedom);
`marginally_uniform_cholesky` is offered beside LKJ.
`tied_values` finds priors of a user that leave no proper posterior; `prior_densities` weighs each part of a prior
against no information.
`laplace_approximation` and `modes` find the modes and weigh them.

May import: the rooms up to `mle`.
Add here: another prior or part of one, the evidence. Samplers of a `Target` live in `sampling`.
"""
