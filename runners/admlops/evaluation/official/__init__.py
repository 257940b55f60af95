"""Run official code beside ours: any task's, in environments of its own.

It may import `base` and `context`, and nothing of a task: what it runs stands in `Evaluation.official`. Begin with
`run.py`.
"""
