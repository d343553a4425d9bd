//! Anthropic's API as its clients see it. Needs the shared data; without it every test says that it is skipped.

mod server;

use serde_json::{Value, json};

use server::{Server, joined, named_events, run_python};

fn ask(extra: &Value) -> Value {
    let messages = json!([{ "role": "user", "content": "Once upon a time" }]);
    joined(&json!({ "model": "told", "max_tokens": 16, "temperature": 0, "messages": messages }), extra)
}

#[test]
fn a_message_is_the_same_whole_and_streamed() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let whole = server.post("/v1/messages", &ask(&json!({}))).json();
    assert_eq!(
        (&whole["type"], &whole["role"], &whole["model"]),
        (&json!("message"), &json!("assistant"), &json!("told"))
    );
    assert!(whole["id"].as_str().is_some_and(|id| id.starts_with("msg_")), "{whole}");
    assert_eq!((&whole["stop_reason"], &whole["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(16)));
    let text = whole["content"][0]["text"].as_str().expect("a text").to_owned();

    let streamed = named_events(&server.post("/v1/messages", &ask(&json!({ "stream": true }))).body);
    let kinds: Vec<&str> = streamed.iter().filter_map(|event| event["type"].as_str()).collect();
    let (first, rest) = kinds.split_at(3);
    assert_eq!(first, ["message_start", "ping", "content_block_start"]);
    let deltas = rest.iter().take_while(|kind| **kind == "content_block_delta").count();
    assert_eq!(rest[deltas..], ["content_block_stop", "message_delta", "message_stop"]);
    let said: String = streamed.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!(said, text);
    let end = &streamed[streamed.len() - 2];
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(16)));

    let counted = json!({ "model": "told", "messages": ask(&json!({}))["messages"] });
    let counted = server.post("/v1/messages/count_tokens", &counted).json();
    assert_eq!(counted["input_tokens"], streamed[0]["message"]["usage"]["input_tokens"]);

    let stop: String = text.chars().skip(6).take(3).collect();
    let stopped = server.post("/v1/messages", &ask(&json!({ "stop_sequences": [stop] }))).json();
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!(stop)));
    assert_eq!(stopped["content"][0]["text"], text[..text.find(&stop).expect("it is there")]);
}

#[test]
fn an_answer_goes_on_from_what_was_begun() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let whole = server.post("/v1/messages", &ask(&json!({}))).json();
    let text = whole["content"][0]["text"].as_str().expect("a text");
    let begun: String = text.split_inclusive(' ').take(4).collect::<String>().trim_end().to_owned();
    let messages =
        json!([{ "role": "user", "content": "Once upon a time" }, { "role": "assistant", "content": begun }]);
    let more = server.post("/v1/messages", &ask(&json!({ "messages": messages, "max_tokens": 4 }))).json();
    let rest = more["content"][0]["text"].as_str().expect("a text");
    let count = |messages: Value| {
        let counted =
            server.post("/v1/messages/count_tokens", &json!({ "model": "told", "messages": messages })).json();
        counted["input_tokens"].as_u64().expect("a count")
    };
    assert!(!rest.is_empty());
    assert!(count(messages.clone()) > count(json!([messages[0]])));
}

#[test]
fn refusals_are_in_its_words() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    for (body, status, kind, words) in [
        (ask(&json!({ "max_tokens": null })), 400, "invalid_request_error", "`max_tokens` is missing"),
        (ask(&json!({ "messages": null })), 400, "invalid_request_error", "`messages` is missing"),
        (ask(&json!({ "model": "nobody" })), 404, "not_found_error", "nobody"),
        (
            ask(&json!({ "messages": [{ "role": "user", "content": [{ "type": "image" }] }] })),
            400,
            "invalid_request_error",
            "`image`",
        ),
        (
            ask(&json!({ "messages": [{ "role": "user", "content": "word ".repeat(3000) }] })),
            400,
            "invalid_request_error",
            "context",
        ),
    ] {
        let answer = server.post("/v1/messages", &body);
        assert_eq!(answer.status, status, "{}", answer.body);
        let error = answer.json();
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!(kind)));
        assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains(words)), "{error}");
    }
    let ignored = server.post("/v1/messages", &ask(&json!({ "odd_field": 1 })));
    assert!(ignored.head.contains("x-lair-ignored-fields: odd_field\r"), "{}", ignored.head);
}

/// The calls of the official client, unmodified.
#[test]
fn the_python_client_of_anthropic_is_content() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let script = r#"
import sys, anthropic
c = anthropic.Anthropic(base_url=sys.argv[1], api_key='sesame', max_retries=0)
hi = [{'role': 'user', 'content': 'Once upon a time'}]
m = c.messages.create(model='told', max_tokens=8, messages=hi, system='Be brief.', extra_body={'temperature': 0})
assert m.role == 'assistant' and m.stop_reason == 'max_tokens' and m.usage.output_tokens == 8, m
with c.messages.stream(model='told', max_tokens=8, messages=hi, system='Be brief.', extra_body={'temperature': 0}) as s:
    text = ''.join(s.text_stream)
    final = s.get_final_message()
assert text == m.content[0].text == final.content[0].text, (text, m, final)
assert final.usage.output_tokens == 8 and final.stop_reason == 'max_tokens', final
assert c.messages.count_tokens(model='told', messages=hi).input_tokens > 0
for call, kind in (
    (lambda: c.messages.create(model='nobody', max_tokens=8, messages=hi), anthropic.NotFoundError),
    (lambda: c.messages.create(model='told', max_tokens=0, messages=hi), anthropic.BadRequestError),
):
    try: call(); assert False
    except kind as e: assert e.body['type'] == 'error', e.body
"#;
    run_python(&server, "anthropic", script);
}
