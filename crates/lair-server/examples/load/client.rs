//! HTTP spoken plainly: a request over a connection of its own, its stream read event by event.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A client that hears nothing for so long gives up.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub prompt: String,
    pub max_tokens: usize,
    /// Greedy without one.
    pub seed: Option<u64>,
    /// The JSON Schema that the answer must follow; without one it goes on to its full length.
    pub schema: Option<Value>,
}

/// What came of a question.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub has_retry_after: bool,
    pub text: String,
    pub prompt_tokens: u64,
    pub cached_tokens: u64,
    pub completion_tokens: u64,
    /// From the request to the first text, or to the head of a refusal.
    pub first: Duration,
    pub total: Duration,
    /// Longest time between two texts.
    pub gap: Duration,
}

impl Question {
    /// The request as it goes over the wire.
    pub fn bytes(&self, address: &str, model: &str) -> Vec<u8> {
        let mut body = json!({
            "model": model, "prompt": self.prompt, "max_tokens": self.max_tokens, "temperature": 0, "ignore_eos": true,
            "stream": true, "stream_options": { "include_usage": true },
        });
        if let Some(seed) = self.seed {
            body["temperature"] = json!(0.8);
            body["seed"] = json!(seed);
        }
        if let Some(schema) = &self.schema {
            body["response_format"] =
                json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": schema } });
            body["ignore_eos"] = json!(false);
        }
        let body = body.to_string();
        let length = body.len();
        format!(
            "POST /v1/completions HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// Asks and reads all of the answer.
    pub fn ask(&self, address: &str, model: &str) -> io::Result<Answer> {
        let start = Instant::now();
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.write_all(&self.bytes(address, model))?;
        let mut reader = BufReader::new(stream);
        let mut answer = Answer::default();
        let is_chunked = read_head(&mut reader, &mut answer)?;
        answer.first = start.elapsed();
        if !is_chunked {
            reader.read_to_string(&mut answer.text)?;
            answer.total = start.elapsed();
            return Ok(answer);
        }
        let (mut pending, mut last, mut is_done) = (String::new(), None, false);
        while let Some(chunk) = read_chunk(&mut reader)? {
            pending.push_str(&chunk);
            while let Some((event, rest)) = pending.split_once("\n\n") {
                is_done |= event == "data: [DONE]";
                if take_event(event, &mut answer)? {
                    let now = Instant::now();
                    match last.replace(now) {
                        None => answer.first = now - start,
                        Some(before) => answer.gap = answer.gap.max(now - before),
                    }
                }
                pending = rest.to_owned();
            }
        }
        answer.total = start.elapsed();
        if is_done { Ok(answer) } else { Err(io::Error::other(format!("the stream ended early: {}", answer.text))) }
    }
}

/// Reads status and headers; whether the body comes in chunks.
fn read_head(reader: &mut impl BufRead, answer: &mut Answer) -> io::Result<bool> {
    let mut is_chunked = false;
    for index in 0.. {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_ascii_lowercase();
        match index {
            0 => answer.status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0),
            _ if line.is_empty() => break,
            _ => {
                is_chunked |= line.starts_with("transfer-encoding: chunked");
                answer.has_retry_after |= line.starts_with("retry-after:");
            }
        }
    }
    Ok(is_chunked)
}

fn read_chunk(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let length = usize::from_str_radix(line.trim(), 16).map_err(|_| io::Error::other("the stream was cut"))?;
    let mut bytes = vec![0; length + 2];
    reader.read_exact(&mut bytes)?;
    bytes.truncate(length);
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok((length > 0).then_some(text))
}

/// Takes one event; whether it brought text.
fn take_event(event: &str, answer: &mut Answer) -> io::Result<bool> {
    let Some(data) = event.strip_prefix("data: ").filter(|data| *data != "[DONE]") else { return Ok(false) };
    let value: Value = serde_json::from_str(data).map_err(io::Error::other)?;
    if !value["error"].is_null() {
        return Err(io::Error::other(value["error"].to_string()));
    }
    if let Some(usage) = value["usage"].as_object() {
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        answer.prompt_tokens = count(&usage["prompt_tokens"]);
        answer.completion_tokens = count(&usage["completion_tokens"]);
        answer.cached_tokens = usage.get("prompt_tokens_details").map_or(0, |details| count(&details["cached_tokens"]));
    }
    let text = value["choices"][0]["text"].as_str().unwrap_or_default();
    answer.text.push_str(text);
    Ok(!text.is_empty())
}
