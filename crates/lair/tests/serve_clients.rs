//! Real clients, unmodified, from their packages: each goes through a tour of what it is used for (`clients/`), against a
//! server of its own. Needs the shared data, a Python with the SDKs (`LAIR_TEST_PYTHON`), and a folder with the other
//! clients (`LAIR_TEST_CLIENTS`, made by `clients/install`). What is not there is skipped with a loud line, or fails where
//! `LAIR_TEST_CLIENTS_REQUIRED` is set.

mod server;

use std::path::{Path, PathBuf};
use std::process::Command;

use lair_testkit::scripted_model::{self, Script, Then};
use lair_testkit::word_encoders::{self, Ending};
use serde_json::{Value, json};

use server::{Server, joined};

/// Conversations as most templates write them, with the tools and the calls of tools. What is said next is decided at the
/// end: by what the tour's client asks.
const CONVERSATION: &str = "{% for tool in tools or [] %}<tool_call>{{ tool | tojson }}\n{% endfor %}\
    {% for message in messages %}{{ message.role }}: {{ message.content or '' }}\
    {% for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}\n{% endfor %}";

/// The models that say what a tour expects, each with the end of its template and its scripts.
const SCRIPTED: &[(&str, &str, &[Script<'static>])] = &[
    // Calls a tool if it has any, reports what the tool said, else greets.
    (
        "agent",
        "{% if messages[-1].role == 'tool' %}<|report|>{% elif tools %}<|call|>{% else %}<|greet|>{% endif %}",
        &[
            script("<|report|>", "It is sunny in Rome."),
            script(
                "<|call|>",
                "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 2}}\n</tool_call>",
            ),
            script("<|greet|>", "Hello from the script."),
        ],
    ),
    // Writes a file through the agent's shell.
    (
        "coder",
        "{% if messages[-1].role == 'tool' %}<|report|>{% else %}<|call|>{% endif %}",
        &[
            script("<|report|>", "The greeting is written."),
            script(
                "<|call|>",
                "<tool_call>\n{\"name\": \"exec_command\", \"arguments\": {\"cmd\": \"printf hello > greeting.txt\"}}\n</tool_call>",
            ),
        ],
    ),
    // Rewrites a file, and says what it did in a line for the log.
    (
        "editor",
        "{% if 'commit message' in messages[0].content %}<|log|>{% else %}<|edit|>{% endif %}",
        &[
            script("<|log|>", "feat: say hello"),
            script("<|edit|>", "I say hello now.\n\ngreeting.py\n```\ndef greet():\n    return \"Hello\"\n```\n"),
        ],
    ),
    // Never ends by itself: for clients that leave.
    ("endless", "<|begin|>", &[Script { cue: "<|begin|>", text: "On and on it goes, ", then: Then::Again }]),
];

const fn script(cue: &'static str, text: &'static str) -> Script<'static> {
    Script { cue, text, then: Then::End }
}

/// What runs a tour.
#[derive(Clone, Copy, Debug)]
enum Runner {
    /// The Python of `LAIR_TEST_PYTHON`.
    Sdk,
    /// A Python of the folder of clients, by the name of its environment.
    Python(&'static str),
    /// Node, with the packages of the folder.
    Node,
}

impl Runner {
    /// The command that runs a script; nothing if it is not there.
    fn command(self) -> Option<Command> {
        let folder = std::env::var_os("LAIR_TEST_CLIENTS").map(PathBuf::from);
        let python = |name: &str| folder.as_deref().map(|folder| folder.join(name).join("bin/python"));
        match self {
            Runner::Sdk => std::env::var_os("LAIR_TEST_PYTHON").map(PathBuf::from),
            Runner::Python(environment) => python(environment),
            Runner::Node => python("frameworks").map(|python| python.with_file_name("node")),
        }
        .filter(|program| program.exists())
        .map(|program| {
            let mut command = Command::new(program);
            if let (Runner::Node, Some(folder)) = (self, &folder) {
                command.env("NODE_PATH", folder.join("node_modules"));
            }
            command
        })
    }

    /// Whether it has this package.
    fn has(self, package: &str) -> bool {
        let load = match self {
            Runner::Node => ["-e".to_owned(), format!("require.resolve('{package}')")],
            Runner::Sdk | Runner::Python(_) => ["-c".to_owned(), format!("import {package}")],
        };
        self.command().is_some_and(|mut command| command.args(load).output().is_ok_and(|done| done.status.success()))
    }
}

/// A server with all models of the tours.
fn start(arguments: &[&str]) -> Option<Server> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(format!("{name}.gguf"));
    word_encoders::write(&path("embedder"), Ending::Mean)?;
    let mut models = vec![("embedder", path("embedder"))];
    for (name, ending, scripts) in SCRIPTED {
        scripted_model::write(&path(name), &format!("{CONVERSATION}{ending}"), scripts);
        models.push((name, path(name)));
    }
    let server = Server::start_with(&models, arguments)?;
    for (name, template) in [
        ("told", "{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}assistant:"),
        (
            "forms",
            "{{ range .Tools }}<tool_call>{{ .Function.Name }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}",
        ),
    ] {
        let create = json!({ "model": name, "from": "tiny", "template": template, "stream": false });
        assert_eq!(server.post("/api/create", &create).json()["status"], "success");
    }
    Some(server)
}

/// Runs a tour, which is given the server's address, and gives the server as it is then.
fn tour(runner: Runner, package: &str, script: &str, arguments: &[&str]) -> Option<Server> {
    if !runner.has(package) {
        let missing = format!("{runner:?} has no package `{package}`: see crates/lair/tests/clients/install");
        assert!(std::env::var_os("LAIR_TEST_CLIENTS_REQUIRED").is_none(), "{missing}");
        lair_testkit::skipped(&missing);
        return None;
    }
    let server = start(arguments)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let mut command = runner.command()?;
    command.arg(&script).arg(format!("http://{}", server.address)).env("PYTHONDONTWRITEBYTECODE", "1");
    let done = command.output().expect("it starts");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}:\n{}{told}", script.display(), String::from_utf8_lossy(&done.stdout));
    assert_eq!(failed_answers(&server), Vec::<String>::new(), "{}", script.display());
    Some(server)
}

/// The lines of the metrics that count answers which are faults of the server.
fn failed_answers(server: &Server) -> Vec<String> {
    let metrics = server.get("/metrics").body;
    let is_fault = |line: &&str| line.starts_with("lair_http_answers_total") && line.contains("status=\"5");
    metrics.lines().filter(is_fault).map(str::to_owned).collect()
}

/// Waits until as many answers of the endless model ended as were begun, and checks that their clients' leaving ended them.
fn check_left(server: &Server, count: usize) {
    loop {
        let metrics = server.get("/metrics").body;
        let ended = |outcome: &str| -> usize {
            let is_it = |line: &&str| {
                line.starts_with("lair_requests_total{model=\"endless") && line.contains(&format!("\"{outcome}\""))
            };
            metrics.lines().find(is_it).and_then(|line| line.split(' ').next_back()?.parse().ok()).unwrap_or(0)
        };
        assert_eq!((ended("length"), ended("stop"), ended("error")), (0, 0, 0));
        if ended("abort") == count {
            return;
        }
        assert!(ended("abort") < count);
        std::thread::yield_now();
    }
}

/// What clients of the tours stumbled over, without them.
#[test]
fn what_clients_send_is_taken() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let greedy = json!({ "temperature": 0, "num_predict": 8 });
    let generate = |extra: Value| {
        let ask = json!({ "model": "tiny", "prompt": "Once upon a time", "options": greedy, "stream": false });
        server.post("/api/generate", &joined(&ask, &extra))
    };
    assert_eq!(generate(json!({})).json()["response"], generate(json!({ "raw": true })).json()["response"]);
    assert_eq!(generate(json!({ "system": "Be brief." })).status, 400);

    let close = json!({ "type": "function", "name": "close", "parameters": { "type": "object" } });
    let tools = json!([{ "type": "namespace", "name": "agents", "tools": [close] }, { "type": "web_search" }]);
    let ask = json!({ "model": "told", "input": "Once upon a time", "tools": tools, "max_output_tokens": 4 });
    let answer = server.post("/v1/responses", &ask);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("x-lair-ignored-fields: web_search\r"), "{}", answer.head);

    let messages = json!([{ "role": "user", "content": "Once upon a time" }]);
    let ask = json!({ "model": "told", "messages": messages, "max_tokens": 4 });
    let counted = server.post("/v1/chat/completions/input_tokens", &ask).json()["input_tokens"].clone();
    assert_eq!(counted, server.post("/v1/chat/completions", &ask).json()["usage"]["prompt_tokens"]);
}

#[test]
fn openai_for_python() {
    let Some(server) = tour(Runner::Sdk, "openai", "openai_python.py", &[]) else { return };
    check_left(&server, 24);
}

#[test]
fn openai_for_node() {
    let Some(server) = tour(Runner::Node, "openai", "openai_node.cjs", &[]) else { return };
    check_left(&server, 8);
}

#[test]
fn ollama_for_python() {
    let Some(server) = tour(Runner::Sdk, "ollama", "ollama_python.py", &[]) else { return };
    check_left(&server, 24);
}

#[test]
fn ollama_for_node() {
    let Some(server) = tour(Runner::Node, "ollama", "ollama_node.cjs", &[]) else { return };
    check_left(&server, 8);
}

#[test]
fn anthropic_for_python() {
    let Some(server) = tour(Runner::Sdk, "anthropic", "anthropic_python.py", &[]) else { return };
    check_left(&server, 24);
}

#[test]
fn langchain_over_openai() {
    let python = Runner::Python("frameworks");
    let Some(server) = tour(python, "langchain_openai", "langchain_openai_chat.py", &[]) else { return };
    check_left(&server, 8);
}

#[test]
fn langchain_over_ollama() {
    let python = Runner::Python("frameworks");
    let Some(server) = tour(python, "langchain_ollama", "langchain_ollama_chat.py", &[]) else { return };
    check_left(&server, 8);
}

#[test]
fn llama_index() {
    tour(Runner::Python("frameworks"), "llama_index.llms.ollama", "llama_index_tour.py", &[]);
}

#[test]
fn instructor() {
    tour(Runner::Python("frameworks"), "instructor", "instructor_forms.py", &[]);
}

#[test]
fn llm() {
    tour(Runner::Python("frameworks"), "llm_ollama", "llm_command.py", &[]);
}

#[test]
fn aider() {
    tour(Runner::Python("aider"), "aider", "aider_edits.py", &[]);
}

#[test]
fn codex() {
    tour(Runner::Node, "@openai/codex/bin/codex.js", "codex_agent.cjs", &[]);
}

#[test]
fn open_webui() {
    tour(Runner::Python("open-webui"), "open_webui", "open_webui_backend.py", &[]);
}

/// Pulling a model that somebody made up asks the outside world: the server is told not to.
#[test]
fn schemathesis() {
    tour(Runner::Python("frameworks"), "schemathesis", "schemathesis_attack.py", &["--offline"]);
}
