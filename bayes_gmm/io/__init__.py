"""Reading tables, and saving results and checkpoints; nothing in this room knows what a mixture is.

Read `table` first (`Table`, `as_table`, `read_table`). `table_checks` has the checks of a table, `dataframes` and
`csv_reader` read the tables of other libraries and CSV files as columns, `rows` checks rows and weights that are given
besides a table, `batches` checks a stream of tables. Results are saved by `result_file` (netCDF), which uses
`serialisation` (dataclasses), `distribution_serialisation` (priors) and `checksummed_file`; a run that can be resumed
writes a `checkpoint` in the `checkpoint_format`.

May import: `errors`, `core`.
Add here: a reader of another format (a function that returns names and columns, called by `read_table`), a source of
rows that do not fit in memory, another format of saved results.
"""
