"""Where the weights are in what a trainer saved, and which key of theirs is which of the network's.

Shared by the host, which reads a checkpoint's structure without loading it, and by the worker, which loads it: so both
speak of the same tensors. A checkpoint is nested dictionaries; nothing here depends on what a tensor is.
"""

from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "checkpoint",
    "student",
)
"""Keys that trainers keep the weights under, the likeliest first."""
EMA_WRAPPERS = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "model_state_dict_ema",
    "model_ema",
    "ema_model",
    "params_ema",
    "ema_weights",
    "ema",
)
"""Keys of the weights' exponential moving average."""
NOT_WEIGHTS = (
    "optimizer",
    "optim",
    "scheduler",
    "scaler",
    "amp",
    "meta",
    "message_hub",
    "callbacks",
    "loops",
    "hyper_parameters",
    "rng",
    "random",
    "teacher",
)
"""Beginnings of keys whose tensors are no weights of the network."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "_forward_module.", "student.", "state_dict.")
"""What wrappers put before every key of the network that they hold."""
INNER_PREFIXES = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What wrappers of a part put before the part's keys, wherever they stand."""
EMA_KEY = "ema_"
"""The beginning of keys that mmcv 1's EMAHook keeps beside the weights, with `_` for every dot."""
AVERAGE_COUNTERS = frozenset({"steps", "n_averaged", "num_updates"})
"""What an averaged model's state holds beside the weights: how many it is the average of."""
MOST_NESTED = 5
MOST_DICTIONARIES = 20000


Place = Tuple[Tuple[str, ...], Dict[str, Any]]
"""The keys that lead to a set of weights, and the set."""


class StateError(ValueError):
    """There are no weights, or more than one set of them; the message says what there is."""


class Found(NamedTuple):
    """The weights: `path` are the keys that lead to them, and `tensors` they themselves, by their own keys.

    `ema` tells whether they are a moving average; `left` names the other set beside them, "" if there is none.
    """

    path: Tuple[str, ...]
    tensors: Dict[str, Any]
    ema: bool
    left: str


def find_state(content: Any, is_tensor: Callable[[Any], bool], *, ema: Optional[bool] = None) -> Found:
    """The weights in `content`: those under the usual key; a moving average only where there are no others.

    `ema` asks for the moving average (True) or for the weights that were trained (False).

    Raises:
        StateError: there are none, several that are alike, or not those asked for.
    """
    if not isinstance(content, Mapping):
        raise StateError("it holds a {}, not weights by name".format(_spell(content)))
    search = _Search(is_tensor)
    plain, average = search.at(content, (), WRAPPERS), search.average(content)
    if plain is not None and average is not None and _is_nested(average) and not _is_nested(plain):
        plain = None
    chosen = average if ema or (plain is None and ema is None) else plain
    if chosen is None:
        if ema and plain is not None:
            raise StateError("it holds no moving average of its weights")
        if average is not None:
            raise StateError("it holds a moving average of weights and not the weights themselves")
        raise StateError("it holds no weights by name" + _other_tensors(content, is_tensor))
    path, tensors = chosen
    other = plain if chosen is average else average
    if other is not None and other[0] == path:
        other = None
    left = "" if other is None else ".".join(other[0]) or "the top"
    names = {key.replace(".", "_") for key in tensors}
    averaged = [key for key in tensors if key.startswith(EMA_KEY) and "." not in key and key[len(EMA_KEY) :] in names]
    aside = AVERAGE_COUNTERS.union(averaged)
    kept = {key: value for key, value in tensors.items() if key not in aside}
    if averaged and not left:
        left = "keys that begin with " + EMA_KEY
    return Found(path=path, tensors=kept, ema=chosen is average, left=left)


def fit_keys(keys: Iterable[str], wanted: Iterable[str]) -> Dict[str, str]:
    """The network's key for each of a checkpoint's: what wrappers put before and between is taken away.

    Nothing is taken away that the network's own keys have; the spelling that most of `wanted` answer to is chosen.
    """
    names = list(keys)
    known = set(wanted)
    best = {key: key for key in names}
    for trial in _spellings(names):
        if len(set(trial.values())) < len(names):
            continue  # two keys would become one
        if sum(key in known for key in trial.values()) > sum(key in known for key in best.values()):
            best = trial
    return best


def plain_keys(keys: Iterable[str]) -> Dict[str, str]:
    """The keys without every prefix of a wrapper, for telling whether two checkpoints are of one network."""
    names = list(keys)
    trials = [trial for trial in _spellings(names) if len(set(trial.values())) == len(names)]
    return trials[-1] if trials else {key: key for key in names}


def _spellings(names: List[str]) -> Iterable[Dict[str, str]]:
    """The keys as they are, then with one prefix after the other taken away, each with the inner ones left or gone."""
    current = {key: key for key in names}
    while True:
        yield dict(current)
        yield {key: _without_inner(value) for key, value in current.items()}
        values = list(current.values())
        shared = next((one for one in PREFIXES if values and all(value.startswith(one) for value in values)), None)
        if shared is None:
            return
        current = {key: value[len(shared) :] for key, value in current.items()}


def _without_inner(key: str) -> str:
    for prefix in INNER_PREFIXES:
        key = key.replace("." + prefix, ".")
        if key.startswith(prefix):
            key = key[len(prefix) :]
    return key


class _Search:
    """Looks for weights at or below a dictionary, and gives up on a content without end."""

    def __init__(self, is_tensor: Callable[[Any], bool]) -> None:
        self._is_tensor = is_tensor
        self._seen = 0

    def at(self, content: Mapping[Any, Any], path: Tuple[str, ...], wrappers: Tuple[str, ...]) -> Optional[Place]:
        """A known key leads the way; then come the tensors of `content` itself, then the only part that has some."""
        self._seen += 1
        if self._seen > MOST_DICTIONARIES:
            raise StateError("it holds too many dictionaries to find weights in them")
        if len(path) > MOST_NESTED:
            return None
        for key in wrappers:
            inner = content.get(key)
            found = self.at(inner, (*path, key), WRAPPERS) if isinstance(inner, Mapping) else None
            if found is not None:
                return found
        own = {key: value for key, value in content.items() if isinstance(key, str) and self._is_tensor(value)}
        if any("." in key for key in own):
            return path, own
        below = self._only_one(content, path)
        # Numbers that a trainer kept as tensors, such as its best score, are no weights beside weights.
        return below if below is not None and (not own or _is_nested(below)) else ((path, own) if own else None)

    def average(self, content: Mapping[Any, Any]) -> Optional[Place]:
        """The moving average under one of its keys."""
        for key in EMA_WRAPPERS:
            inner = content.get(key)
            found = self.at(inner, (key,), WRAPPERS) if isinstance(inner, Mapping) else None
            if found is not None:
                return found
        return None

    def _only_one(self, content: Mapping[Any, Any], path: Tuple[str, ...]) -> Optional[Place]:
        others = []
        for key, inner in content.items():
            if isinstance(key, str) and isinstance(inner, Mapping) and not _is_no_weights(key):
                found = self.at(inner, (*path, key), WRAPPERS)
                if found is not None:
                    others.append(found)
        if len(others) > 1:
            names = ", ".join(".".join(one[0]) for one in others[:5])
            raise StateError("it holds several sets of weights ({}); save the one that is meant".format(names))
        return others[0] if others else None


def _is_nested(place: Place) -> bool:
    """Tell whether the tensors are of a network with parts, by their keys."""
    return any("." in key for key in place[1])


def _is_no_weights(key: str) -> bool:
    lower = key.lower()
    return lower.startswith(NOT_WEIGHTS) or lower in EMA_WRAPPERS


def _other_tensors(content: Any, is_tensor: Callable[[Any], bool]) -> str:
    """Return where there are tensors all the same: an optimizer's, say."""
    keys: List[str] = []
    seen = set()
    for key, value in content.items():
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if is_tensor(one):
                keys.append(str(key))
                break
            if id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, Mapping):
                waiting.extend(one.values())
            elif isinstance(one, (list, tuple)):
                waiting.extend(one)
    return "; it has tensors under {}".format(", ".join(keys[:5])) if keys else ""


def _spell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "list of {}".format(len(value))
    return type(value).__name__.lower()
