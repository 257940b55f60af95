"""What a deployment cannot do on this machine, with this model and these samples: refused before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from admlops.catalog import Model, load_model
from admlops.core.errors import RecordError, StorageError, UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.storage import require_writable
from admlops.core.types import Say
from admlops.datasets.base import Dataset, HasSplits, open_data
from admlops.deployment.calibration import require_apart
from admlops.deployment.deploy_config import PYTORCH, TENSORRT, Deployment
from admlops.deployment.deploy_tensors import check_tensors, names_tensors
from admlops.deployment.engines import AUTO
from admlops.deployment.manifest import Manifest
from admlops.health.devices import choose_devices
from admlops.health.gpus import detect_gpus
from admlops.health.machine import describe_machine
from admlops.pipeline.deploy_request import (
    DeployRequest,
    engine_run,
    export_request,
    judging_run,
    made_engine,
    named_engine,
)
from admlops.pipeline.export import DEFAULT_OPSET, OPSETS, check_export
from admlops.pipeline.network_tensors import find_tensors
from admlops.pipeline.run_engine import find_engine, require_network
from admlops.pipeline.selection import select
from admlops.pipeline.verify import MIN_FRAMES
from admlops.pipeline.write_precision import Wanted, choose_samples
from admlops.worker.write_precision import INT8


def check_deployment(layout: Layout, request: DeployRequest, *, say: Say) -> None:
    """Refuse what cannot be done here, before anything is done.

    Names and shapes are checked against those of an earlier export by the same code, or of the network itself.

    Raises:
        UsageError: a key contradicts the model, the machine, a file or the samples: names its line.
        DataError: the samples are not there.
    """
    deployment = request.deployment
    model = load_model(layout, request.run.model)
    require_network(model)
    _check_machine(request)
    _check_weights(request, model)
    _check_files(deployment)
    if deployment.exports:
        _check_export(request, model)
    else:
        _check_options(request)
    _check_frames(deployment, model)
    _check_engines(layout, request, model, say=say)
    _check_ranges(request, model)
    if deployment.exports and names_tensors(deployment):
        tensors = find_tensors(layout, model, request.run, say=say)
        if tensors is not None:
            check_tensors(deployment, tensors)


def _check_machine(request: DeployRequest) -> None:
    """Raise UsageError for a device that is not here, and for TensorRT without a GPU."""
    deployment, asked = request.deployment, request.run.device
    if deployment.wants_tensorrt and not detect_gpus():
        raise _refuse_tensorrt(deployment, "TensorRT builds engines on an NVIDIA GPU, and none is visible")
    if not deployment.judges:
        return
    if deployment.wants_tensorrt and asked == "cpu":
        raise _refuse_tensorrt(deployment, "TensorRT runs on an NVIDIA GPU, and the device is cpu")
    if asked in ("auto", "cpu"):
        return
    try:
        choose_devices(asked, describe_machine())
    except UsageError as error:
        if "device" not in deployment.keys or deployment.device != asked:
            raise
        raise deployment.refuse(deployment.keys["device"], error.message, 'write device="cpu"') from error


def _refuse_tensorrt(deployment: Deployment, problem: str) -> UsageError:
    key, instead = "export.mode", 'write mode="onnx"'
    if TENSORRT not in deployment.made:
        key, instead = deployment.keys[f"models.{TENSORRT}"], f"remove {TENSORRT} from what is evaluated"
    elif deployment.mode == "trt":
        file = deployment.keys["onnx_file"]
        instead = f'remove {file}, write mode="none" and evaluation.models=dict(onnx="{deployment.onnx_file}")'
    return deployment.refuse(key, problem, instead)


def _check_weights(request: DeployRequest, model: Model) -> None:
    """Raise UsageError for weights that are neither of the catalogue nor a file."""
    deployment, run = request.deployment, request.run
    named = {}
    if run.checkpoint is None and run.weights is None:
        named["checkpoint"] = deployment.checkpoint
    if PYTORCH in deployment.evaluated:
        named[f"models.{PYTORCH}"] = deployment.models.get(PYTORCH)
    for field, weights in named.items():
        if weights is not None and weights not in model.checkpoints and not _is_file(user_path(weights)):
            raise deployment.refuse(
                deployment.keys[field],
                f"{weights} is neither a file nor weights of {model.name} in the catalogue",
                f"admlops checkpoints list {model.name}",
            )


def _check_files(deployment: Deployment) -> None:
    """Raise UsageError for exported files that are not there, and for a folder that cannot be written."""
    named = {"onnx_file": deployment.onnx_file}
    for backend in {*deployment.verified, *deployment.evaluated} & set(deployment.engines):
        path = deployment.models[backend]
        named[f"models.{backend}"] = None if path is None else Path(path)
    for field, file in named.items():
        if file is not None and not _is_file(file):
            raise deployment.refuse(deployment.keys[field], f"{file} is no file", "admlops exported list")
    if deployment.work_dir is not None and deployment.exports:
        try:
            require_writable(deployment.work_dir)
        except StorageError as error:
            raise deployment.refuse(deployment.keys["work_dir"], error.message, error.hint) from error


def _is_file(path: Path) -> bool:
    """Tell whether a file is there; one in a folder that may not be read is not."""
    try:
        return path.is_file()
    except OSError:
        return False


def _check_export(request: DeployRequest, model: Model) -> None:
    """Raise UsageError for an export that cannot be done."""
    deployment = request.deployment
    if deployment.opset is not None and deployment.opset not in OPSETS:
        raise deployment.refuse(
            deployment.keys["opset"],
            f"{deployment.opset} is not one of {OPSETS[0]} to {OPSETS[-1]}",
            f"write opset_version={DEFAULT_OPSET}",
        )
    if deployment.precision == INT8 and request.calibrate is None:
        raise deployment.refuse(
            deployment.keys["precision"],
            "int8 takes its ranges from samples, and none are named",
            f"{request.run.command} --calibrate {_other_split(request, model) or 'FILE'}"
            "   # a split or file of samples that nothing is judged on",
        )
    check_export(model, export_request(request))


def _check_options(request: DeployRequest) -> None:
    """Raise UsageError for options of an export where nothing is exported."""
    for option, given in (
        (f"--calibrate {request.calibrate}", request.calibrate is not None),
        ("--fresh", request.fresh),
    ):
        if given:
            raise request.deployment.refuse(
                "export.mode",
                f'"{request.deployment.mode}" exports nothing, and {option} is of exports',
                f"leave {option} out",
            )


def _check_frames(deployment: Deployment, model: Model) -> None:
    """Raise UsageError for too few frames to verify a model by that carries state."""
    if deployment.verify and model.temporal and deployment.frames is not None and deployment.frames < MIN_FRAMES:
        raise deployment.refuse(
            deployment.keys["frames"],
            f"{model.name} carries state, which shows after the first frame: {MIN_FRAMES} are needed",
            f"write num_verify_samples={MIN_FRAMES}",
        )


def _check_engines(layout: Layout, request: DeployRequest, model: Model, *, say: Say) -> None:
    """Raise UsageError for files that are there already and are not what the config says of them."""
    deployment = request.deployment
    for key, backend in _early_engines(deployment):
        try:
            named = f"models.{backend}" in deployment.keys
            engine = named_engine(layout, request, backend, None) if named else made_engine(deployment, backend, None)
            found = find_engine(layout, model, engine_run(request, engine), say=lambda _: None)
            assert found is not None, "the run has an engine"
            if found.manifest is not None and found.manifest.calibration is not None:
                require_apart(found.manifest, _judged(request, model))
        except (UsageError, RecordError) as error:
            raise deployment.refuse(key, error.message, error.hint) from error
        if not deployment.exports:
            _check_manifest(deployment, model, found.file, found.manifest, say=say)


def _early_engines(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield (key, backend) of the engines whose files are there before anything is done."""
    if deployment.mode == "trt":
        yield deployment.keys["onnx_file"], TENSORRT
    for backend in dict.fromkeys((*deployment.verified, *deployment.evaluated)):
        named = backend in deployment.engines
        if named and (deployment.mode == "none" or deployment.models[backend] is not None):
            yield deployment.keys[f"models.{backend}"], backend


def _check_manifest(deployment: Deployment, model: Model, file: Path, manifest: Manifest | None, *, say: Say) -> None:
    """Raise UsageError if a file has another precision, or other tensors, than the config says."""
    asked = deployment.precision
    if manifest is None:
        if asked != AUTO or names_tensors(deployment):
            say(
                f"{file}: no manifest lies beside it, so what {deployment.file} says of it is not checked: "
                "precision, names, shapes"
            )
        return
    if asked not in (AUTO, manifest.precision) and {asked, manifest.precision} != {AUTO, "fp32_tf32"}:
        samples = " --calibrate SPLIT" if asked == INT8 else ""
        raise deployment.refuse(
            deployment.keys["precision"],
            f"{asked}, and {file} is of the precision {manifest.precision}",
            f"remove it, or name a file that admlops export {model.name} --precision {asked}{samples} made",
        )
    check_tensors(deployment, manifest)


def _check_ranges(request: DeployRequest, model: Model) -> None:
    """Raise UsageError if int8's ranges would be taken from samples that the file is then judged on."""
    deployment = request.deployment
    own = [backend for backend in deployment.evaluated if backend != PYTORCH and deployment.models.get(backend) is None]
    wanted = export_request(request).wanted
    if not deployment.exports or wanted is None or wanted.calibrate is None or not (deployment.verify or own):
        return
    ranges = choose_samples(model, wanted, request.run).tokens
    both = sorted(set(ranges) & set(_judged(request, model)))
    if both:
        other = _other_split(request, model)
        raise deployment.refuse(
            deployment.keys["precision"],
            f"{len(both)} of the {len(ranges)} samples of --calibrate {request.calibrate} are among those that int8 is "
            f"judged on, such as {both[0]}",
            f"pass --calibrate {other}"
            if other
            else "pass another --split, --scene or --tokens, without these samples",
        )


def _judged(request: DeployRequest, model: Model) -> list[str]:
    """Return the tokens of the samples that engines are verified and evaluated on."""
    if not request.deployment.judges:
        return []
    run = judging_run(request)
    data = open_data(run.data, run.version, wanted=model.reads)
    return [token for scene in select(data, run.selection, temporal=model.temporal) for token in scene.samples]


def _other_split(request: DeployRequest, model: Model) -> str | None:
    """Return a split for int8's ranges that has none of the samples that are judged; None if there is none."""
    run = request.run
    data = open_data(run.data, run.version, wanted=model.reads)
    judged = set(_judged(request, model))
    splits = sorted(data.splits(), key=lambda name: "train" not in name) if isinstance(data, HasSplits) else []
    return next((name for name in splits if judged.isdisjoint(_ranges(data, name, model))), None)


def _ranges(data: Dataset, split: str, model: Model) -> list[str]:
    scenes = Wanted(precision=INT8, calibrate=split).select(data, temporal=model.temporal)
    return [token for scene in scenes for token in scene.samples]
