"""Numerics, compiling, argument checks and writers: whatever knows no statistics.

Read `linalg` (Cholesky factors, triangular inverses, half-vectorised matrices), then `precision` (float64 within a
scope), `compilation` and `compile_cache` (few shapes, programs compiled ahead, programs kept on disk), `validation`
(arguments of public functions), `export` (records as CSV, JSON and HTML) and `interruption` (loops that Ctrl-C ends
without losing what they have made). `former_modules` tells pickles written before the rooms were cut where their
classes have moved.

May import: `errors`, and the numerical libraries.
Add here: what a package on another subject could use unchanged. What knows of tables goes into `io`, what knows of
components into `mixture`.
"""
