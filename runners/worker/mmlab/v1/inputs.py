"""From one sample's info to the network's input, by the model's own data set class and test pipeline."""

from typing import Any, Callable, Dict, List, Mapping

from ..common.inputs import check_pictures, raise_for_pictures
from ..common.libraries import load_library

Info = Dict[str, Any]


class SamplePipeline:
    """The model's data set class for one sample at a time.

    The class's constructor, which reads the info file and map tables for minutes, is not called: the object gets the
    few attributes that `get_data_info` reads.

    Args:
        config: the configuration, whose test data set and pipeline these are.
        attributes: what else `get_data_info` reads of the object.
        pictures: the files of the pictures that the pipeline reads for an info.
    """

    def __init__(self, config: Any, attributes: Mapping[str, Any], pictures: Callable[[Info], List[str]]) -> None:
        settings = config.data.test
        kind = load_library("mmdet.datasets").DATASETS.get(settings.type)
        if kind is None:
            raise LookupError("the plugin registers no data set class {}".format(settings.type))
        self._dataset = kind.__new__(kind)
        box_type, box_mode = load_library("mmdet3d.core.bbox").get_box_type(settings.get("box_type_3d", "LiDAR"))
        vars(self._dataset).update(
            test_mode=True,
            modality=settings.modality,
            CLASSES=settings.classes,
            box_type_3d=box_type,
            box_mode_3d=box_mode,
            **attributes,
        )
        self._pictures = pictures
        self._compose = load_library("mmdet3d.datasets.pipelines").Compose(settings.pipeline)

    def __call__(self, info: Info) -> Dict[str, Any]:
        """The network's keyword arguments for a batch of one, on the CPU. Raises as `make_batch`."""
        self._dataset.data_infos = [info]
        described = self._dataset.get_data_info(0)
        self._dataset.pre_pipeline(described)
        return make_batch(self._compose, described, self._pictures(info))


def make_batch(compose: Callable[[Any], Any], described: Any, pictures: List[str]) -> Dict[str, Any]:
    """A batch of one, on the CPU, by a data set's pipeline and mmcv's collation.

    Args:
        compose: the pipeline.
        described: what goes into it.
        pictures: the files that it reads.

    Raises:
        DataError: a picture is missing or damaged.
    """
    check_pictures(pictures)
    try:
        example = compose(described)
    except Exception as error:  # transforms raise anything over a picture that cannot be decoded
        raise_for_pictures(pictures, error)
        raise
    batch = load_library("mmcv.parallel").collate([example], samples_per_gpu=1)
    return {key: unwrap(value) for key, value in batch.items()}


def unwrap(value: Any) -> Any:
    """Return what mmcv's data containers hold for the first GPU, through lists."""
    if type(value).__name__ == "DataContainer":
        return value.data[0]
    return [unwrap(item) for item in value] if isinstance(value, list) else value
