"""Reading tables, and saving results and checkpoints; nothing in this room knows what a mixture is.

Read `table` first (`Table`, `as_table`, `read_table`). `table_checks` has the checks of a table, and refuses or drops
missing cells, which are NaN, or puts them into words; `dataframes` reads the tables of other libraries as columns,
`rows` checks rows and weights that are given besides a table, also in a stream. Files: `file_formats` opens them and
reads all formats but text, `text_dialect` finds out how a text is written, with `number_text` for its numbers and for
values that seem to stand for missing ones, `text_file` reads it by pandas, and `measurements` selects the columns to
which a mixture can be fitted. Results are saved by `result_file` (netCDF), which uses `serialisation` (dataclasses),
`distribution_serialisation` (priors) and `checksummed_file`; a run that can be resumed writes a `checkpoint` in the
`checkpoint_format`.

May import: `errors`, `core`.
Add here: a reader of another format (a function that returns a `FileContent`, in `file_formats`), a source of
rows that do not fit in memory, another format of saved results.
"""
