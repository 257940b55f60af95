"""Run by a model's environment: random weights for one of its configurations, as a checkpoint.

python draw_checkpoint.py {"model", "config" or "", "checkpoint", "draw": seed}
"""

from inside_model import load_adapter, load_drawn, read_request


def main() -> None:
    wanted = read_request()
    load_drawn(load_adapter(wanted["model"]), wanted)


if __name__ == "__main__":
    main()
