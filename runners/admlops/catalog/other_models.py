"""Well-known models that take no picture, so that a name of theirs is answered with the reason and not with a guess."""

from __future__ import annotations

import re

_FAMILIES = {
    "text": (
        "albert",
        "bart",
        "bert",
        "bloom",
        "deberta",
        "distilbert",
        "electra",
        "falcon",
        "gpt",
        "gpt2",
        "llama",
        "mistral",
        "opt",
        "phi",
        "pythia",
        "roberta",
        "t5",
        "word2vec",
        "xlm",
        "xlnet",
    ),
    "audio": ("hubert", "musicgen", "speecht5", "wav2vec", "wav2vec2", "wavlm", "whisper"),
}
_KIND = {family: kind for kind, families in _FAMILIES.items() for family in families}


def explain_no_picture(name: str) -> str | None:
    """Return why a model of that name takes no picture, None if it is not known to take none.

    The name is a family's, with a size or a publisher: `roberta_base`, `facebook/wav2vec2-base`, `GPT2`.
    """
    family = re.split(r"[-_. ]", name.rpartition("/")[2].lower(), maxsplit=1)[0]
    kind = _KIND.get(family)
    return None if kind is None else f"{name} is {'an' if kind == 'audio' else 'a'} {kind} model: it takes no picture"
