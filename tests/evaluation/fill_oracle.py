"""Polygons filled by OpenCV on the grid of the planning metrics; runs inside envs/official/vad.

python fill_oracle.py corners.npy filled.npy
"""

import sys

import cv2
import numpy as np

CELLS = 200

corners = np.load(sys.argv[1], allow_pickle=False)
filled = np.zeros((len(corners), CELLS, CELLS), np.uint8)
for index, polygon in enumerate(corners):
    drawn = np.zeros((CELLS, CELLS))
    cv2.fillPoly(drawn, [polygon.astype(np.int32)], 1.0)
    filled[index] = drawn
np.save(sys.argv[2], filled)
