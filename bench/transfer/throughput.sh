#!/usr/bin/env bash
# Pull throughput over loopback beside `curl`: the same file from the same server, in turn, several rounds; medians.
#
# Usage: [SERVER=nginx] bench/transfer/throughput.sh [LAIR] [MEGABYTES] [ROUNDS] [FOLDER]
#
# The server is Debian's `docker-registry`, or `nginx` with the same files, which takes less of the processors that it
# shares with its clients; what it serves lies in memory (/dev/shm), so that reading costs the same in every round. What is fetched goes to FOLDER. Three ways:
#
#   lair     hashes, keeps a journal and checksums, and syncs before the file has its name
#   curl     writes the file, neither hashed nor synced
#   checked  `curl`, then `sync FILE`, then `sha256sum FILE`: the work that Lair does
#
# Where FOLDER is in memory syncing costs nothing, so `lair` and `curl` differ by the hash and by what Lair does beside;
# on a disk they differ by the disk as well, which `curl` leaves to others. Before each round all is synced and what the
# last one wrote is removed. The processor's seconds (user and system) of each client are told too: on a machine that
# does other things as well they move less than the time.
set -euo pipefail
lair=$(realpath "${1:-target/release/lair}") megabytes=${2:-1024} rounds=${3:-5}
folder=$(mktemp -d -p "${4:-/dev/shm}") store=$(mktemp -d -p /dev/shm)
port=5599
trap 'kill "$registry" 2>/dev/null || true; rm -rf "$folder" "$store"' EXIT

server=${SERVER:-docker-registry}
python3 - "$store/www" "$megabytes" <<'PY'
import hashlib, json, os, sys
root, megabytes = sys.argv[1] + "/v2/bench/model", int(sys.argv[2])
os.makedirs(root + "/blobs"); os.makedirs(root + "/manifests")
def put(data):
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    open(f"{root}/blobs/{digest}", "wb").write(data)
    return {"digest": digest, "size": len(data)}
kind = "application/vnd.docker.distribution.manifest.v2+json"
config = {"mediaType": "application/vnd.docker.container.image.v1+json", **put(b'{"model_format":"gguf"}')}
layer = {"mediaType": "application/vnd.ollama.image.model", **put(b"GGUF" + os.urandom(megabytes * 2**20 - 4))}
manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}
json.dump(manifest, open(root + "/manifests/latest", "w"))
open(sys.argv[1] + "/../digest", "w").write(layer["digest"])
PY
if [ "$server" = nginx ]; then
    cat >"$store/nginx.conf" <<CONF
daemon off; worker_processes 1; pid $store/nginx.pid; error_log stderr crit; user root;
events {}
http {
    sendfile on; access_log off; default_type application/vnd.docker.distribution.manifest.v2+json;
    server { listen 127.0.0.1:$port; root $store/www; location = /v2/ { return 200 '{}'; } }
}
CONF
    nginx -c "$store/nginx.conf" 2>/dev/null &
else
    cat >"$store/config.yml" <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $store/registry}}
http: {addr: 127.0.0.1:$port}
YML
    docker-registry serve "$store/config.yml" >/dev/null 2>&1 &
fi
registry=$!
for _ in $(seq 100); do curl -s -o /dev/null "127.0.0.1:$port/v2/" && break; sleep 0.1; done
if [ "$server" != nginx ]; then
    # What nginx has as files is sent to the registry.
    python3 - "$store/www/v2/bench/model" "$port" <<'PY'
import http.client, os, sys
root, port = sys.argv[1], int(sys.argv[2])
client = http.client.HTTPConnection("127.0.0.1", port)
for digest in os.listdir(root + "/blobs"):
    client.request("POST", "/v2/bench/model/blobs/uploads/")
    answer = client.getresponse(); answer.read()
    location = answer.getheader("Location").split(f":{port}", 1)[-1]
    kind = {"Content-Type": "application/octet-stream"}
    client.request("PUT", f"{location}&digest={digest}", open(f"{root}/blobs/{digest}", "rb").read(), kind)
    answer = client.getresponse(); answer.read()
    assert answer.status == 201, answer.status
kind = {"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"}
client.request("PUT", "/v2/bench/model/manifests/latest", open(root + "/manifests/latest", "rb").read(), kind)
assert client.getresponse().status == 201
PY
    rm -r "$store/www"
fi
digest=$(cat "$store/digest")

pull() { LAIR_HOME="$folder/home" "$lair" pull "127.0.0.1:$port/bench/model"; }
fetch() { curl -sf -o "$folder/curl.bin" "127.0.0.1:$port/v2/bench/model/blobs/$digest"; }
fetch_checked() { fetch && sync "$folder/curl.bin" && sha256sum "$folder/curl.bin"; }

# Appends "seconds processor-seconds" of a way to its list.
TIMEFORMAT='%R %U %S'
round() {
    rm -rf "$folder/home" "$folder/curl.bin"
    sync
    { time "$2" >/dev/null 2>&1; } 2>&1 | awk '{print $1, $2 + $3}' >>"$store/$1"
}
median() { cut -d' ' -f"$2" "$store/$1" | sort -n | awk '{a[NR]=$1} END {print a[int((NR + 1) / 2)]}'; }

# One round of each that is not counted.
for way in "lair pull" "curl fetch" "checked fetch_checked"; do round $way; done
rm "$store"/{lair,curl,checked}
for _ in $(seq "$rounds"); do
    for way in "lair pull" "curl fetch" "checked fetch_checked"; do round $way; done
done
echo "$megabytes MiB from $server to $(df --output=fstype "$folder" | tail -1), median of $rounds in turn"
for name in lair curl checked; do
    time=$(median "$name" 1)
    echo "$name: $time s ($(tr '\n' ' ' < <(cut -d' ' -f1 "$store/$name"))), $(echo "$megabytes / $time" | bc) MiB/s," \
        "$(median "$name" 2) s of the processor"
done
echo "lair / curl: $(echo "scale=2; $(median curl 1) / $(median lair 1)" | bc)," \
    "lair / checked: $(echo "scale=2; $(median checked 1) / $(median lair 1)" | bc)"
