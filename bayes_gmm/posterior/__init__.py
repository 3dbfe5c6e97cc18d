"""Draws from the posterior: sampling, relabelling, judgement, and the questions that draws answer.

Read `fit_nuts` first, and `sampling_run`, which it shares with `fit_hmc` (with `starting_fit`, `sampling_options`,
`sampled`, and `overlapping_components` for what these chains alone cannot do), then `posterior` (`Posterior`:
densities, soft assignments and other expectations over the draws), `relabelling` (label switching undone),
`arviz_tree` (the draws in ArviZ's schema), `explanations` (groups of chains that agree), `diagnostics` and `verdict`
(whether the draws can be trusted, and whether components can be named). `fit_laplace` approximates the posterior
without chains; `prior_predictive` draws from the prior.

May import: the rooms up to `clustering`.
Add here: another verb that returns draws, another diagnostic, another method of `Posterior`.
"""

import lazy_loader

# Pickles of the flat layout name the class `bayes_gmm.posterior.Posterior`.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"posterior": ["Posterior"]})
