"""The job that says what goes into a model's network and comes out of it, without its weights.

Networks whose shapes follow from a configuration that `load` reads cannot say: then `unknown` is the reason.
"""

from typing import Any, Dict, Mapping

from .adapter import Adapter, Settings
from .export import described
from .network import DEFAULT_FORM, load_network


def run(adapter: Adapter, settings: Settings, request: Mapping[str, Any]) -> Dict[str, Any]:
    """Return `inputs` and `outputs` of the form `request["form"]`, as a manifest has them, or `unknown`."""
    network = load_network(adapter, str(request.get("form") or DEFAULT_FORM))
    try:
        inputs, outputs = network.inputs(), network.outputs()
    except Exception as error:  # noqa: BLE001  whatever it lacks that `load` would have made
        return {"unknown": "{}: {}".format(type(error).__name__, error)}
    return {"inputs": [described(one) for one in inputs], "outputs": [described(one) for one in outputs]}
