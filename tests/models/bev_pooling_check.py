"""Run by MapTR's or MapTRv2's environment: the pooling in PyTorch against upstream's own sum in double precision.

    python bev_pooling_check.py {"model"}

Upstream's `QuickCumsum` takes the differences of a cumulated sum, whose rounding grows with the number of points in
single precision and is nothing in double. Prints, as JSON, the largest difference in `double` and in `single`
precision, the `scale` of the sums, and the largest value of cells without points.
"""

import json
from typing import Any

from inside_model import load_adapter, read_request

from worker.mmlab.common.libraries import load_library
from worker.mmlab.common.source import enter_source

POINTS, CHANNELS = 200_000, 16
SHAPE = (2, 3, 40, 25)
"""Batches, levels, rows and columns."""


def main() -> None:
    adapter = load_adapter(read_request()["model"])
    enter_source(adapter.source_root(), below=adapter.source_paths)
    adapter.import_libraries()
    torch = load_library("torch")
    upstream = load_library("mmdet3d.ops.bev_pool.bev_pool")
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(POINTS, CHANNELS, generator=generator, dtype=torch.float64) + 1.0
    batches, levels, rows, columns = SHAPE
    # Some cells of the last batch's last level get nothing.
    cells = torch.stack(
        [torch.randint(0, limit, (POINTS,), generator=generator) for limit in (rows, columns - 5, levels, batches)], 1
    )
    wanted = cumulated(torch, upstream, features, cells)
    shape = (batches, *(torch.tensor(float(one)) for one in (levels, rows, columns)))  # as the encoders give them
    double = upstream.bev_pool(features, cells, *shape)
    single = upstream.bev_pool(features.float(), cells, *shape)
    print(
        json.dumps(
            {
                "double": float((double - wanted).abs().max()),
                "single": float((single.double() - wanted).abs().max()),
                "scale": float(wanted.abs().max()),
                "empty": float(double[..., columns - 5 :].abs().max()),
            }
        )
    )


def cumulated(torch: Any, upstream: Any, features: Any, cells: Any) -> Any:
    """Upstream's sum for where there is no kernel, in the form of its `bev_pool`: (batches, channels, levels, …)."""
    batches, levels, rows, columns = SHAPE
    ranks = ((cells[:, 0] * columns + cells[:, 1]) * levels + cells[:, 2]) * batches + cells[:, 3]
    order = ranks.argsort()
    sums, places = upstream.QuickCumsum.apply(features[order], cells[order], ranks[order])
    found = torch.zeros(batches, CHANNELS, levels, rows, columns, dtype=sums.dtype)
    found[places[:, 3], :, places[:, 2], places[:, 0], places[:, 1]] = sums
    return found


if __name__ == "__main__":
    main()
