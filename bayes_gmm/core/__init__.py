"""Numerics, compiling, argument checks and writers: whatever knows no statistics.

Read `linalg` (Cholesky factors, triangular inverses, half-vectorised matrices, in NumPy and in JAX alike) and
`row_products` (matrix products of many rows), then `precision` (float64 within a scope), `compilation` and
`compile_cache` (few shapes, programs compiled ahead, programs kept on disk), `batches` (many evaluations of one program
in threads), `tuning` (sizes that were measured on one machine), `validation` (arguments of public functions),
`error_bars` (known errors of numbers), `hyperplanes` (points that share one), `common_axes` (axes of several matrices),
`assignment` (the best order of things), `interruption` (loops that keep what is done at Ctrl-C) and `export` (records
as CSV, JSON and HTML). `former_modules` tells pickles written before the rooms were cut where their classes have moved.

May import: `errors`, and the numerical libraries.
Add here: what a package on another subject could use unchanged. What knows of tables goes into `io`, what knows of
components into `mixture`.
"""
