"""Schemathesis: requests that fit `/openapi.json` and requests that break it; no answer may be a fault of the server."""

import os
import pathlib
import subprocess
import sys
import tempfile

SCHEMATHESIS = pathlib.Path(sys.executable).with_name("schemathesis")
EXAMPLES = os.environ.get("LAIR_TEST_SCHEMATHESIS_EXAMPLES", "10")
with tempfile.TemporaryDirectory() as folder:
    command = [SCHEMATHESIS, "run", sys.argv[1] + "/openapi.json", "--checks", "not_a_server_error", "--mode", "all",
               "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", "1", "--no-color",
               "--continue-on-failure", "--generation-database", "none", "--warnings", "off",
               "--suppress-health-check", "all"]
    hooks = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": folder}
    # Most made-up names are of no model: with names of models that are there, what stands behind is reached as well.
    pathlib.Path(folder, "hooks.py").write_text("""
import schemathesis

NAMES = ("told", "tiny", "embedder", "agent")


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("model"), str) and case.method == "POST":
        length = sum(map(ord, body["model"]))
        if length % 5 < 4 and "/api/create" not in case.path and "/api/copy" not in case.path:
            body["model"] = NAMES[length % 5]
        for key in ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"):
            if isinstance(body.get(key, 0), int) and not isinstance(body.get(key, 0), bool):
                body[key] = min(body.get(key, 8), 8)
""")
    done = subprocess.run(command, cwd=folder, env={**os.environ, **hooks}, capture_output=True, text=True)
    print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr)
    assert done.returncode == 0, "a request made the server fail"
    assert "No issues found" in done.stdout, "it did not run"
