"""What a user's type checker says of a program that passes narrowly annotated functions to the library."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROGRAM = HERE / "support/user_program.py"


@pytest.mark.slow
def test_a_users_own_classes_of_model_and_batch_pass_and_a_wrong_function_does_not(tmp_path):
    text = PROGRAM.read_text()
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(text)
    wrong.write_text(f"{text}\n\nir.create_trainer(model, optimizer, get_inputs)  # takes a batch only\n")
    environment = {**os.environ, "MYPYPATH": str(HERE.parent)}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--cache-dir", tmp_path / "cache"]
    command += ["--follow-imports=silent"]  # as of a package that is installed, whose own files are not judged
    said = [
        subprocess.run([*command, file], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        for file in (right, wrong)
    ]
    assert "no issues found" in said[0].stdout, said[0].stdout
    assert "Found 1 error" in said[1].stdout
    assert 'Argument 3 to "create_trainer"' in said[1].stdout
