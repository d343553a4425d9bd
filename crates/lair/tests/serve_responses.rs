//! `/v1/responses` as its clients see it. Needs the shared data; without it every test says that it is skipped.

mod server;

use serde_json::{Value, json};

use server::{Server, joined, named_events, run_python};

fn ask(extra: &Value) -> Value {
    joined(&json!({ "model": "told", "input": "Once upon a time", "max_output_tokens": 12, "temperature": 0 }), extra)
}

fn text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{response}"))
}

#[test]
fn a_response_is_the_same_whole_and_streamed_and_its_events_are_in_order() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let whole = server.post("/v1/responses", &ask(&json!({}))).json();
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("incomplete")));
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(whole["usage"]["output_tokens"], 12);

    let streamed = named_events(&server.post("/v1/responses", &ask(&json!({ "stream": true }))).body);
    for (index, event) in streamed.iter().enumerate() {
        assert_eq!(event["sequence_number"], index, "{event}");
    }
    let kinds: Vec<&str> =
        streamed.iter().filter_map(|event| event["type"].as_str()?.strip_prefix("response.")).collect();
    assert_eq!(kinds[..4], ["created", "in_progress", "output_item.added", "content_part.added"]);
    let deltas = kinds[4..].iter().take_while(|kind| **kind == "output_text.delta").count();
    assert_eq!(kinds[4 + deltas..], ["output_text.done", "content_part.done", "output_item.done", "incomplete"]);
    let said: String = streamed.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = &streamed.last().expect("an end")["response"];
    assert_eq!((said.as_str(), text(last)), (text(&whole), text(&whole)));
}

#[test]
fn an_answer_follows_its_schema() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let schema = json!({ "type": "object", "properties": { "color": { "enum": ["red", "green"] } },
        "required": ["color"], "additionalProperties": false });
    let format = json!({ "format": { "type": "json_schema", "name": "color", "schema": schema, "strict": true } });
    let answer = server.post("/v1/responses", &ask(&json!({ "text": format, "max_output_tokens": 60 }))).json();
    let value: Value = serde_json::from_str(text(&answer)).expect("JSON");
    assert!(value["color"] == "red" || value["color"] == "green", "{value}");
    assert_eq!((&answer["status"], &answer["text"]["format"]["name"]), (&json!("completed"), &json!("color")));
    let wish = json!({ "model": "told", "max_tokens": 60, "messages": [{ "role": "user", "content": "x" }],
        "output_format": { "type": "json_schema", "schema": schema } });
    let answer = server.post("/v1/messages", &wish).json();
    let value: Value = serde_json::from_str(answer["content"][0]["text"].as_str().expect("a text")).expect("JSON");
    assert!(value["color"] == "red" || value["color"] == "green", "{value}");
}

#[test]
fn answers_are_kept_gone_on_from_and_forgotten() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let first = server.post("/v1/responses", &ask(&json!({ "instructions": "Be brief." }))).json();
    let id = first["id"].as_str().expect("an id");
    assert_eq!(server.get(&format!("/v1/responses/{id}")).json(), first);
    let items = server.get(&format!("/v1/responses/{id}/input_items")).json();
    assert_eq!(items["data"][0]["content"][0]["text"], "Once upon a time");

    // What was said stands before what is said now, the instructions of then do not.
    let second = ask(&json!({ "input": "And then?", "previous_response_id": id }));
    let streamed = named_events(&server.post("/v1/responses", &joined(&second, &json!({ "stream": true }))).body);
    let streamed = &streamed.last().expect("an end")["response"];
    let spelled = json!([
        { "role": "user", "content": "Once upon a time" },
        { "role": "assistant", "content": text(&first) },
        { "role": "user", "content": "And then?" },
    ]);
    let spelled = server.post("/v1/responses", &ask(&json!({ "input": spelled, "store": false }))).json();
    assert_eq!(text(streamed), text(&spelled));
    assert_eq!(streamed["usage"]["input_tokens"], spelled["usage"]["input_tokens"]);
    let counted = server.post("/v1/responses/input_tokens", &second).json();
    assert_eq!(counted["input_tokens"], spelled["usage"]["input_tokens"]);
    let of_id = |response: &Value| format!("/v1/responses/{}", response["id"].as_str().expect("an id"));
    assert_eq!(server.get(&of_id(streamed)).json()["id"], streamed["id"]);
    assert_eq!(server.get(&of_id(&spelled)).status, 404, "it was not to be kept");

    assert_eq!(server.post(&format!("/v1/responses/{id}/cancel"), &json!({})).status, 400);
    let delete = || server.ask("DELETE", &format!("/v1/responses/{id}"), &[], b"");
    assert_eq!(delete().json()["deleted"], true);
    assert_eq!(delete().status, 404);
    assert_eq!(server.post("/v1/responses", &second).status, 404);
}

/// The calls of the official client, unmodified: responses, chat, completions and models.
#[test]
fn the_python_client_of_openai_is_content() {
    let Some(server) = Server::start_with_chat(&[]) else { return };
    let script = r#"
import sys, openai
c = openai.OpenAI(base_url=sys.argv[1] + '/v1', api_key='none', max_retries=0)
r = c.responses.create(model='told', input='Once upon a time', max_output_tokens=8, temperature=0)
assert r.id.startswith('resp_') and r.output[0].id.startswith('msg_') and r.output_text, r
kinds, text = [], ''
for e in c.responses.create(model='told', input='Once upon a time', max_output_tokens=8, temperature=0, stream=True):
    kinds.append(e.type)
    if e.type == 'response.output_text.delta': text += e.delta
assert kinds[0] == 'response.created' and kinds[-1] == 'response.incomplete' and text == r.output_text, kinds
with c.responses.stream(model='told', input='Once upon a time', max_output_tokens=8, temperature=0) as s:
    assert [e for e in s][-1].response.output_text == r.output_text
assert c.responses.retrieve(r.id).output_text == r.output_text
assert c.responses.input_items.list(r.id).data[0].content[0].text == 'Once upon a time'
n = c.responses.create(model='told', input='And?', previous_response_id=r.id, max_output_tokens=4)
assert n.previous_response_id == r.id and n.usage.input_tokens > r.usage.input_tokens, n
c.responses.delete(r.id)
try: c.responses.retrieve(r.id); assert False
except openai.NotFoundError: pass
hi = [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'Once upon a time'}]
m = c.chat.completions.create(model='told', messages=hi, max_tokens=8, temperature=0, seed=1, n=2, logprobs=True, top_logprobs=2)
assert len(m.choices) == 2 and m.choices[0].finish_reason == 'length' and len(m.choices[0].logprobs.content) == 8, m
parts = list(c.chat.completions.create(model='told', messages=hi, max_completion_tokens=8, temperature=0, stream=True,
                                       stream_options={'include_usage': True}))
assert parts[-1].usage.completion_tokens == 8 and parts[-1].choices == [], parts[-1]
assert ''.join(p.choices[0].delta.content or '' for p in parts if p.choices) == m.choices[0].message.content
t = c.completions.create(model='tiny', prompt=['Once', 'Twice'], max_tokens=4, logprobs=1, echo=True)
assert [x.index for x in t.choices] == [0, 1] and t.choices[1].text.strip().startswith('Twice'), t
assert 'tiny:latest' in [x.id for x in c.models.list()] and c.models.retrieve('tiny').id == 'tiny:latest'
for call, kind in (
    (lambda: c.responses.create(model='nobody', input='x'), openai.NotFoundError),
    (lambda: c.responses.create(model='told', input=[]), openai.BadRequestError),
    (lambda: c.responses.create(model='told', input='x', tools=[{'type': 'file_search', 'vector_store_ids': ['v']}]), openai.BadRequestError),
    (lambda: c.completions.create(model='tiny', prompt='x', temperature=-1e9), openai.BadRequestError),
):
    try: call(); assert False
    except kind as e: assert e.body['message'], e.body
"#;
    run_python(&server, "openai", script);
}
