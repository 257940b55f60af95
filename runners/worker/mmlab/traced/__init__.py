"""Layers of mmdetection3d's networks in a form that can be traced into an ONNX file.

The weights stay in the authors' own modules, which are called wherever their code can be traced. What cannot is
computed here from the same weights: attention over whole rigs under a mask in place of lists of visible queries,
projection by matrices that are inputs, sampling by operators that every runtime has.

It imports torch and the mm libraries when they are needed. Begin with `bev.py`, then `attention.py` and `decoder.py`.
"""
