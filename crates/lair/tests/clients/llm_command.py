"""Simon Willison's `llm`: its command line against an OpenAI-compatible server and through the plugin `llm-ollama`."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

URL = sys.argv[1]
HOME = pathlib.Path(tempfile.mkdtemp())
LLM = pathlib.Path(sys.executable).with_name("llm")
MODELS = "".join(
    f"- model_id: lair-{name}\n  model_name: {name}\n  api_base: {URL}/v1\n{extra}"
    for name, extra in (("told", ""), ("agent", "  supports_tools: true\n"), ("forms", "  supports_schema: true\n"),
                        ("tiny", "  completion: true\n")))
(HOME / "extra-openai-models.yaml").write_text(MODELS)
FUNCTION = '''
def weather(city: str, days: int) -> str:
    """Tells the weather."""
    return f"{city} {days}: sunny"
'''
SCHEMA = json.dumps({"type": "object", "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
                     "required": ["city"], "additionalProperties": False})


def llm(*arguments, fails=False):
    environment = {**os.environ, "LLM_USER_PATH": str(HOME), "OLLAMA_HOST": URL, "OPENAI_API_KEY": "none"}
    done = subprocess.run([LLM, *arguments], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode != 0) == fails, (arguments, done)
    return done.stderr if fails else done.stdout


listed = llm("models")
assert "lair-told" in listed and "Ollama: told:latest" in listed, listed
# Each model over both dialects: streamed and whole the same.
for model, options in (("lair-told", ("-o", "max_tokens", "24")), ("told:latest", ("-o", "num_predict", "24"))):
    ask = ("-m", model, "-o", "temperature", "0", *options, "Once upon a time")
    whole = llm(*ask, "--no-stream")
    assert whole.strip() and llm(*ask) == whole, (model, whole)
assert llm("-m", "lair-tiny", "-o", "temperature", "0", "-o", "max_tokens", "12", "Once upon a time").strip()
for model in ("lair-agent", "agent:latest"):
    asked = llm("-m", model, "--functions", FUNCTION, "--td", "Weather in Rome?")
    assert asked.endswith("It is sunny in Rome.\n"), asked
for model in ("lair-forms", "forms:latest"):
    answer = llm("-m", model, "--schema", SCHEMA, "Where?")
    assert json.loads(answer)["city"] in ("Rome", "Oslo"), answer
vector = json.loads(llm("embed", "-m", "embedder:latest", "-c", "Hello world"))
assert len(vector) == 64
(HOME / "texts.json").write_text(json.dumps([{"id": "a", "text": "A cat sits."}, {"id": "b", "text": "It rains."}]))
llm("embed-multi", "texts", str(HOME / "texts.json"), "-m", "embedder:latest", "--store")
similar = json.loads(llm("similar", "texts", "-c", "It rains.").splitlines()[0])
assert similar["id"] == "b" and similar["score"] > 0.99, similar
# A conversation goes on, with what was said.
llm("-m", "lair-told", "-o", "max_tokens", "8", "Once upon a time")
llm("-c", "and then?", "-o", "max_tokens", "8")
logged = json.loads(llm("logs", "--json", "-n", "1"))[0]
assert logged["input_tokens"] > 20 and logged["output_tokens"] == 8, logged
assert "nobody" in llm("-m", "nobody", "hi", fails=True)
