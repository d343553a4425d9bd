// Codex's command line in its `exec` mode: the model calls for a command, the agent runs it, the model says how it went.
const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "codex-"));
const home = path.join(folder, "home"), work = path.join(folder, "work");
fs.mkdirSync(home);
fs.mkdirSync(work);
fs.writeFileSync(path.join(home, "config.toml"), `
model = "coder"
model_provider = "lair"
[model_providers.lair]
name = "Lair"
base_url = "${process.argv[2]}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
`);
const codex = require.resolve("@openai/codex/bin/codex.js");
const arguments_ = [codex, "exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access", "-C", work,
  "Write a greeting to greeting.txt."];
const done = spawnSync(process.execPath, arguments_, {
  env: { ...process.env, CODEX_HOME: home }, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"],
});
const told = done.stdout + done.stderr;
assert.equal(done.status, 0, told);
assert.equal(fs.readFileSync(path.join(work, "greeting.txt"), "utf8"), "hello", told);
const events = done.stdout.trim().split("\n").map((line) => JSON.parse(line));
const items = events.filter((event) => event.type === "item.completed").map((event) => event.item);
const ran = items.find((item) => item.type === "command_execution");
assert.equal(ran.exit_code, 0, told);
assert.equal(items.at(-1).type, "agent_message", told);
assert.equal(items.at(-1).text, "The greeting is written.", told);
const usage = events.find((event) => event.type === "turn.completed").usage;
assert(usage.input_tokens > 1000 && usage.output_tokens > 10, told);
fs.rmSync(folder, { recursive: true });
