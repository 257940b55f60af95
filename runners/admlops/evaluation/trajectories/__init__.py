"""What plans and predicted motion share: arrays, ground truth from annotations, tables of a run, VAD's files.

It may import what knows no task, and `detection_3d.boxes`. Begin with `arrays.py`.
"""
