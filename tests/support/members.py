"""What the members of an experiment have come to, to the last bit."""

from pathlib import Path

import pandas as pd
import torch

from ignite_recipes import Runs, read_checkpoint


def saved_weights(folder, file="best_model.pt"):
    """Those in a checkpoint of an experiment."""
    return read_checkpoint(Path(folder, "checkpoints", file))["model_state_dict"]


def result(folder):
    """All that a member has come to, to the bit."""
    found = {}
    for one in Runs(f"{folder}/exp1").members:
        for file in ("best_model.pt", "latest_checkpoint.pt"):
            contents = read_checkpoint(one.folder / "checkpoints" / file)
            found[one.name, file] = {**contents["model_state_dict"], "epoch": torch.tensor(contents["epoch"])}
        log = pd.read_csv(one.folder / "training_log.csv")
        columns = [name for name in log.columns if name not in ("seconds", "batches_per_second", "finished_at")]
        found[one.name, "log"] = {"log": torch.tensor(log[columns].to_numpy(dtype=float))}
    return found


def differing(first, second):
    return [
        (place, name)
        for place, values in first.items()
        for name, value in values.items()
        if not torch.equal(value.nan_to_num(-1.0), second[place][name].nan_to_num(-1.0))
    ]
