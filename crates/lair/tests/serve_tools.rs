//! Tools and reasoning as clients of the server see them. Needs the shared data; without it every test says that it is
//! skipped.
//!
//! The model is tiny and knows nothing of tools, but where a call must come its answers are held to a grammar.

mod server;

use std::process::Command;

use serde_json::{Value, json};

use server::{Server, events, lines};

/// Templates in the syntaxes of families of models, in Go's language; the last knows no tools.
const TEMPLATES: [(&str, &str); 5] = [
    (
        "hermes",
        "{{ range .Tools }}<tool_call>{{ .Function.Name }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}",
    ),
    (
        "mistral",
        "{{ range .Tools }}[TOOL_CALLS]{{ .Function.Name }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}",
    ),
    (
        "coder",
        "{{ range .Tools }}<function=<parameter={{ .Function.Name }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}",
    ),
    (
        "pythonic",
        "{{ range .Tools }}[func_name1({{ .Function.Name }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}",
    ),
    ("plain", "{{ range .Messages }}{{ .Content }}{{ end }}"),
];

fn start() -> Option<Server> {
    let server = Server::start(&[])?;
    for (name, template) in TEMPLATES {
        let create = json!({ "model": name, "from": "tiny", "template": template, "stream": false });
        assert_eq!(server.post("/api/create", &create).json()["status"], "success");
    }
    Some(server)
}

fn tools() -> Value {
    let properties = json!({
        "city": { "type": "string", "enum": ["Rome", "Oslo"] },
        "days": { "type": "integer", "enum": [1, 2, 3] },
    });
    let weather = json!({ "name": "weather", "description": "Tells the weather.", "parameters": {
        "type": "object", "properties": properties, "required": ["city", "days"],
    } });
    let now = json!({ "name": "now", "description": "Tells the time." });
    json!([{ "type": "function", "function": weather }, { "type": "function", "function": now }])
}

fn chat(model: &str, extra: Value) -> Value {
    let mut body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": "Weather?" }],
        "tools": tools(),
        "max_tokens": 120,
        "temperature": 0,
    });
    body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    body
}

fn weather() -> Value {
    json!({ "type": "function", "function": { "name": "weather" } })
}

/// A call's arguments, which must be what the schema of `weather` allows.
fn check_weather(arguments: &Value) {
    assert!(["Rome", "Oslo"].contains(&arguments["city"].as_str().unwrap_or_default()), "{arguments}");
    assert!(arguments["days"].as_u64().is_some_and(|days| (1..=3).contains(&days)), "{arguments}");
    assert_eq!(arguments.as_object().map(|fields| fields.len()), Some(2), "{arguments}");
}

#[test]
fn a_named_tool_is_called_in_every_syntax_whole_and_streamed() {
    let Some(server) = start() else { return };
    for (model, _) in &TEMPLATES[..4] {
        let body = chat(model, json!({ "tool_choice": weather() }));
        let answer = server.post("/v1/chat/completions", &body).json();
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{model}: {answer}");
        assert!(choice["message"]["content"].is_null(), "{model}: {answer}");
        let calls = choice["message"]["tool_calls"].as_array().expect("calls");
        assert_eq!((calls.len(), &calls[0]["function"]["name"]), (1, &json!("weather")), "{model}: {answer}");
        assert!(calls[0]["id"].as_str().is_some_and(|id| id.len() > 8), "{answer}");
        let arguments = calls[0]["function"]["arguments"].as_str().expect("a text").to_owned();
        check_weather(&serde_json::from_str(&arguments).expect("JSON"));

        let streamed = chat(model, json!({ "tool_choice": weather(), "stream": true }));
        let events = events(&server.post("/v1/chat/completions", &streamed).body);
        let deltas: Vec<&Value> =
            events.iter().filter_map(|event| event["choices"][0]["delta"].get("tool_calls")).collect();
        let first = &deltas[0][0];
        assert_eq!(
            (&first["index"], &first["type"], &first["function"]["name"]),
            (&json!(0), &json!("function"), &json!("weather"))
        );
        assert!(first["id"].as_str().is_some_and(|id| !id.is_empty()));
        assert!(deltas[1..].iter().all(|delta| delta[0]["id"].is_null() && delta[0]["function"]["name"].is_null()));
        let pieces: String = deltas.iter().filter_map(|delta| delta[0]["function"]["arguments"].as_str()).collect();
        assert_eq!(pieces, arguments, "{model}");
        assert_eq!(events.last().expect("an end")["choices"][0]["finish_reason"], "tool_calls");
    }
}

#[test]
fn a_call_comes_where_it_is_required_and_one_where_only_one_may() {
    let Some(server) = start() else { return };
    for (model, _) in &TEMPLATES[..4] {
        for seed in 1..4 {
            let extra =
                json!({ "tool_choice": "required", "parallel_tool_calls": false, "temperature": 1, "seed": seed });
            let answer = server.post("/v1/chat/completions", &chat(model, extra)).json();
            let message = &answer["choices"][0]["message"];
            let calls = message["tool_calls"].as_array().unwrap_or_else(|| panic!("{model}: {answer}"));
            assert_eq!(calls.len(), 1, "{model}: {answer}");
            let arguments: Value =
                serde_json::from_str(calls[0]["function"]["arguments"].as_str().expect("a text")).expect("JSON");
            match calls[0]["function"]["name"].as_str() {
                Some("weather") => check_weather(&arguments),
                Some("now") => assert_eq!(arguments, json!({})),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn ollama_gets_arguments_as_an_object_and_shows_who_knows_tools() {
    let Some(server) = start() else { return };
    let capabilities =
        |model: &str| server.post("/api/show", &json!({ "model": model })).json()["capabilities"].clone();
    assert_eq!(capabilities("hermes"), json!(["completion", "tools"]));
    assert_eq!(capabilities("plain"), json!(["completion"]));
    // A model that wrote a call, its result, and what comes then: the whole way of a conversation.
    let messages = json!([
        { "role": "user", "content": "Weather?" },
        { "role": "assistant", "content": "", "tool_calls": [{ "function": { "name": "weather", "arguments": { "city": "Rome", "days": 1 } } }] },
        { "role": "tool", "tool_name": "weather", "content": "sunny" },
    ]);
    let body = json!({ "model": "hermes", "messages": messages, "tools": tools(), "options": { "num_predict": 8, "temperature": 0 } });
    let answer = lines(&server.post("/api/chat", &body).body);
    assert_eq!(answer.last().expect("an end")["done"], true, "{answer:?}");
    let wrong = json!({ "model": "hermes", "messages": messages, "tools": [{ "function": {} }] });
    assert_eq!(server.post("/api/chat", &wrong).status, 400);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let Some(server) = start() else { return };
    for (extra, words) in [
        (json!({ "tool_choice": "perhaps" }), "`perhaps`"),
        (json!({ "tool_choice": { "type": "function", "function": { "name": "nobody" } } }), "`nobody`"),
        (json!({ "tool_choice": "required", "tools": [] }), "no tools"),
        (json!({ "tool_choice": "required", "response_format": { "type": "json_object" } }), "response_format"),
        (json!({ "tools": [{ "type": "web_search" }] }), "`web_search`"),
        (json!({ "messages": [{ "role": "assistant", "tool_calls": [{}] }] }), "tool_calls[0]"),
        (json!({ "reasoning_budget": "much" }), "reasoning_budget"),
    ] {
        let answer = server.post("/v1/chat/completions", &chat("hermes", extra));
        assert_eq!(answer.status, 400, "{}", answer.body);
        let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert!(message.contains(words), "{message} should mention {words}");
    }
    let strict = json!([{ "type": "function", "function": { "name": "now", "strict": true } }]);
    let answer = server.post("/v1/chat/completions", &chat("hermes", json!({ "tools": strict, "max_tokens": 4 })));
    assert!(answer.head.contains("x-lair-ignored-fields: strict\r"), "{}", answer.head);
}

#[test]
fn functions_are_answered_as_they_were_asked() {
    let Some(server) = start() else { return };
    let function = tools()[0]["function"].clone();
    let extra = json!({ "tools": null, "functions": [function], "function_call": { "name": "weather" } });
    let answer = server.post("/v1/chat/completions", &chat("hermes", extra)).json();
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["message"]["function_call"]["name"]),
        (&json!("function_call"), &json!("weather")),
        "{answer}"
    );
}

/// The calls of the official client, unmodified: a call whole and streamed, and its result given back.
#[test]
fn the_python_client_of_openai_is_content() {
    let Some(python) = std::env::var_os("LAIR_TEST_PYTHON") else {
        lair_testkit::skipped("LAIR_TEST_PYTHON names no Python with the package `openai`");
        return;
    };
    let Some(server) = start() else { return };
    let has_client = Command::new(&python).args(["-c", "import openai"]).status().is_ok_and(|status| status.success());
    if !has_client {
        lair_testkit::skipped("the Python of LAIR_TEST_PYTHON has no package `openai`");
        return;
    }
    let script = r#"
import json, sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key='none')
tools = json.loads(sys.argv[2])
messages = [{'role': 'user', 'content': 'Weather?'}]
named = {'type': 'function', 'function': {'name': 'weather'}}
options = dict(model='hermes', tools=tools, temperature=0, max_tokens=120)
answer = client.chat.completions.create(messages=messages, tool_choice=named, **options)
call = answer.choices[0].message.tool_calls[0]
assert call.function.name == 'weather' and json.loads(call.function.arguments)['city'] in ('Rome', 'Oslo'), call
messages += [answer.choices[0].message, {'role': 'tool', 'tool_call_id': call.id, 'content': 'sunny'}]
assert client.chat.completions.create(messages=messages, **options).choices[0].finish_reason
with client.chat.completions.stream(messages=messages[:1], tool_choice='required', parallel_tool_calls=False, **options) as stream:
    kinds = [event.type for event in stream]
final = stream.get_final_completion().choices[0]
assert final.finish_reason == 'tool_calls' and len(final.message.tool_calls) == 1, final
assert 'tool_calls.function.arguments.done' in kinds, kinds
"#;
    let url = format!("http://{}/v1", server.address);
    let output = Command::new(&python).args(["-c", script, &url, &tools().to_string()]).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
