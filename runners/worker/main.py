"""The entry point of every adapter: its command line, and the choice between a worker and a single sample."""

import argparse
from typing import Optional, Sequence, Type

from .adapter import Adapter
from .extension import folder_of, import_extension
from .jobs import run_job
from .precision import AUTHORS, PRECISIONS
from .serve import serve
from .standalone import run_one


def main(adapter: Type[Adapter], arguments: Optional[Sequence[str]] = None) -> int:
    """Run `adapter` as the command line asks, and return the exit code: 2 for a mistake of the user's."""
    options = _parser(adapter.name).parse_args(arguments)
    if not adapter.imports_extension:
        import_extension(folder_of(adapter))
    if options.serve:
        return serve(adapter, read_fd=options.read_fd, write_fd=options.write_fd)
    if options.job:
        return run_job(adapter, options.job)
    return run_one(adapter, options)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run {} on one sample of nuScenes or OpenLane-V2.".format(name))
    parser.add_argument("--sample-token", help="the sample to run on")
    parser.add_argument("--dataroot", help="the data set's folder: nuScenes' with samples/, or OpenLane-V2's")
    parser.add_argument("--version", default="v1.0-mini", help="nuScenes' folder of tables (default: %(default)s)")
    parser.add_argument("--out", default="-", help="where to write the JSON; - is standard output (default)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda:0, … (default: %(default)s)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default=AUTHORS, help="the network's arithmetic (default: %(default)s)"
    )
    parser.add_argument("--config", help="the model's configuration file")
    parser.add_argument("--checkpoint", help="the model's weights")
    parser.add_argument("--weights", help="random:SEED draws the weights from a seed instead of a checkpoint")
    parser.add_argument("--options", help="the model's options as JSON, as settings.options in a run's run.json")
    parser.add_argument("--variant", default="", help="the variant of the environment this runs in")
    worker = parser.add_argument_group("as a worker, started by the host")
    worker.add_argument("--serve", action="store_true", help="speak the wire format on two inherited descriptors")
    worker.add_argument("--read-fd", type=int, default=-1, help="the descriptor requests come from")
    worker.add_argument("--write-fd", type=int, default=-1, help="the descriptor answers go to")
    worker.add_argument("--job", metavar="FILE", help="do what a JSON file says, and write the answer that it names")
    return parser
