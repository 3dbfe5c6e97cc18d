"""What a mixture of Gaussians or of t distributions is, apart from any data.

Read `mixture` first: `Mixture` is a pytree with leading batch axes, so that a posterior is a batch of mixtures.
`parameter_checks` refuses arrays that are no mixture; `covariance_structures` are the fourteen ways in which components
can share volume, shape and orientation, with their M-steps; `scaling` changes the coordinates of points and mixtures,
`unconstrained` maps mixtures to vectors; `conditional`, `entropy` and `monte_carlo` answer questions about one mixture.
`numpy_density` evaluates a batch at a few points without compiling; `parameter_names` is the one table of the names,
labels and dimensions of what is reported of a mixture. `densities` are those at points; `degrees_of_freedom` makes the
components heavy-tailed. `noise` is the uniform component for points that belong to no
Gaussian. `gaps` groups rows by the cells that were not seen, and
`imputation` says what these may be.

May import: `errors`, `core`, `io`.
Add here: another question about a distribution (a file named after it), or a covariance structure (a row in the table
of `covariance_structures`).
"""

import lazy_loader

# Pickles of the flat layout look for the class here.
__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"mixture": ["Mixture"]})
