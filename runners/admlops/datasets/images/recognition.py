"""Which form a data set is in, by its content; ambiguous roots are refused, naming their forms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from admlops.core.errors import DataError
from admlops.core.paths import user_path
from admlops.datasets.images.finder import MAX_DEPTH, has_pictures
from admlops.datasets.images.forms import coco, folder, kitti, lists, nuimages, nuscenes_cameras, scalabel, yolo
from admlops.datasets.images.forms.base import Form, Survey

FORMS: tuple[Form, ...] = (
    nuimages.FORM,
    nuscenes_cameras.FORM,
    coco.FORM,
    scalabel.FORM,
    lists.JSON_FORM,
    lists.TEXT_FORM,
    yolo.FORM,
    kitti.FORM,
    folder.FORM,
)
KNOWN = (
    "a folder or a video with pictures, a list of pictures (text or JSON with image_path), COCO's or BDD100K's JSON, "
    "YOLO's data.yaml, KITTI's image_2/, nuImages or nuScenes"
)


def list_versions(root: Path) -> list[str]:
    """Return what a root can be read as: files with labels, tables, or a form; empty if it is in no known form."""
    return [version for _, version in _claims(Survey(user_path(root)))]


def recognise(root: Path) -> bool:
    """Tell whether a root is in one of the forms, or in several."""
    return bool(list_versions(root))


def choose(root: Path, version: str | None) -> tuple[Form, Survey, str]:
    """Return the form and the version to open.

    Raises:
        DataError: there is none, there are several and none is named, or the named one is not there.
    """
    survey = Survey(root)
    claims = list(_claims(survey))
    if not claims and version != folder.FORM.id:
        raise _unknown(root)
    named = [(form, own) for form, own in claims if version in (None, own)]
    if not named and version == folder.FORM.id and has_pictures(root, depth=MAX_DEPTH):
        return folder.FORM, survey, folder.FORM.id  # pictures alone, whatever labels lie beside them
    if len(named) == 1:
        form, own = named[0]
        return form, survey, own
    told = ", ".join(f"{own} ({form.title})" for form, own in claims)
    said = f"{root} holds {told}" if named else f"{root} holds {told}, and no {version}"
    raise DataError(said, hint=f"pass --version with one of them, such as --version {claims[0][1]}")


def _claims(survey: Survey) -> Iterator[tuple[Form, str]]:
    found = [(form, version) for form in FORMS if not form.is_plain for version in form.claim(survey)]
    yield from found or [(form, version) for form in FORMS if form.is_plain for version in form.claim(survey)]


def _unknown(root: Path) -> DataError:
    if not root.exists():
        return DataError(f"{root} is not there", hint=f"ls -d {root.parent}/*   # what is?")
    return DataError(f"{root} holds no pictures in a form that is known", hint=f"known are {KNOWN}: docs/data.md")
