"""Training networks by their authors' own programs: the folder of a training, its log, its checkpoints, its end.

It may import core, catalog, datasets, checkpoints, environments and execution, and `worker.training`. A trainer is a
module of `trainers/` and an entry of `catalog.registries.TRAINERS`. Begin with `supervise.py`, then `folder.py`.
"""
