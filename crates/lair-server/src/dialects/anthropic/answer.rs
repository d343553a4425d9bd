//! What the model says as Anthropic's blocks, whole or as events.
//!
//! A call of a tool is told when it is complete: a block that was begun cannot be taken back, and what looks like a call may
//! turn out to be text.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use lair_engine::Usage;
use lair_text::output::Part;
use serde_json::{Value as Json, json};

use super::error_body;
use crate::answer::unique_name;
use crate::chat::{Call, ChatAnswer, Said, Told, WholeAnswer};
use crate::dialects::with_pings;
use crate::generation::{End, EndReason};

/// How long a stream may say nothing.
const PING: Duration = Duration::from_secs(10);
/// Blocks of reasoning are signed there; here a signature proves nothing, and is not looked at when it comes back.
const SIGNATURE: &str = "lair";

/// What the parts of one answer have in common.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    id: String,
    model: String,
    prompt_tokens: usize,
}

impl Frame {
    pub(super) fn new(model: String, prompt_tokens: usize) -> Frame {
        Frame { id: unique_name("msg_"), model, prompt_tokens }
    }

    /// The whole message.
    pub(super) fn message(&self, answer: &WholeAnswer) -> Json {
        let mut blocks = Vec::new();
        if !answer.reasoning.is_empty() {
            blocks.push(json!({ "type": "thinking", "thinking": answer.reasoning, "signature": SIGNATURE }));
        }
        if !answer.content.is_empty() {
            blocks.push(json!({ "type": "text", "text": answer.content }));
        }
        blocks.extend(answer.calls.iter().map(
            |call| json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments_object() }),
        ));
        let mut message = self.empty_message();
        message["content"] = Json::Array(blocks);
        message["usage"] = usage_json(&answer.end.usage);
        set_stop(&mut message, &answer.end);
        message
    }

    fn empty_message(&self) -> Json {
        let usage = Usage { prompt_tokens: self.prompt_tokens, ..Usage::default() };
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": usage_json(&usage),
        })
    }
}

fn usage_json(usage: &Usage) -> Json {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    })
}

fn set_stop(target: &mut Json, end: &End) {
    let (reason, sequence) = match &end.reason {
        EndReason::Model => ("end_turn", None),
        EndReason::ToolCalls => ("tool_use", None),
        EndReason::StopString(text) => ("stop_sequence", Some(text)),
        EndReason::Length => ("max_tokens", None),
    };
    target["stop_reason"] = json!(reason);
    target["stop_sequence"] = json!(sequence);
}

/// An event: its type is also in its data.
fn event(data: &Json) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or("error"))
}

/// What kind of block is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Text,
    Thinking,
}

/// The events of blocks, in order, each block closed before the next.
#[derive(Debug, Default)]
struct Blocks {
    index: usize,
    open: Option<Open>,
    told: Told,
    events: VecDeque<String>,
}

impl Blocks {
    fn push(&mut self, data: &Json) {
        self.events.push_back(event(data));
    }

    fn delta(&mut self, delta: Json) {
        let index = self.index;
        self.push(&json!({ "type": "content_block_delta", "index": index, "delta": delta }));
    }

    fn start(&mut self, block: Json) {
        let index = self.index;
        self.push(&json!({ "type": "content_block_start", "index": index, "content_block": block }));
    }

    fn close(&mut self) {
        match self.open.take() {
            None => return,
            Some(Open::Thinking) => self.delta(json!({ "type": "signature_delta", "signature": SIGNATURE })),
            Some(Open::Text) => {}
        }
        self.stop();
    }

    fn stop(&mut self) {
        let index = self.index;
        self.push(&json!({ "type": "content_block_stop", "index": index }));
        self.index += 1;
    }

    fn take(&mut self, part: Part) {
        match part {
            Part::Reasoning(text) => {
                self.open_as(Open::Thinking);
                self.delta(json!({ "type": "thinking_delta", "thinking": text }));
            }
            Part::Content(text) | Part::CallBroken { text, .. } => {
                self.open_as(Open::Text);
                self.delta(json!({ "type": "text_delta", "text": text }));
            }
            of_call => {
                self.told.take(of_call);
                for call in self.told.take_calls() {
                    self.call(&call);
                }
            }
        }
    }

    fn open_as(&mut self, kind: Open) {
        if self.open == Some(kind) {
            return;
        }
        self.close();
        self.start(match kind {
            Open::Text => json!({ "type": "text", "text": "" }),
            Open::Thinking => json!({ "type": "thinking", "thinking": "", "signature": "" }),
        });
        self.open = Some(kind);
    }

    fn call(&mut self, call: &Call) {
        self.close();
        self.start(json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": {} }));
        self.delta(json!({ "type": "input_json_delta", "partial_json": call.arguments }));
        self.stop();
    }

    fn end(&mut self, end: &End) {
        self.close();
        let mut delta = json!({});
        set_stop(&mut delta, end);
        self.push(&json!({ "type": "message_delta", "delta": delta, "usage": usage_json(&end.usage) }));
        self.push(&json!({ "type": "message_stop" }));
    }
}

/// The answer as events.
pub(super) fn events(frame: Frame, answer: ChatAnswer) -> BoxStream<'static, String> {
    let mut blocks = Blocks::default();
    blocks.push(&json!({ "type": "message_start", "message": frame.empty_message() }));
    blocks.push(&json!({ "type": "ping" }));
    let events = stream::unfold((answer, blocks), |(mut answer, mut blocks)| async move {
        loop {
            if let Some(event) = blocks.events.pop_front() {
                return Some((event, (answer, blocks)));
            }
            match answer.next().await? {
                Ok(Said::More { parts, .. }) => parts.into_iter().for_each(|part| blocks.take(part)),
                Ok(Said::End(end)) => blocks.end(&end),
                // The status is sent already: the error is the last event.
                Err(error) => blocks.push(&error_body(&error)),
            }
        }
    });
    with_pings(events.boxed(), PING, event(&json!({ "type": "ping" })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn end(reason: EndReason) -> End {
        let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 7, ..Usage::default() };
        End { reason, usage, prefill: Duration::ZERO, decode: Duration::ZERO }
    }

    #[test]
    fn blocks_are_begun_and_ended_in_order() {
        let mut blocks = Blocks::default();
        for part in [
            Part::Reasoning(text("a")),
            Part::Reasoning(text("b")),
            Part::Content(text("c")),
            Part::CallBegin { index: 0, id: text("call_0"), name: text("look") },
            Part::CallArguments { index: 0, text: text("{\"at\":") },
            Part::CallArguments { index: 0, text: text("1}") },
            Part::CallEnd { index: 0 },
            Part::CallBegin { index: 1, id: text("call_1"), name: text("look") },
            Part::CallBroken { index: 1, text: text("<x") },
        ] {
            blocks.take(part);
        }
        blocks.end(&end(EndReason::ToolCalls));
        let told: Vec<String> = blocks
            .events
            .iter()
            .map(|event| {
                let data: Json = serde_json::from_str(event.split_once("data: ").expect("data").1).expect("JSON");
                let kind =
                    data["delta"]["type"].as_str().or(data["content_block"]["type"].as_str()).unwrap_or_default();
                format!("{} {} {kind}", data["type"].as_str().expect("a type"), data["index"])
            })
            .collect();
        assert_eq!(
            told,
            [
                "content_block_start 0 thinking",
                "content_block_delta 0 thinking_delta",
                "content_block_delta 0 thinking_delta",
                "content_block_delta 0 signature_delta",
                "content_block_stop 0 ",
                "content_block_start 1 text",
                "content_block_delta 1 text_delta",
                "content_block_stop 1 ",
                "content_block_start 2 tool_use",
                "content_block_delta 2 input_json_delta",
                "content_block_stop 2 ",
                "content_block_start 3 text",
                "content_block_delta 3 text_delta",
                "content_block_stop 3 ",
                "message_delta null ",
                "message_stop null ",
            ]
        );
        assert!(blocks.events[9].contains(r#""partial_json":"{\"at\":1}""#), "{}", blocks.events[9]);
    }

    #[test]
    fn the_end_says_why() {
        for (reason, word, sequence) in [
            (EndReason::Model, "end_turn", Json::Null),
            (EndReason::Length, "max_tokens", Json::Null),
            (EndReason::StopString(text("x")), "stop_sequence", json!("x")),
            (EndReason::ToolCalls, "tool_use", Json::Null),
        ] {
            let mut target = json!({});
            set_stop(&mut target, &end(reason));
            assert_eq!((&target["stop_reason"], &target["stop_sequence"]), (&json!(word), &sequence));
        }
        let usage = usage_json(&end(EndReason::Model).usage);
        assert_eq!((&usage["input_tokens"], &usage["cache_read_input_tokens"]), (&json!(5), &json!(4)));
    }
}
