"""The likelihood of rows under a mixture, its gradient and its curvature, a block of rows at a time.

Read `contract` first: what everything that fits mixtures asks of a likelihood, whatever the rows are. `complete_rows`
keeps it for rows whose every cell was seen, by `linear_form`: a Gaussian's log density is linear in phi(x), so one
function is the likelihood of EM and of NUTS, and its gradient is the E-step. Where covariances are diagonal, EM
needs the squares of features alone (`contract.DiagonalCovariances`). `blocks` lays the rows out for it;
`centred_form` is the slower form that keeps all digits of narrow components; `moments` turns expected statistics into
counts, means and covariances. `missing_cells` keeps the contract for rows with gaps, which it groups by their gaps,
`measurement_errors` for rows with known errors, by the algebra in `deconvolution`, `heavy_tails` for rows under t
distributions, by a linear form again, of two statistics more; `true_rows` has these in NumPy, with the true rows behind
them. Noise is one more row of natural parameters after those of the components, with a constant alone. `short_tables`
are complete rows in NumPy, for many mixtures at once, where compiling would take longer than the fit; `expansion` is
what Newton's method asks of any rows. `draws_at_points` and `pointwise` evaluate thousands of draws at thousands of
points.

May import: `errors`, `core`, `io`, `mixture`.
Add here: the likelihood of other rows (censored ones, counts), one file each: a `Likelihood` and the
function `prepare` that makes it.
"""
