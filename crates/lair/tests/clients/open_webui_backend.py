"""Open WebUI's backend before Ollama's API and OpenAI's: models, chats, embeddings, a text that is searched by meaning."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import httpx

URL = sys.argv[1]
FOLDER = tempfile.TemporaryDirectory()
HI = [{"role": "user", "content": "Once upon a time"}]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(port):
    settings = {
        "OLLAMA_BASE_URL": URL, "ENABLE_OPENAI_API": "true", "OPENAI_API_BASE_URL": URL + "/v1", "OPENAI_API_KEY": "none",
        "RAG_EMBEDDING_ENGINE": "ollama", "RAG_OLLAMA_BASE_URL": URL, "RAG_EMBEDDING_MODEL": "embedder",
        "DATA_DIR": FOLDER.name, "WEBUI_SECRET_KEY": "secret", "WEBUI_AUTH": "False", "OFFLINE_MODE": "true",
        "HF_HUB_OFFLINE": "1", "ANONYMIZED_TELEMETRY": "False", "DO_NOT_TRACK": "true", "SCARF_NO_ANALYTICS": "true",
        "ENABLE_VERSION_UPDATE_CHECK": "false", "ENABLE_PERSISTENT_CONFIG": "false",
    }
    program = pathlib.Path(sys.executable).with_name("open-webui")
    log = open(pathlib.Path(FOLDER.name, "log"), "w+")
    command = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    return subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=log, cwd=FOLDER.name), log


def wait(process, log, client):
    while True:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None:
            log.seek(0)
            raise AssertionError(log.read()[-8000:])
        time.sleep(0.2)


def ask(client, method, path, **options):
    answer = client.request(method, path, **options)
    assert answer.status_code == 200, (path, answer.status_code, answer.text)
    return answer.json()


def tour(client):
    token = ask(client, "POST", "/api/v1/auths/signin", json={"email": "", "password": ""})["token"]
    client.headers["Authorization"] = f"Bearer {token}"

    models = {model["id"]: model for model in ask(client, "GET", "/api/models")["data"]}
    assert {"told:latest", "agent:latest"} <= set(models), models.keys()
    assert ask(client, "GET", "/ollama/api/version")["version"]
    tags = [model["model"] for model in ask(client, "GET", "/ollama/api/tags")["models"]]
    assert "told:latest" in tags, tags

    body = {"model": "told:latest", "messages": HI, "temperature": 0, "max_tokens": 24, "stream": False,
            "options": {"temperature": 0}}
    whole = ask(client, "POST", "/api/chat/completions", json=body)["choices"][0]["message"]["content"]
    streamed = ""
    with client.stream("POST", "/api/chat/completions", json={**body, "stream": True}) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:]).get("choices", []):
                    streamed += choice["delta"].get("content") or ""
    assert streamed == whole != "", (streamed, whole)
    over_openai = ask(client, "POST", "/openai/chat/completions", json=body)
    assert over_openai["choices"][0]["message"]["content"] == whole, over_openai
    told = {"model": "told:latest", "messages": HI, "stream": False, "options": {"temperature": 0, "num_predict": 24}}
    assert ask(client, "POST", "/ollama/api/chat", json=told)["message"]["content"] == whole

    embed = {"model": "embedder:latest", "input": ["Hello world", "A cat sits on the mat."]}
    vectors = ask(client, "POST", "/api/embeddings", json=embed)["data"]
    assert [len(vector["embedding"]) for vector in vectors] == [64, 64], vectors
    for name, text in (("cat", "A cat sits on the mat."), ("rain", "It rains in Oslo today.")):
        text = {"name": name, "content": text, "collection_name": f"of-{name}"}
        assert ask(client, "POST", "/api/v1/retrieval/process/text", json=text)["status"], text
    query = {"collection_names": ["of-cat", "of-rain"], "query": "It rains in Oslo today.", "k": 1}
    found = ask(client, "POST", "/api/v1/retrieval/query/collection", json=query)
    assert found["documents"][0][0] == query["query"], found

    missing = client.post("/api/chat/completions", json={**body, "model": "nobody"})
    assert missing.status_code >= 400 and "not found" in missing.text.lower(), missing.text


port = free_port()
process, log = start(port)
try:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=None, trust_env=False) as client:
        wait(process, log, client)
        tour(client)
except AssertionError:
    log.seek(0)
    print(log.read()[-6000:], file=sys.stderr)
    raise
finally:
    process.terminate()
    process.wait()
