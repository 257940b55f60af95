"""Reports: charts, pictures and one HTML page, from what a run left in its folder.

It may import every room but cli. Begin with `html.py`, then `page.py` (what it says) and `scene_view.py`;
`lidar_view.py` and `rerun_recording.py` show samples in 3D.
"""

from admlops.pipeline.run_data import RunData, load_run_data, missing_model
from admlops.reports.html import write_report
from admlops.reports.pictures import bird_eye_svg, draw_sample
from admlops.reports.scene_view import SceneView, view_sample

__all__ = [
    "RunData",
    "SceneView",
    "bird_eye_svg",
    "draw_sample",
    "load_run_data",
    "missing_model",
    "view_sample",
    "write_report",
]
