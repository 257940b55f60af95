"""The page's section of the LiDAR view: the samples of the cards, and what every run says of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from admlops.reports.lidar_view import draw_lidar
from admlops.reports.scene_view import SceneView
from admlops.reports.section import Report
from admlops.results.record import Record


@dataclass(frozen=True, kw_only=True)
class ShownView:
    """One run's view of a card's sample."""

    id: str
    title: str
    rank: int
    view: SceneView
    record: Record


def lidar_section(report: Report) -> Mapping[str, Any] | None:
    """The values of the section; None where no sample of the page has a LiDAR."""
    lidar = draw_lidar(list(_list_views(report)))
    return None if lidar is None else {"lidar": lidar}


def _list_views(report: Report) -> Iterator[ShownView]:
    cards, _ = report.samples.cards
    several = len(report.ran) > 1
    for rank, card in enumerate(cards, start=1):
        for one in card.views:
            yield ShownView(
                id=card.id,
                title=f"{card.scene}, key frame {card.index_in_scene}" + (f", {one.label}" if several else ""),
                rank=rank,
                view=one.view,
                record=report.samples.records[one.number][card.place],
            )
