"""The variants of the VAE are options of the command, and an experiment of each can be asked."""

import numpy as np
import polars as pl
import pytest
import torch
from support.commands import run

from ignite_recipes import (
    VectorEmbedder,
    evaluate,
    load_digits_matrix,
    load_model,
    predict,
    read_checkpoint,
    write_example_ebd,
)

VARIANTS = {
    "multinomial": ["--likelihood", "multinomial", "--input-dropout", "0.5", "--beta", "0.2", "--kl-epochs", "2"],
    "gaussian": ["--likelihood", "gaussian", "--num-layers", "1"],
    "a fixed scale": ["--likelihood", "gaussian", "--scale", "0.3", "--num-layers", "0"],
    "importance samples": ["--importance-samples", "3", "--kl-epochs", "2", "--kl-cycles", "2"],
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.usefixtures("no_pictures")
def test_a_variant_is_trained_measured_and_read_again(tmp_path, capsys, variant):
    size = ["--hidden-dimension", "16", "--latent-dimension", "3", "--epochs", "2", "--batch-size", "512"]
    common = ("--device", "cpu", "--runs-dir", str(tmp_path))
    code, out, err = run(capsys, "vae", *VARIANTS[variant], *size, *common)
    assert code == 0, err
    assert "Best validation loss" in out
    x = load_digits_matrix()[0][:50]
    predictor = load_model(tmp_path / "exp1" / "model.safetensors")
    assert isinstance(predictor, VectorEmbedder)
    found = evaluate("exp1", x, runs_dir=tmp_path, device="cpu", importance_samples=20)
    assert all(map(np.isfinite, found.values()))
    again = predict("exp1", pl.DataFrame(x.numpy()), what="both", runs_dir=tmp_path, device="cpu")
    assert again.shape == (50, 3 + 64)
    # Without the model file the same is made of settings and checkpoint.
    (tmp_path / "exp1" / "model.safetensors").unlink()
    of_checkpoint = predict("exp1", pl.DataFrame(x.numpy()), what="both", runs_dir=tmp_path, device="cpu")
    torch.testing.assert_close(torch.tensor(of_checkpoint.to_numpy()), torch.tensor(again.to_numpy()))
    code, _, err = run(capsys, "vae", "--resume", "exp1", "--epochs", "3", *common)
    assert code == 0, err
    assert read_checkpoint(tmp_path / "exp1" / "checkpoints" / "latest_checkpoint.pt")["epoch"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--likelihood", "normal"], "one of bernoulli, multinomial"),
        (["--likelihood", "poisson"], "whole numbers of at least 0"),
        (["--scale", "2"], "leave it out"),
        (["--free-bits", "-1"], "free_bits must be"),
        (["--kl-cycles", "3"], "kl_cycles=3 must have epochs"),
        (["--importance-samples", "0"], "importance_samples must be"),
        (["--input-dropout", "1"], "input_dropout must be"),
        (["--num-layers", "-1"], "num_layers must be"),
        (["--beta", "x"], "beta"),
        (["--importance-samples", "2", "--free-bits", "0.1"], "leave one of them out"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, options, message):
    code, _, err = run(capsys, "vae", *options, "--device", "cpu", "--runs-dir", str(tmp_path))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "exp1").exists()


@pytest.mark.usefixtures("no_pictures")
def test_of_few_checklists_it_says_what_has_helped(tmp_path, capsys, caplog):
    path = write_example_ebd(tmp_path / "few.txt", 200)
    small = ["--hidden-dimension", "8", "--epochs", "1", "--device", "cpu", "--runs-dir", str(tmp_path / "runs")]
    small += ["--answers", "false"]
    said = []
    for options in ([], ["--input-dropout", "0.5"]):
        caplog.clear()
        assert run(capsys, "vae", str(path), *small, *options)[0] == 0
        said.append([r.getMessage() for r in caplog.records if "checklists are few" in r.getMessage()])
    assert [len(texts) for texts in said] == [1, 0]
    assert "--input-dropout 0.5 --batch-size 16" in said[0][0]
