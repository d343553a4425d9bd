//! The servers that are attacked, and how they are asked.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::server::{Answer, Server, events, joined};

/// A server for everyone, one that asks for a key, and what the first answers when all is well.
pub struct World {
    pub open: Server,
    pub keyed: Server,
    story: String,
    long_story: String,
}

pub const KEY: &str = "sesame";

/// Greedy tokens of a normal request, and of the one that is asked all the time.
const TOKENS: usize = 8;
const LONG_TOKENS: usize = 48;

impl World {
    /// Both servers, whose threads have stacks of this size; nothing without the shared data.
    pub fn start(stack_bytes: usize) -> Option<World> {
        // What threads get that do not say what they need, in all of the program.
        let stack = stack_bytes.to_string();
        let environment = [("RUST_MIN_STACK", stack.as_str()), ("HTTPS_PROXY", ""), ("HTTP_PROXY", "")];
        let open = Server::start_with_variables(&environment, &[], &["--parallel", "4"])?.with_chat();
        let keyed = Server::start_with_variables(&environment, &[], &["--api-key", KEY])?;
        let (story, long_story) = (String::new(), String::new());
        let mut world = World { open, keyed, story, long_story };
        world.story = world.tell();
        world.long_story = world.stream();
        assert!(!world.story.is_empty() && world.long_story.starts_with(&world.story));
        Some(world)
    }

    fn tell(&self) -> String {
        let answer = self.open.post("/v1/completions", &ask(json!({ "max_tokens": TOKENS })));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["choices"][0]["text"].as_str().expect("a text").to_owned()
    }

    fn stream(&self) -> String {
        let answer = self.open.post("/v1/completions", &ask(json!({ "max_tokens": LONG_TOKENS, "stream": true })));
        let text = |event: &Value| event["choices"][0]["text"].as_str().unwrap_or_default().to_owned();
        events(&answer.body).iter().map(text).collect()
    }

    /// That the server does what it did before it was attacked.
    pub fn assert_alive(&self) {
        assert_eq!(self.open.get("/health").status, 200);
        assert_eq!(self.keyed.get("/health").status, 200);
        assert_eq!(self.tell(), self.story);
    }

    pub fn assert_streams_as_ever(&self) {
        assert_eq!(self.stream(), self.long_story);
    }

    /// That this is refused with this status, in the words of an error.
    pub fn refused(&self, status: u16, path: &str, body: &Value) -> Answer {
        refused_with(status, path, self.open.post(path, body))
    }

    /// The same for a completion with these fields.
    pub fn completion_refused(&self, extra: Value) {
        self.refused(400, "/v1/completions", &ask(extra));
    }

    /// That a completion with these fields is answered.
    pub fn completes(&self, extra: Value) -> Value {
        let answer = self.open.post("/v1/completions", &ask(extra));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// That a completion with these fields is answered or refused, and nothing is broken.
    pub fn completion_ends(&self, extra: Value) {
        let answer = self.open.post("/v1/completions", &ask(extra));
        assert!(matches!(answer.status, 200 | 400), "{}: {}", answer.status, answer.body);
    }

    /// The same with a body as it is.
    pub fn refused_bytes(&self, status: u16, path: &str, body: &[u8]) {
        let answer = self.open.ask("POST", path, &[("Content-Type", "application/json")], body);
        refused_with(status, path, answer);
    }

    /// What comes back for these bytes, whatever it is, until the server closes.
    pub fn raw(&self, bytes: &[u8]) -> String {
        raw(&self.open, bytes)
    }
}

fn refused_with(status: u16, path: &str, answer: Answer) -> Answer {
    assert_eq!(answer.status, status, "{path}: {}", answer.body);
    let error = &answer.json()["error"];
    let message = error.as_str().or(error["message"].as_str()).unwrap_or_default();
    assert!(!message.is_empty(), "{path}: {}", answer.body);
    assert!(answer.body.len() < 4096, "{path}: an error of {} bytes", answer.body.len());
    answer
}

/// What comes back for these bytes, whatever it is, until the server closes.
pub fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&server.address).expect("it listens");
    // It may close while it is still told more.
    let _ = stream.write_all(bytes);
    rest_of(stream)
}

/// What is left to read of a connection.
pub fn rest_of(mut stream: TcpStream) -> String {
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of an answer as it came; 0 if none came.
pub fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A greedy completion with these fields.
pub fn ask(extra: Value) -> Value {
    joined(&json!({ "model": "tiny", "prompt": "Once upon a time", "max_tokens": 4, "temperature": 0 }), &extra)
}

/// A chat with these fields.
pub fn chat(extra: Value) -> Value {
    let messages = json!([{ "role": "user", "content": "hi" }]);
    joined(&json!({ "model": "told", "messages": messages, "max_tokens": 4, "temperature": 0 }), &extra)
}
