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
               "--suppress-health-check", "all",
               # The first key closes the server to all that follows; events of downloads never end.
               "--exclude-path-regex", "^/lair/v1/(keys|downloads/events)"]
    hooks = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": folder}
    # Most made-up names are of no model and most made-up messages are none: with some that are right, what is made up in
    # the other fields reaches what stands behind.
    pathlib.Path(folder, "hooks.py").write_text('''
import itertools

import schemathesis

NAMES = ("told", "tiny", "embedder", "agent")
RIGHT = {
    "messages": [{"role": "user", "content": "hi"}], "prompt": "hi", "input": "hi", "content": "hi", "query": "hi",
    "documents": ["a", "b"], "input_prefix": "a", "input_suffix": "b", "max_tokens": 8,
}
count = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if case.method != "POST" or not isinstance(body, dict) or case.path in ("/api/create", "/api/copy"):
        return
    turn = next(count)
    if turn % 8 < 7 and "model" in body:
        body["model"] = NAMES[turn % 4]
    if turn % 3 < 2:
        body.update({key: value for key, value in RIGHT.items() if key in body})
    # The longest answers of the tiny models take the longest, and show nothing more.
    for key in ("max_completion_tokens", "max_output_tokens", "n_predict"):
        if isinstance(body.get(key), int) and not isinstance(body[key], bool):
            body[key] = min(body[key], 8)
''')
    done = subprocess.run(command, cwd=folder, env={**os.environ, **hooks}, capture_output=True, text=True)
    print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr)
    assert done.returncode == 0, "a request made the server fail"
    assert "No issues found" in done.stdout, "it did not run"
