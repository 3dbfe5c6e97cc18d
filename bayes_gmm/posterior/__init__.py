"""Draws from the posterior: made, relabelled, judged and asked.

Read `fit_nuts` first (with `sampling_options`), then `posterior` (`Posterior`, what can be asked of draws),
`relabelling` (label switching undone), `arviz_tree` (the draws in ArviZ's schema), `explanations` (chains that found
different modes), `diagnostics` and `verdict` (whether to trust the draws). `fit_laplace` is the approximation without
chains, `prior_predictive` what the prior says before the data do.

May import: the rooms up to `clustering`.
Add here: another verb that returns draws, another reason to doubt them, another question to them.
"""

import lazy_loader

# Pickles of the flat layout look for the class here.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"posterior": ["Posterior"]})
