//! What the model says as items, and the events that tell of them. An answer that is given whole is made of the same
//! events, which are then not sent.
//!
//! A call is told when it is complete: an item that was added cannot be taken back, and what looks like a call may turn out
//! to be text.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use lair_engine::Usage;
use lair_text::output::Part;
use serde_json::{Value as Json, json};

use super::super::wire::now_s;
use super::request::Shape;
use crate::answer::unique_name;
use crate::chat::{Call, ChatAnswer, Said, Told};
use crate::dialects::with_pings;
use crate::error::{ApiError, ErrorKind};
use crate::generation::{End, EndReason};
use crate::server::SharedApp;
use crate::stored_responses::StoredResponse;

/// How long a stream may say nothing.
const PING: Duration = Duration::from_secs(10);

/// What kind of item is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Message,
    Reasoning,
}

impl Open {
    /// The type of its one part, and the beginning of the names of its events.
    fn part_type(self) -> (&'static str, &'static str) {
        match self {
            Open::Message => ("output_text", "response.output_text"),
            Open::Reasoning => ("reasoning_text", "response.reasoning_text"),
        }
    }

    fn part(self, text: &str) -> Json {
        match self {
            Open::Message => json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }),
            Open::Reasoning => json!({ "type": "reasoning_text", "text": text }),
        }
    }

    fn item(self, id: &str, status: &str, parts: Json) -> Json {
        match self {
            Open::Message => {
                json!({ "id": id, "type": "message", "role": "assistant", "status": status, "content": parts })
            }
            Open::Reasoning => {
                json!({ "id": id, "type": "reasoning", "status": status, "summary": [], "content": parts })
            }
        }
    }
}

/// A response in the making.
struct Maker {
    shape: Shape,
    sequence: u64,
    open: Option<(Open, String)>,
    text: String,
    output: Vec<Json>,
    told: Told,
    /// The answer as a message for the conversation.
    message: Json,
    reasoning_tokens: usize,
    events: VecDeque<String>,
}

impl Maker {
    fn new(shape: Shape) -> Maker {
        let message = json!({ "role": "assistant", "content": "" });
        let mut maker = Maker {
            shape,
            sequence: 0,
            open: None,
            text: String::new(),
            output: Vec::new(),
            told: Told::default(),
            message,
            reasoning_tokens: 0,
            events: VecDeque::new(),
        };
        for kind in ["response.created", "response.in_progress"] {
            let response = maker.shape.response.clone();
            maker.push(kind, json!({ "response": response }));
        }
        maker
    }

    fn push(&mut self, kind: &str, body: Json) {
        let mut data = json!({ "type": kind, "sequence_number": self.sequence });
        if let (Some(data), Json::Object(body)) = (data.as_object_mut(), body) {
            data.extend(body);
        }
        self.sequence += 1;
        self.events.push_back(format!("event: {kind}\ndata: {data}\n\n"));
    }

    fn take(&mut self, part: Part) {
        match part {
            Part::Reasoning(text) => self.say(Open::Reasoning, &text),
            Part::Content(text) | Part::CallBroken { text, .. } => self.say(Open::Message, &text),
            of_call => {
                self.told.take(of_call);
                for call in self.told.take_calls() {
                    self.call(&call);
                }
            }
        }
    }

    fn say(&mut self, kind: Open, text: &str) {
        if self.open.as_ref().is_none_or(|(open, _)| *open != kind) {
            self.close("completed");
            let id = unique_name(if kind == Open::Message { "msg_" } else { "rs_" });
            let index = self.output.len();
            let item = kind.item(&id, "in_progress", json!([]));
            self.push("response.output_item.added", json!({ "output_index": index, "item": item }));
            let part = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": kind.part("") });
            self.push("response.content_part.added", part);
            self.open = Some((kind, id));
        }
        let Some((_, id)) = &self.open else { return };
        self.text.push_str(text);
        let mut delta = json!({ "item_id": id, "output_index": self.output.len(), "content_index": 0, "delta": text });
        if kind == Open::Message {
            delta["logprobs"] = json!([]);
        }
        self.push(&format!("{}.delta", kind.part_type().1), delta);
    }

    fn close(&mut self, status: &str) {
        let Some((kind, id)) = self.open.take() else { return };
        let (text, index) = (std::mem::take(&mut self.text), self.output.len());
        let place = json!({ "item_id": id, "output_index": index, "content_index": 0 });
        let with = |key: &str, value: Json| {
            let mut body = place.clone();
            body[key] = value;
            body
        };
        let mut done = with("text", json!(text));
        if kind == Open::Message {
            done["logprobs"] = json!([]);
        }
        self.push(&format!("{}.done", kind.part_type().1), done);
        self.push("response.content_part.done", with("part", kind.part(&text)));
        let item = kind.item(&id, status, json!([kind.part(&text)]));
        self.push("response.output_item.done", json!({ "output_index": index, "item": item }));
        self.output.push(item);
        let key = if kind == Open::Message { "content" } else { "reasoning_content" };
        let said = self.message[key].as_str().unwrap_or_default().to_owned() + &text;
        self.message[key] = json!(said);
    }

    fn call(&mut self, call: &Call) {
        self.close("completed");
        let (id, index) = (unique_name("fc_"), self.output.len());
        let mut named = json!({ "id": id, "type": "function_call", "call_id": call.id });
        self.shape.namespaces.put_name(&mut named, &call.name);
        let item = |status: &str, arguments: &str| {
            let mut item = named.clone();
            item["status"] = json!(status);
            item["arguments"] = json!(arguments);
            item
        };
        self.push("response.output_item.added", json!({ "output_index": index, "item": item("in_progress", "") }));
        let place = |key: &str| json!({ "item_id": id, "output_index": index, key: call.arguments });
        self.push("response.function_call_arguments.delta", place("delta"));
        let mut done = place("arguments");
        done["name"] = named["name"].clone();
        self.push("response.function_call_arguments.done", done);
        let whole = item("completed", &call.arguments);
        self.push("response.output_item.done", json!({ "output_index": index, "item": whole }));
        self.output.push(whole);
        let of_message = json!({
            "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments },
        });
        match self.message["tool_calls"].as_array_mut() {
            Some(calls) => calls.push(of_message),
            None => self.message["tool_calls"] = json!([of_message]),
        }
    }

    /// Ends the response, and gives it to be kept.
    fn end(&mut self, end: &End) -> Option<StoredResponse> {
        let is_cut = end.reason == EndReason::Length;
        let status = if is_cut { "incomplete" } else { "completed" };
        self.close(status);
        let response = &mut self.shape.response;
        response["status"] = json!(status);
        response["completed_at"] = if is_cut { Json::Null } else { json!(now_s()) };
        if is_cut {
            response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        }
        response["output"] = json!(self.output);
        response["usage"] = usage_json(&end.usage, self.reasoning_tokens);
        let response = response.clone();
        self.push(&format!("response.{status}"), json!({ "response": response }));
        let messages = || [self.shape.conversation.as_slice(), std::slice::from_ref(&self.message)].concat();
        self.shape.is_stored.then(|| StoredResponse { response, input: self.shape.input.clone(), messages: messages() })
    }

    fn fail(&mut self, error: &ApiError) {
        let response = &mut self.shape.response;
        response["status"] = json!("failed");
        response["error"] = json!({ "code": "server_error", "message": error.text() });
        let response = response.clone();
        self.push("response.failed", json!({ "response": response }));
    }

    /// Takes the next piece of the answer; `false` after the end.
    async fn advance(&mut self, app: &SharedApp, answer: &mut ChatAnswer) -> Result<bool, ApiError> {
        match answer.next().await {
            None => Ok(false),
            Some(Err(error)) => Err(error),
            Some(Ok(Said::More { parts, steps })) => {
                let is_reasoning = parts.iter().any(|part| matches!(part, Part::Reasoning(_)));
                self.reasoning_tokens += if is_reasoning { steps.len() } else { 0 };
                parts.into_iter().for_each(|part| self.take(part));
                Ok(true)
            }
            Some(Ok(Said::End(end))) => {
                if let Some(stored) = self.end(&end) {
                    app.responses.put(&self.shape.id, stored);
                }
                Ok(true)
            }
        }
    }
}

fn usage_json(usage: &Usage, reasoning_tokens: usize) -> Json {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": { "reasoning_tokens": reasoning_tokens },
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

/// The whole response.
pub(super) async fn whole(app: &SharedApp, shape: Shape, mut answer: ChatAnswer) -> Result<Json, ApiError> {
    let mut maker = Maker::new(shape);
    while maker.advance(app, &mut answer).await? {
        maker.events.clear();
    }
    if maker.shape.response["status"] == "in_progress" {
        return Err(ApiError::new(ErrorKind::Internal, "the answer ended without its end"));
    }
    Ok(maker.shape.response)
}

/// The response as events.
pub(super) fn events(app: SharedApp, shape: Shape, answer: ChatAnswer) -> BoxStream<'static, String> {
    let events = stream::unfold((app, Maker::new(shape), answer), |(app, mut maker, mut answer)| async move {
        loop {
            if let Some(event) = maker.events.pop_front() {
                return Some((event, (app, maker, answer)));
            }
            match maker.advance(&app, &mut answer).await {
                Ok(true) => {}
                Ok(false) => return None,
                // The status is sent already: the error is the last event.
                Err(error) => maker.fail(&error),
            }
        }
    });
    with_pings(events.boxed(), PING, ": waiting\n\n".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::request;
    use super::*;
    use crate::fields::Fields;

    fn text(text: &str) -> String {
        text.to_owned()
    }

    fn maker() -> Maker {
        let mut fields = Fields::parse(br#"{"model": "m", "input": "hi"}"#).expect("an object");
        Maker::new(request::take(&mut fields).expect("fine").1)
    }

    fn end(reason: EndReason) -> End {
        let usage = Usage { prompt_tokens: 9, cached_tokens: 4, completion_tokens: 7, ..Usage::default() };
        End { reason, usage, prefill: Duration::ZERO, decode: Duration::ZERO }
    }

    #[test]
    fn events_are_numbered_and_in_order() {
        let mut maker = maker();
        for part in [
            Part::Reasoning(text("hm")),
            Part::Content(text("a")),
            Part::Content(text("b")),
            Part::CallBegin { index: 0, id: text("call_0"), name: text("look") },
            Part::CallArguments { index: 0, text: text("{}") },
            Part::CallEnd { index: 0 },
        ] {
            maker.take(part);
        }
        let stored = maker.end(&end(EndReason::ToolCalls)).expect("it is kept");
        let data: Vec<Json> = maker
            .events
            .iter()
            .map(|event| {
                let (kind, data) = event.split_once("\ndata: ").expect("data");
                let data: Json = serde_json::from_str(data).expect("JSON");
                assert_eq!(kind.strip_prefix("event: "), data["type"].as_str());
                data
            })
            .collect();
        let kinds: Vec<&str> =
            data.iter().filter_map(|data| data["type"].as_str()?.strip_prefix("response.")).collect();
        assert_eq!(
            kinds,
            [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "reasoning_text.delta",
                "reasoning_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
                "completed",
            ]
        );
        for (index, data) in data.iter().enumerate() {
            assert_eq!(data["sequence_number"], index);
        }
        let output = &data.last().expect("the end")["response"]["output"];
        assert_eq!(output[1]["content"][0]["text"], "ab");
        assert_eq!((&output[2]["call_id"], &output[2]["arguments"]), (&json!("call_0"), &json!("{}")));
        let answer = stored.messages.last().expect("the answer");
        assert_eq!((&answer["content"], &answer["reasoning_content"]), (&json!("ab"), &json!("hm")));
        assert_eq!(answer["tool_calls"][0]["function"]["name"], "look");
    }

    #[test]
    fn an_answer_that_is_cut_is_incomplete() {
        let mut maker = maker();
        maker.take(Part::Content(text("a")));
        let stored = maker.end(&end(EndReason::Length)).expect("it is kept");
        assert_eq!(stored.response["status"], "incomplete");
        assert_eq!(stored.response["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(stored.response["output"][0]["status"], "incomplete");
        assert_eq!(stored.response["usage"]["total_tokens"], 16);
    }
}
