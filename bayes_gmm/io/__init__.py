"""Tables in, results out: nothing here knows what a mixture is.

Read `table` first (`Table`, `as_table`, `read_table`); `table_checks` says what a table must be, `dataframes` and
`csv_reader` turn other people's tables into columns, `rows` checks rows and weights that come later, `batches` a stream
of tables. Saved results are `result_file` (netCDF) on `serialisation` (dataclasses), `distribution_serialisation`
(priors) and `checksummed_file`; a run that can be resumed is `checkpoint` on `checkpoint_format`.

May import: `errors`, `core`.
Add here: a reader of another format (a function that returns names and columns, called by `read_table`), a source of
rows that do not fit in memory, another format of saved results.
"""
