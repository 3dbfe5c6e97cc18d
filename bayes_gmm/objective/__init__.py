"""What a maximum-likelihood fit maximises: the question, before anything is fitted.

Read `problem` first (table, components, structure, weights, labels, fixed parameters, prior: checked once), then
`objective` (its value, its E-step and its M-step in unit coordinates), `fixed_parameters` and `conjugate_prior` (what
keeps its value, and what is known beforehand), `known_labels`, `degeneracy` (when a component is too narrow to be
believed), and `closed_derivatives` (for standard errors).

May import: the rooms up to `likelihood`.
Add here: another restriction or penalty of the M-step.
"""
