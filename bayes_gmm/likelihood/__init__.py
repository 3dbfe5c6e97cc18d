"""The likelihood of rows under a mixture, its gradient and its curvature, a block of rows at a time.

Read `linear_form` first: a Gaussian's log density is linear in phi(x), so one function is the likelihood of EM and of
NUTS, and its gradient is the E-step. `blocks` lays the rows out for it; `centred_form` is the slower form that keeps
all digits of narrow components; `moments` turns expected statistics into counts, means and covariances.
`draws_at_points` and `pointwise` evaluate thousands of draws at thousands of points.

May import: `errors`, `core`, `io`, `mixture`.
Add here: the likelihood of other rows (missing cells, errors of measurement, heavy tails), one file each, with the
verbs of `linear_form`: features or preparation, log joint density, expected statistics, log-likelihood with its
derivative rule, curvature.
"""
