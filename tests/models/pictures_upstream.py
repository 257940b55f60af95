"""Run by a model's environment: pictures through the library's own call, with weights that the library itself saved.

    python pictures_upstream.py {"model", "checkpoint", "seed", "pictures": [path, ...], "out"}

The weights are drawn from the seed and written to `checkpoint` in the form in which the authors publish theirs; the
bias of the classes is raised where no anchor would show a box. Then the library loads that file and looks at each
picture alone. `out` gets JSON: for every picture the rows x1, y1, x2, y2, confidence, label; a classifier's scores.
"""

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inside_model import CHECKOUT, read_request, stop_clocks
from PIL import Image

from worker.mmlab.common.libraries import load_library
from worker.mmlab.common.weights import random_state
from worker.pictures.ultralytics_switches import FOLDERS

CORES = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
"""Threads, as many as the adapter's side takes: their number changes the last bits."""
SWITCHES = {"YOLO_AUTOINSTALL": "0", "YOLO_OFFLINE": "1", "OMP_NUM_THREADS": str(CORES)}
RAISED = 3.5
"""What is added to the logits of the classes, so that a tenth of the anchors show a box."""
SETTLED_SPREAD = 0.5
"""Of the logits after `settle`: boxes of about their anchor's size."""
SETTLED_BIAS = -13.0
"""The classes' own bias after `settle`; of a score that is a product of two, half of it is each one's."""


def main() -> None:
    wanted = read_request()
    os.environ.update({**SWITCHES, **dict.fromkeys(FOLDERS, str(Path(wanted["checkpoint"]).parent))})
    found = WAYS[wanted["model"]](wanted)
    Path(wanted["out"]).write_text(json.dumps(found))


def draw(network: Any, seed: int, *kept: str) -> None:
    """Fill a network with the project's random values; leave what has one of `kept` in its key as it was built."""
    own, state = network.state_dict(), random_state(network, seed)
    stays = {key: any(part in key for part in kept) for key in state}
    network.load_state_dict({key: own[key] if stays[key] else value for key, value in state.items()})


def read_pixels(paths: list[str], width: int, height: int) -> Any:
    """Pictures in one size: (N, 3, height, width), RGB, 0 to 255."""
    torch, numpy = load_library("torch"), load_library("numpy")
    seen = []
    for path in paths:
        with Image.open(path) as picture:
            pixels = numpy.asarray(picture.convert("RGB").resize((width, height)), dtype="float32")
        seen.append(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    return torch.cat(seen)


def settle(network: Any, given: Any, lasts: Any) -> None:
    """Give a drawn network what training would: normalisations with the statistics of `given`, logits of one spread.

    Without, drawn weights give boxes of a hundredth of a pixel or of the whole picture, and scores that are all one.
    """
    torch = load_library("torch")
    norms = [one for one in network.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.momentum = None  # the mean of all pictures
        one.reset_running_stats()
    spread: dict[Any, list[float]] = {one: [] for one in lasts}
    hooks = [
        one.register_forward_hook(lambda own, _given, found: spread[own].append(float(found.std()))) for one in lasts
    ]
    with torch.no_grad():
        network.train()
        network(given)
        network.eval()
        for values in spread.values():
            values.clear()
        network(given)
        for one in lasts:
            one.weight.data *= SETTLED_SPREAD / spread[one][-1]
    for hook in hooks:
        hook.remove()
    for one, momentum in zip(norms, momenta, strict=True):
        one.momentum = momentum


def run_yolov8(wanted: dict[str, Any]) -> dict[str, Any]:
    """`YOLO(file).predict(picture)`; and in one list, which pads the pictures to one another."""
    # It runs on all cores but one, and the number of threads changes the last bits.
    load_library("ultralytics.utils.torch_utils").NUM_THREADS = CORES
    yolo = load_library("ultralytics").YOLO
    made = yolo("yolov8n.yaml")
    draw(made.model, wanted["seed"], "dfl.conv", *(f".cv3.{level}.2.bias" for level in range(3)))
    head = made.model.model[-1]
    if wanted.get("settled"):
        settle(
            made.model,
            read_pixels(wanted["settled"], 640, 384) / 255,
            [branch[-1] for branch in (*head.cv2, *head.cv3)],
        )
        for branch in head.cv3:
            branch[-1].bias.data[:] = SETTLED_BIAS
    for branch in head.cv3:
        branch[-1].bias.data += wanted.get("raised", RAISED)
    made.save(wanted["checkpoint"])
    detector = yolo(wanted["checkpoint"])
    options = {"conf": 0.001, "iou": 0.7, "max_det": 300, "imgsz": 640, "device": "cpu", "verbose": False}

    load_library("ultralytics.utils.nms")
    stop_clocks()

    def look(source: Any) -> list[Any]:
        return [one.boxes.data.tolist() for one in detector.predict(source, **options)]

    return {"rows": [look(path)[0] for path in wanted["pictures"]], "together": look(wanted["pictures"])}


def run_yolov5(wanted: dict[str, Any]) -> dict[str, Any]:
    """`torch.hub.load(source, "custom", file)(picture)`; and what ultralytics makes of the name yolov5s."""
    torch = load_library("torch")
    source = CHECKOUT / "submodules" / "YOLOv5"
    sys.path.insert(0, str(source))
    kind = load_library("models.yolo").DetectionModel
    torch.manual_seed(wanted["seed"])
    network = kind(str(source / "models" / "yolov5n.yaml"))
    head = network.model[-1]
    draw(network, wanted["seed"], *(f".m.{level}.bias" for level in range(3)))
    if wanted.get("settled"):
        settle(network, read_pixels(wanted["settled"], 640, 384) / 255, head.m)
        for layer in head.m:
            layer.bias.data.view(head.na, -1)[:, :4] = 0
            layer.bias.data.view(head.na, -1)[:, 4:] = SETTLED_BIAS / 2
    for layer in head.m:
        # The confidence is the product of two, and the anchors are many.
        layer.bias.data.view(head.na, -1)[:, 4:] += wanted.get("raised", RAISED) / 3
    torch.save({"epoch": -1, "model": network.half(), "ema": None, "optimizer": None}, wanted["checkpoint"])
    detector = torch.hub.load(str(source), "custom", path=wanted["checkpoint"], source="local", device="cpu")
    detector.conf, detector.iou, detector.max_det = 0.001, 0.45, 1000
    stop_clocks()
    other = load_library("ultralytics.nn.tasks").DetectionModel("yolov5s.yaml", verbose=False)
    torch.save({"state_dict": other.state_dict()}, wanted["other"])
    return {
        "rows": [detector(path, size=640).xyxy[0].tolist() for path in wanted["pictures"]],
        "together": [one.tolist() for one in detector(wanted["pictures"], size=640).xyxy],
        "parameters_of_yolov5s": count(kind(str(source / "models" / "yolov5s.yaml"))),
        "parameters_of_ultralytics_yolov5s": count(other),
    }


def count(network: Any) -> int:
    return sum(one.numel() for one in network.parameters())


def run_detectron2(wanted: dict[str, Any]) -> dict[str, Any]:
    """`DefaultPredictor(cfg)(picture)`, with the picture read by the library."""
    source = CHECKOUT / "submodules" / "Detectron2"
    sys.path.insert(0, str(source))
    config = load_library("detectron2.config").get_cfg()
    config.merge_from_file(str(source / "configs" / "COCO-Detection" / "faster_rcnn_R_50_FPN_3x.yaml"))
    config.MODEL.DEVICE, config.MODEL.WEIGHTS = "cpu", ""
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.001
    load_library("torch").manual_seed(wanted["seed"])
    network = load_library("detectron2.modeling").build_model(config)
    draw(network, wanted["seed"])
    network.backbone.bottom_up.stem.conv1.weight.data /= 64  # the configuration divides no pixels
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    with Path(wanted["checkpoint"]).open("wb") as file:
        pickle.dump({"model": state, "__author__": "Detectron2 Model Zoo"}, file)
    config.MODEL.WEIGHTS = wanted["checkpoint"]
    predictor = load_library("detectron2.engine").DefaultPredictor(config)
    read_image = load_library("detectron2.data.detection_utils").read_image
    rows = []
    for path in wanted["pictures"]:
        found = predictor(read_image(path, format="BGR"))["instances"]
        rows.append(join(found.pred_boxes.tensor, found.scores, found.pred_classes))
    return {"rows": rows}


def join(boxes: Any, scores: Any, labels: Any) -> list[Any]:
    """Rows x1, y1, x2, y2, confidence, label of tensors."""
    whole = boxes.new_zeros((len(boxes), 6))
    whole[:, :4], whole[:, 4], whole[:, 5] = boxes, scores, labels
    rows: list[Any] = whole.tolist()
    return rows


def run_fasterrcnn(wanted: dict[str, Any]) -> dict[str, Any]:
    """`fasterrcnn_resnet50_fpn(weights=COCO_V1)`, whose download gives our file."""
    torch, detection = load_library("torch"), load_library("torchvision.models.detection")
    io = load_library("torchvision.io")
    weights = detection.FasterRCNN_ResNet50_FPN_Weights.COCO_V1
    drawn = random_state(detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None), wanted["seed"])
    state = {key: value for key, value in drawn.items() if not key.endswith("num_batches_tracked")}
    torch.save(state, wanted["checkpoint"])
    type(weights).get_state_dict = lambda *_, **__: torch.load(wanted["checkpoint"])
    network = detection.fasterrcnn_resnet50_fpn(weights=weights, box_score_thresh=0.001).eval()
    rows = []
    for path in wanted["pictures"]:
        picture = io.decode_image(path, mode=io.ImageReadMode.RGB).float() / 255
        with torch.inference_mode():
            found = network([picture])[0]
        rows.append(join(found["boxes"], found["scores"], found["labels"]))
    return {"rows": rows}


def run_yolox(wanted: dict[str, Any]) -> dict[str, Any]:
    """`inference_detector(init_detector(config, file), picture)`, from the confidence of the authors' test phase on."""
    torch, apis = load_library("torch"), load_library("mmdet.apis")
    folder = Path(str(load_library("mmdet").__file__)).parent / ".mim" / "configs" / "yolox"
    options = {"model": {"test_cfg": {"score_thr": 0.001}}}
    config = str(folder / "yolox_tiny_8xb8-300e_coco.py")
    made = apis.init_detector(config, None, device="cpu", cfg_options=options)
    made.init_weights()
    priors = [f"multi_level_conv_{kind}.{level}.bias" for kind in ("obj", "cls") for level in range(3)]
    draw(made, wanted["seed"], *priors)
    head = made.bbox_head
    if wanted.get("settled"):
        lasts = [*head.multi_level_conv_reg, *head.multi_level_conv_obj, *head.multi_level_conv_cls]
        pixels = read_pixels(wanted["settled"], 416, 234).flip(1)
        settle(made, torch.nn.functional.pad(pixels, (0, 0, 0, 182), value=114.0), lasts)  # as the library pads
        for layer in head.multi_level_conv_reg:
            layer.weight.data *= 0.2  # sides are powers of e
            layer.bias.data[:] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    for layer in (*head.multi_level_conv_obj, *head.multi_level_conv_cls):
        layer.bias.data += wanted.get("raised", RAISED) / 7  # the confidence is the product of two
    meta = {"dataset_meta": {"classes": tuple(str(label) for label in range(80)), "palette": "random"}}
    torch.save({"state_dict": made.state_dict(), "meta": meta}, wanted["checkpoint"])
    detector = apis.init_detector(config, wanted["checkpoint"], device="cpu", cfg_options=options)
    rows = []
    for path in wanted["pictures"]:
        found = apis.inference_detector(detector, path).pred_instances[:300]
        rows.append(join(found.bboxes, found.scores, found.labels))
    return {"rows": rows}


def run_efficientnet(wanted: dict[str, Any]) -> dict[str, Any]:
    """`timm.create_model(name, checkpoint_path=file)`, timm's own transform and its names of ImageNet's classes."""
    torch, timm, data = (load_library(name) for name in ("torch", "timm", "timm.data"))
    drawn = timm.create_model("efficientnet_b0.ra_in1k", pretrained=False)
    torch.save(random_state(drawn, wanted["seed"]), wanted["checkpoint"])
    network = timm.create_model("efficientnet_b0.ra_in1k", checkpoint_path=wanted["checkpoint"]).eval()
    transform = data.create_transform(**data.resolve_data_config(model=network), is_training=False)
    scores = []
    for path in wanted["pictures"]:
        with torch.inference_mode(), Image.open(path) as image:
            found = network(transform(image.convert("RGB")).unsqueeze(0)).softmax(-1)[0]
        scores.append(float(found[sorted(wanted["labels"])].sum()))
    names = data.ImageNetInfo()
    return {"scores": scores, "names": {str(one): names.index_to_description(one) for one in wanted["labels"]}}


WAYS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "YOLOv8": run_yolov8,
    "YOLOv5": run_yolov5,
    "YOLOX": run_yolox,
    "Detectron2": run_detectron2,
    "FasterRCNN": run_fasterrcnn,
    "EfficientNetB0": run_efficientnet,
}

if __name__ == "__main__":
    main()
