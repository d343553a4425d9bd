#!/usr/bin/env bash
# Pull throughput over loopback beside `curl`: the same file from the same server, in turn, several rounds; medians.
#
# Usage: bench/transfer/throughput.sh [LAIR] [MEGABYTES] [ROUNDS]
#
# The server is Debian's `docker-registry`, which knows ranges. Lair hashes and syncs what it writes; `curl` does neither,
# so a second column gives curl followed by `sync` and `sha256sum`, which is the same work.
set -euo pipefail
lair=${1:-target/release/lair} megabytes=${2:-1024} rounds=${3:-5}
work=$(mktemp -d)
port=5599
trap 'kill "$registry" 2>/dev/null || true; rm -rf "$work"' EXIT

cat >"$work/config.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: 127.0.0.1:$port}
YML
docker-registry serve "$work/config.yml" >/dev/null 2>&1 &
registry=$!
for _ in $(seq 100); do curl -s -o /dev/null "127.0.0.1:$port/v2/" && break; sleep 0.1; done

python3 - "$work" "$megabytes" "$port" <<'PY'
import hashlib, http.client, json, os, sys
work, megabytes, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
weights = b"GGUF" + os.urandom(megabytes * 2**20 - 4)
config = b'{"model_format":"gguf"}'
client = http.client.HTTPConnection("127.0.0.1", port)
def put(data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    client.request("POST", "/v2/bench/model/blobs/uploads/")
    answer = client.getresponse(); answer.read()
    location = answer.getheader("Location").split(f":{port}", 1)[-1]
    client.request("PUT", f"{location}&digest={digest}", data, {"Content-Type": "application/octet-stream"})
    answer = client.getresponse(); answer.read()
    assert answer.status == 201, answer.status
    return {"digest": digest, "size": len(data)}
kind = "application/vnd.docker.distribution.manifest.v2+json"
manifest = {"schemaVersion": 2, "mediaType": kind,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **put(config)},
            "layers": [{"mediaType": "application/vnd.ollama.image.model", **put(weights)}]}
client.request("PUT", "/v2/bench/model/manifests/latest", json.dumps(manifest), {"Content-Type": kind})
assert client.getresponse().status == 201
open(f"{work}/digest", "w").write(manifest["layers"][0]["digest"])
PY
digest=$(cat "$work/digest")

seconds() { local start; start=$(date +%s.%N); "$@" >/dev/null 2>&1; echo "$(date +%s.%N) - $start" | bc; }
pull() { LAIR_HOME="$work/home" "$lair" pull "127.0.0.1:$port/bench/model"; }
fetch() { curl -sf -o "$work/curl.bin" "127.0.0.1:$port/v2/bench/model/blobs/$digest"; }
fetch_checked() { fetch && sync "$work/curl.bin" && sha256sum "$work/curl.bin"; }
median() { sort -n | awk '{a[NR]=$1} END {print a[int((NR + 1) / 2)]}'; }

for _ in $(seq "$rounds"); do
    rm -rf "$work/home"; seconds pull >>"$work/lair.s"
    rm -f "$work/curl.bin"; seconds fetch >>"$work/curl.s"
    rm -f "$work/curl.bin"; seconds fetch_checked >>"$work/checked.s"
done
for name in lair curl checked; do
    time=$(median <"$work/$name.s")
    echo "$name: $time s, $(echo "$megabytes / $time" | bc) MiB/s (median of $rounds, $megabytes MiB)"
done
