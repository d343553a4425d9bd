"""Aider: edits a file of a repository and commits the edit, over OpenAI's API and over Ollama's."""

import os
import pathlib
import subprocess
import sys
import tempfile

URL = sys.argv[1]
AIDER = pathlib.Path(sys.executable).with_name("aider")
BEFORE = 'def greet():\n    return "Good day"\n'
AFTER = 'def greet():\n    return "Hello"\n'


def git(folder, *arguments):
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def edits(model, *options):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "greeting.py")
        path.write_text(BEFORE)
        git(folder, "init", "-q")
        git(folder, "config", "user.name", "Someone")
        git(folder, "config", "user.email", "someone@localhost")
        git(folder, "add", "greeting.py")
        git(folder, "commit", "-q", "-m", "first")
        home = {"HOME": folder, "OLLAMA_API_BASE": URL, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        command = [AIDER, "--model", model, "--edit-format", "whole", "--yes-always", "--no-check-update", "--no-gitignore",
                   "--no-show-release-notes", "--analytics-disable", "--no-show-model-warnings", "--no-detect-urls",
                   *options, "--message", "Say hello instead of good day.", "greeting.py"]
        done = subprocess.run(command, cwd=folder, env={**os.environ, **home}, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        told = done.stdout + done.stderr
        assert done.returncode == 0 and path.read_text() == AFTER, told
        # The message of the commit is an answer of the model too.
        assert git(folder, "log", "-1", "--format=%s").strip() == "feat: say hello", told
        assert "Applied edit to greeting.py" in told and "litellm." not in told, told


over_openai = ("--openai-api-base", URL + "/v1", "--openai-api-key", "none")
edits("openai/editor", *over_openai)
edits("ollama_chat/editor", "--no-stream")
