"""Run by MapTR's environment: the PyTorch attention against a loop over every channel; prints the largest difference.

The loop is the definition: for each query, head and channel, the sum over levels and points of the weight times the
value of the pixel, whose position is clamped to the level's border.
"""

from itertools import product

import inside_model  # noqa: F401  it lets `worker` be imported

from worker.mmlab.common.libraries import load_library

torch = load_library("torch")
attend = load_library("worker.mmlab.v1.geometric_kernel_attention").attend


def main() -> None:
    torch.manual_seed(0)
    batch, heads, channels, queries, points = 2, 3, 4, 5, 6
    shapes = torch.tensor([[4, 6], [2, 3]])
    starts = torch.tensor([0, 24])
    value = torch.randn(batch, 30, heads, channels)
    places = torch.randint(-3, 9, (batch, queries, heads, 2, points, 2))  # some outside, on every side
    weights = torch.rand(batch, queries, heads, 2, points)
    expected = torch.zeros(batch, queries, heads * channels, dtype=torch.float64)
    for b, q, h, c in product(range(batch), range(queries), range(heads), range(channels)):
        total = 0.0
        for level, point in product(range(2), range(points)):
            height, width = shapes[level].tolist()
            x, y = places[b, q, h, level, point].tolist()
            pixel = int(starts[level]) + min(max(y, 0), height - 1) * width + min(max(x, 0), width - 1)
            total += float(value[b, pixel, h, c]) * float(weights[b, q, h, level, point])
        expected[b, q, h * channels + c] = total
    assert expected.abs().max() > 1
    print(float((attend(value, shapes, starts, places, weights, 192).double() - expected).abs().max()))


if __name__ == "__main__":
    main()
