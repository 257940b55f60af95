"""The tables of `admlops data stats` on a terminal: short ones, one for each question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from admlops.cli.conventions import note
from admlops.cli.tables import print_table
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.curation.differences import Difference
    from admlops.curation.map_statistics import MapStatistics
    from admlops.curation.overview import Measured
    from admlops.curation.statistics import Distribution, SetStatistics, Standing
    from admlops.datasets.statistics import Statistics

MAX_SIZES = 5
"""Sizes of pictures that are named."""
WIDEST = 12
"""Values of the last axis that stand side by side; more of them stand below each other."""
SHOWN_SHARES = 3
"""Names whose shares differ most, beside a difference."""


def print_measured(measured: Measured) -> None:
    """Print everything that is known of one data set."""
    if measured.tables is not None:
        _print_tables(measured.tables, measured)
    elif measured.pictures is not None:
        _print_pictures(measured.pictures, f"{measured.name} ({measured.data.kind})")
    _print_lacking(measured.lacking)


def print_cells(measured: Measured) -> None:
    """Print what --by asked for; of several axes the last one stands side by side where it is short."""
    note(_head(measured))
    values = list(dict.fromkeys(cell.values[-1] for cell in measured.cells))
    if len(measured.axes) == 1 or len(values) > WIDEST:
        rows = [(*cell.values, str(cell.boxes), str(cell.samples)) for cell in measured.cells]
        print_table((*measured.axes, "boxes", "samples"), rows, narrow=True)
        return
    note(f"boxes by {', '.join(measured.axes[:-1])} and {measured.axes[-1]}")
    table = {(cell.values[:-1], cell.values[-1]): cell.boxes for cell in measured.cells}
    firsts = list(dict.fromkeys(cell.values[:-1] for cell in measured.cells))
    rows = [(*first, *(str(table.get((first, value), 0)) for value in sorted(values))) for first in firsts]
    print_table((*measured.axes[:-1], *sorted(values)), rows, narrow=True)


def print_differences(first: Measured, second: Measured, found: Sequence[Difference]) -> None:
    """Print the distances of two sets, with the names whose shares differ most."""
    for letter, one in (("A", first), ("B", second)):
        note(f"{letter}: {_head(one)}")
    heads = ("quantity", "distance", "value", "n of A / B", "shares A/B")
    print_table(heads, [_difference_row(one) for one in found])
    note("Jensen-Shannon is 0 for equal shares and 1 for nothing in common; Wasserstein has the quantity's unit")


def _difference_row(one: Difference) -> tuple[str, ...]:
    apart = sorted(one.shares.items(), key=lambda item: -abs(item[1][0] - item[1][1]))[:SHOWN_SHARES]
    shares = ", ".join(f"{name} {100 * a:.0f}/{100 * b:.0f} %" for name, (a, b) in apart if round(a - b, 3))
    value = f"{one.value:.3f} {one.unit}".strip()
    return one.quantity, one.distance, value, f"{one.n[0]} / {one.n[1]}", shares


def _head(measured: Measured) -> str:
    own = measured.tables or measured.pictures
    assert own is not None
    held = f"{count_of(own.scenes, 'scene')}, {count_of(own.samples, 'sample')}"
    chosen = f", where {measured.where}" if measured.where is not None else ""
    return f"{measured.name} ({measured.data.kind}): {held}{chosen}"


def _print_tables(found: SetStatistics, measured: Measured) -> None:
    note(f"{_head(measured)}, {count_of(found.boxes, 'box')} of {count_of(found.objects, 'object')}")
    for name, group in found.groups.items():
        if name not in found.lacking:
            values = (f"{value} {own['scenes']} ({count_of(own['samples'], 'sample')})" for value, own in group.items())
            note(f"scenes by {name}: {', '.join(values)}")
    _print_classes(found)
    for axis in (1, 2):
        _print_by_class(found, axis)
    _print_conditions(found)
    _print_distributions(
        {**found.driving, **_named(found.per_sample, " a sample"), **_named(found.tracks, " of a track")}
    )
    if found.standing is not None:
        _print_standing(found.standing)
    if found.map is not None:
        _print_map(found.map)
    if found.training:
        note("\nsamples by distance to the nearest training sample of the same map")
        bins = list(next(iter(found.training.values())))
        rows = [
            (split, *(_share(own[name], sum(own.values())) for name in bins)) for split, own in found.training.items()
        ]
        print_table(("split", *bins), rows, narrow=True)


def _named(own: Mapping[str, Distribution], after: str) -> dict[str, Distribution]:
    return {f"{name}{after}": one for name, one in own.items()}


def _print_classes(found: SetStatistics) -> None:
    note("\nboxes by class; of their distance and tracks the median, of speed and path p95")
    rows = [
        (
            _short(name),
            str(own.boxes),
            str(own.objects),
            _share(own.empty, own.boxes),
            _share(own.moving, own.boxes),
            _number(own.median_distance_m, 0),
            _number(own.speed_p95, 1),
            _number(own.track_samples, 0),
            _number(own.track_s, 1),
            _number(own.track_m_p95, 0),
        )
        for name, own in found.classes.items()
    ]
    heads = ("class", "boxes", "objects", "no points", "moving", "m", "m/s", "samples", "s", "path m")
    print_table(heads, rows, narrow=True)


def _print_by_class(found: SetStatistics, axis: int) -> None:
    note(f"\nboxes by class and {('class', 'distance', 'visibility')[axis]}")
    values = sorted({cell.values[axis] for cell in found.cells}, key=_order)
    _print_counts(found, values, lambda cell: cell[axis])


def _order(value: str) -> tuple[bool, int, str]:
    """Sort `0-10 m` before `10-20 m`, and what has no end last."""
    digits = value.split("-")[0].split(" ")[0]
    return (not digits.isdigit(), int(digits) if digits.isdigit() else 0, value)


def _print_conditions(found: SetStatistics) -> None:
    if {"light", "weather"} & set(found.lacking):
        return
    note("\nboxes by class, light and weather")
    values = sorted({f"{cell.values[3]} {cell.values[4]}" for cell in found.cells})
    _print_counts(found, values, lambda cell: f"{cell[3]} {cell[4]}")


def _print_counts(found: SetStatistics, values: Sequence[str], choose: object) -> None:
    assert callable(choose)
    counts: dict[tuple[str, str], int] = {}
    for cell in found.cells:
        key = (cell.values[0], choose(cell.values))
        counts[key] = counts.get(key, 0) + cell.boxes
    rows = [(_short(name), *(str(counts.get((name, value), 0)) for value in values)) for name in found.classes]
    print_table(("class", *values), rows, narrow=True)


def _print_distributions(own: Mapping[str, Distribution]) -> None:
    note("\nhow the vehicle drives, objects a sample, tracks")
    rows = [
        (
            f"{name.replace('_', ' ')}{f' [{one.unit}]' if one.unit else ''}",
            str(one.n),
            *(_number(value, 2) for value in (one.mean, *one.quantiles.values(), one.maximum)),
        )
        for name, one in own.items()
        if one.n
    ]
    print_table(("quantity", "n", "mean", "p5", "p25", "p50", "p75", "p95", "max"), rows, narrow=True)


def _print_standing(own: Standing) -> None:
    note(
        f"\nstanding (below 0.2 m/s): {count_of(own.samples, 'sample')} of {count_of(own.scenes, 'scene')}\n"
        f"repeat the sample before: {count_of(own.duplicates, 'sample')} with {count_of(own.duplicated_boxes, 'box')}; "
        f"{own.distinct:,} do not"
    )


def _print_map(own: MapStatistics) -> None:
    note(f"\nmap elements around {own.samples} of {own.whole} samples; length and curvature: p5, p50, p95")
    rows = [
        (name, str(row.elements), f"{row.per_sample:.2f}", _triple(row.length_m, 1), _triple(row.curvature, 4))
        for name, row in own.classes.items()
    ]
    print_table(("class", "elements", "a sample", "length m", "curvature 1/m"), rows, narrow=True)
    _print_lacking({f"map elements of {name}": reason for name, reason in own.lacking.items()})


def _print_pictures(found: Statistics, name: str) -> None:
    held = (count_of(found.scenes, "scene"), count_of(found.samples, "sample"), count_of(found.pictures, "picture"))
    note(f"{name}: {', '.join(held)}")
    if found.unreadable:
        note(f"{count_of(found.unreadable, 'picture')} cannot be read")
    if found.classes or found.annotated:
        note(f"{found.annotated} pictures are annotated, {found.without_objects} of them hold no object")
    if found.counts:
        counted = ", ".join(f"{number} {name}" for name, number in found.counts.items())
        note(f"{found.counted} pictures are counted: {counted}")
    sizes = [f"{count} of {size}" for size, count in found.sizes.items()]
    note(f"pixels: {', '.join(sizes[:MAX_SIZES])}{f', {len(sizes) - MAX_SIZES} more sizes' * (len(sizes) > MAX_SIZES)}")
    rows = [
        (
            name,
            *(str(number) for number in (own.objects, own.small, own.medium, own.large, own.ignored, own.pictures)),
            f"{own.width_px['p50']:g}x{own.height_px['p50']:g}" if own.width_px else "",
        )
        for name, own in found.classes.items()
    ]
    if rows:
        print_table(("class", "objects", "small", "medium", "large", "ignored", "pictures", "median px"), rows)


def _print_lacking(lacking: Mapping[str, str]) -> None:
    reasons: dict[str, list[str]] = {}
    for name, reason in lacking.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        note(f"not there: {', '.join(names)}: {reason}")


def _short(name: str) -> str:
    """A class as it is, or the last word of a category that is no class."""
    return name.rsplit(".", 1)[-1]


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f} %)" if whole else "0"


def _triple(values: Iterable[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values) or "-"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
