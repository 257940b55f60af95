"""Choosing samples worth a look, handing them to annotators, and taking corrected labels back as a new version.

Imports `conversion`, `evaluation`, `results`, `publications` and what lies below them. A rule that chooses is one file
in `rules/` and one line in `catalog.registries.MINING_RULES`; an annotators' tool one file in `tools/` and one line in
`ANNOTATION_TOOLS`. Begin with `mine`, then `labels` and `versions`.
"""
