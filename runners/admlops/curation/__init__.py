"""What a data set holds, asked of its tables in SQL: statistics, differences between sets, tags, chosen samples.

It may import datasets, catalog and core. Begin with `columns.py`, what may be asked of a sample; then
`sample_tables.py`, which makes these columns, and `overview.py` and `tags.py`, which ask.
"""
