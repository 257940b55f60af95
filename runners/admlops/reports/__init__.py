"""Reports: charts, pictures and one HTML page, from what a run left in its folder."""

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
