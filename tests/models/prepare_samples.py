"""Run by a model's environment: reads samples as its adapter does, and says what became of each.

    python prepare_samples.py {"model", "config", "dataroot", "tokens"}

The tokens are of scenes in order. The network has random weights and is not called. Prints, as JSON, for each sample
the failure's class and message, empty where it was read.
"""

import json

from inside_model import load_adapter, read_request

from worker.adapter import Settings
from worker.failures import classify
from worker.samples.sample_index import SampleIndex


def main() -> None:
    wanted = read_request()
    adapter = load_adapter(wanted["model"])
    adapter.load(Settings(config=wanted["config"], options={"weights": "random:0"}))
    index = SampleIndex(wanted["dataroot"], "v1.0-mini")
    found, scene = [], ""
    for token in wanted["tokens"]:
        sample = {**index.sample(token), "context": index.context(token)}
        if sample["scene"] != scene:
            scene = sample["scene"]
            adapter.start_scene(scene)
        try:
            adapter.prepare(sample)
        except Exception as error:  # noqa: BLE001  whatever it is, its class is the question
            found.append([classify(error, preparing=True), str(error)])
        else:
            found.append(["", ""])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
