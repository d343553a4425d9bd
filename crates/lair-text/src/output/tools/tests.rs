//! What all syntaxes have in common: recorded answers, cut in every way.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::output::{AnswerStyle, Part};

/// What an answer says, put together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    reasoning: String,
    content: String,
    /// Id, name and arguments of complete calls.
    calls: Vec<(String, String, String)>,
}

fn told(parts: impl IntoIterator<Item = Part>) -> Told {
    let mut told = Told::default();
    let mut open: Option<(String, String, String)> = None;
    for part in parts {
        match part {
            Part::Reasoning(text) => told.reasoning.push_str(&text),
            Part::Content(text) => told.content.push_str(&text),
            Part::CallBegin { id, name, .. } => {
                assert!(open.is_none(), "a call within a call");
                open = Some((id, name, String::new()));
            }
            Part::CallArguments { text, .. } => open.as_mut().expect("a call").2.push_str(&text),
            Part::CallEnd { .. } => told.calls.push(open.take().expect("a call")),
            Part::CallBroken { text, .. } => {
                open = None;
                told.content.push_str(&text);
            }
        }
    }
    assert!(open.is_none(), "a call without an end");
    told
}

/// Parts with neighbours of one kind joined, so that they can be compared however the text was cut.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Content(before)), Part::Content(text))
            | (Some(Part::Reasoning(before)), Part::Reasoning(text)) => before.push_str(&text),
            (Some(Part::CallArguments { text: before, .. }), Part::CallArguments { text, .. }) => {
                before.push_str(&text)
            }
            (_, part) => joined.push(part),
        }
    }
    joined
}

fn tools() -> Vec<Json> {
    let tool = |name: &str, properties: Json| json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object", "properties": properties } } });
    vec![
        tool(
            "weather",
            json!({ "city": { "type": "string" }, "days": { "type": "integer" }, "units": { "enum": ["C", "F"] } }),
        ),
        tool("now", json!({})),
        tool(
            "write",
            json!({ "path": { "type": "string" }, "text": { "type": "string" }, "lines": { "type": "array" } }),
        ),
    ]
}

fn style(syntax: &'static ToolSyntax) -> AnswerStyle {
    AnswerStyle { reasoning: None, tools: Some(syntax) }
}

fn parts(syntax: &'static ToolSyntax, pieces: &[&str]) -> Vec<Part> {
    let mut reader = style(syntax).reader("", Some(&tools()));
    let mut parts: Vec<Part> = pieces.iter().flat_map(|piece| reader.push(piece)).collect();
    parts.extend(reader.finish());
    joined(parts)
}

/// Content, and calls with their arguments, of an answer; the same at every cut into two and in single characters.
fn check(name: &str, text: &str, content: &str, calls: &[(&str, &str)]) {
    let syntax = ToolSyntax::named(name).expect("a syntax");
    let whole = parts(syntax, &[text]);
    for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
        let (left, right) = text.split_at(cut);
        assert_eq!(parts(syntax, &[left, right]), whole, "{left:?} | {right:?}");
    }
    let characters: Vec<String> = text.chars().map(String::from).collect();
    let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
    assert_eq!(parts(syntax, &characters), whole, "{text:?}");
    let told = told(whole);
    assert_eq!(told.content, content, "{text:?}");
    let found: Vec<(&str, &str)> = told.calls.iter().map(|(_, name, arguments)| (&**name, &**arguments)).collect();
    assert_eq!(found, calls, "{text:?}");
    for (_, arguments) in found {
        assert!(serde_json::from_str::<Json>(arguments).expect("JSON").is_object(), "{arguments}");
    }
}

const ROME: (&str, &str) = ("weather", r#"{"city": "Rome"}"#);

#[test]
fn the_example_of_every_syntax_is_read_as_its_call() {
    for syntax in SYNTAXES {
        let told = told(parts(syntax, &[syntax.example]));
        assert_eq!(told.content, "", "{}", syntax.name);
        let (_, name, arguments) = &told.calls[0];
        let arguments: Json = serde_json::from_str(arguments).expect("JSON");
        assert_eq!((name.as_str(), arguments), ("weather", json!({ "city": "Rome" })), "{}", syntax.name);
        let rest = if syntax.name == "pythonic" { 2 } else { 1 };
        assert_eq!(told.calls.len(), rest, "{}", syntax.name);
    }
}

#[test]
fn every_syntax_has_a_name_of_its_own_and_is_found_by_it() {
    for (index, syntax) in SYNTAXES.iter().enumerate() {
        assert!(SYNTAXES[..index].iter().all(|other| other.name != syntax.name), "{}", syntax.name);
        for parser in syntax.parsers {
            assert_eq!(ToolSyntax::of_parser(parser).expect("found").name, syntax.name);
        }
    }
    assert!(ToolSyntax::of_parser("nobody").is_none());
}

#[test]
fn hermes() {
    let call = r#"<tool_call>
{"name": "weather", "arguments": {"city": "Rome"}}
</tool_call>"#;
    check("hermes", call, "", &[ROME]);
    check("hermes", &format!("I look.\n\n{call}"), "I look.", &[ROME]);
    check("hermes", &format!("{call}\n{call}"), "", &[ROME, ROME]);
    check("hermes", &format!("{call}\nDone. "), "Done.", &[ROME]);
    // What models get wrong: no closing tag, one brace too few or too many, a list, other names, arguments as a text.
    check("hermes", r#"<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}"#, "", &[ROME]);
    check("hermes", r#"<tool_call>{"name": "weather", "arguments": {"city": "Rome"}</tool_call>"#, "", &[ROME]);
    check("hermes", r#"<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}}</tool_call>"#, "", &[ROME]);
    check(
        "hermes",
        r#"<tool_call>[{"name": "weather", "parameters": {"city": "Rome"}}, {"name": "now"}]</tool_call>"#,
        "",
        &[ROME, ("now", "{}")],
    );
    check("hermes", r#"<tool_call>{"arguments": {"city": "Rome"}, "name": "weather"}</tool_call>"#, "", &[ROME]);
    check("hermes", r#"<tool_call>{"name": "weather", "arguments": "{\"city\": \"Rome\"}"}</tool_call>"#, "", &[ROME]);
    check(
        "hermes",
        r#"<tool_call>{"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}</tool_call>"#,
        "",
        &[ROME],
    );
    check("hermes", r#"<tool_call>{"name": "now", "arguments": null}</tool_call>"#, "", &[("now", "{}")]);
    check("hermes", "```json\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n```", "", &[ROME]);
    check("hermes", r#" {"name": "weather", "arguments": {"city": "Rome"}}"#, "", &[ROME]);
    // A tag that means nothing, and JSON that is an answer.
    for text in [
        "a <tool_cal",
        "<tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>hello</tool_call> x",
        "{\"name\": \"Ann\"}",
        "{\"answer\": 42}",
        "{",
        "[1, 2]",
        "```json\n{\"name\": 1}\n```",
        "1 < 2 \n",
        " \n",
        "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": Rome}}</tool_call>",
        "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Rom",
        "<tool_call>{\"name\": \"weather\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"weather\"",
    ] {
        check("hermes", text, text, &[]);
    }
    check("hermes", &format!("<tool_call>oh\n{call}"), "<tool_call>oh", &[ROME]);
}

#[test]
fn syntaxes_of_json() {
    let object = r#"{"name": "weather", "arguments": {"city": "Rome"}}"#;
    check("mistral", &format!("[TOOL_CALLS][{object}, {object}]"), "", &[ROME, ROME]);
    check("mistral", &format!("[TOOL_CALLS] [{object}]"), "", &[ROME]);
    check(
        "mistral",
        r#"Hm.[TOOL_CALLS]weather[ARGS]{"city": "Rome"}[TOOL_CALLS]now[ARGS]{}"#,
        "Hm.",
        &[ROME, ("now", "{}")],
    );
    check("mistral", r#"[TOOL_CALLS]weather[CALL_ID]9Ae3bDc2F[ARGS]{"city": "Rome"}"#, "", &[ROME]);
    check("mistral", r#"[TOOL_CALLS]weather{"city": "Rome"}"#, "", &[ROME]);
    check("granite", &format!("<|tool_call|>[{object}]"), "", &[ROME]);
    check("granite", &format!("<|tool_call|>[{object}]<|/tool_call|>"), "", &[ROME]);
    check("nemotron", &format!("<TOOLCALL>[{object}]</TOOLCALL>\n"), "", &[ROME]);
    check("tool-calls", &format!("<tool_calls>\n{object}\n{object}\n</tool_calls>"), "", &[ROME, ROME]);
    check("firefunction", &format!(" functools[{object}]"), "", &[ROME]);
    check(
        "cohere",
        "Action: ```json\n[\n    {\n        \"tool_name\": \"weather\",\n        \"parameters\": {\"city\": \"Rome\"}\n    }\n]```",
        "",
        &[ROME],
    );
    check(
        "cohere",
        "<|START_ACTION|>[\n {\"tool_call_id\": \"0\", \"tool_name\": \"now\", \"parameters\": {}}\n]<|END_ACTION|>",
        "",
        &[("now", "{}")],
    );
    check("cohere", "<|START_RESPONSE|>Hello.<|END_RESPONSE|>", "Hello.", &[]);
    check(
        "apertus",
        r#"<|tools_prefix|>[{"weather": {"city": "Rome"}}, {"now": {}}]<|tools_suffix|>"#,
        "",
        &[ROME, ("now", "{}")],
    );
    check("gigachat", &format!("I look<|message_sep|>\n\nfunction call<|role_sep|>\n{object}"), "I look", &[ROME]);
    check(
        "llama",
        r#"{"name": "weather", "parameters": {"city": "Rome"}}; {"name": "now", "parameters": {}}"#,
        "",
        &[ROME, ("now", "{}")],
    );
    check(
        "llama",
        r#"<|python_tag|>{"type": "function", "name": "weather", "parameters": {"city": "Rome"}}"#,
        "",
        &[ROME],
    );
    check("llama", r#"<|python_tag|>weather.call(city="Rome")"#, "", &[("weather", r#"{"city":"Rome"}"#)]);
    check("llama", "<|python_tag|>print(1)", "<|python_tag|>print(1)", &[]);
    check("json", r#"{"name": "nobody", "parameters": {}}"#, r#"{"name": "nobody", "parameters": {}}"#, &[]);
}

#[test]
fn syntaxes_with_the_name_apart() {
    check(
        "functionary",
        r#"Hm. <function=weather>{"city": "Rome"}</function><function=now>{}</function>"#,
        "Hm.",
        &[ROME, ("now", "{}")],
    );
    check(
        "functionary-recipient",
        "all\nI look.\n>>>weather\n{\"city\": \"Rome\"}>>>now\n{}",
        "I look.",
        &[ROME, ("now", "{}")],
    );
    check("functionary-recipient", "weather\n{\"city\": \"Rome\"}", "", &[ROME]);
    check("functionary-recipient", "all\nNo >>>one\n{} is there", "No >>>one\n{} is there", &[]);
    let call = |name: &str| {
        format!(
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{{\"city\": \"Rome\"}}\n```<｜tool▁call▁end｜>"
        )
    };
    check(
        "deepseek",
        &format!("<｜tool▁calls▁begin｜>{}\n{}<｜tool▁calls▁end｜>", call("weather"), call("weather")),
        "",
        &[ROME, ROME],
    );
    check("deepseek", &format!("Ja.{}", call("weather")), "Ja.", &[ROME]);
    check(
        "deepseek",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        &[("now", "{}")],
    );
    check("deepseek", "<｜tool▁calls▁begin｜>nothing", "<｜tool▁calls▁begin｜>nothing", &[]);
    let kimi = |call: &str| format!("<|tool_calls_section_begin|>{call}<|tool_calls_section_end|>");
    let one = r#"<|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{"city": "Rome"}<|tool_call_end|>"#;
    check("kimi", &kimi(&format!("{one}{one}")), "", &[ROME, ROME]);
    assert_eq!(told(parts(ToolSyntax::named("kimi").expect("one"), &[&kimi(one)])).calls[0].0, "functions.weather:0");
    check("solar", ToolSyntax::named("solar").expect("one").example, "", &[ROME]);
}

#[test]
fn syntaxes_with_arguments_apart() {
    let coder = "<tool_call>\n<function=write>\n<parameter=path>\na.rs\n</parameter>\n<parameter=text>\nfn main() {\n    \"<b>\";\n}\n\n</parameter>\n<parameter=lines>\n[1, 2]\n</parameter>\n</function>\n</tool_call>";
    let written = ("write", r#"{"path": "a.rs", "text": "fn main() {\n    \"<b>\";\n}\n", "lines": [1,2]}"#);
    check("qwen-coder", &format!("Yes.\n{coder}"), "Yes.", &[written]);
    check("qwen-coder", coder.strip_prefix("<tool_call>\n").expect("it begins so"), "", &[written]);
    check("qwen-coder", "<tool_call>\n<function=now>\n</function>\n</tool_call>", "", &[("now", "{}")]);
    check(
        "qwen-coder",
        "<tool_call><function=weather><parameter=days>3</parameter><parameter=units>C</parameter></function></tool_call>",
        "",
        &[("weather", r#"{"days": 3, "units": "C"}"#)],
    );
    check(
        "qwen-coder",
        "<tool_call><function=nobody><parameter=x>True</parameter><parameter=y>a b</parameter></function></tool_call>",
        "",
        &[("nobody", r#"{"x": true, "y": "a b"}"#)],
    );
    check(
        "seed",
        "<seed:tool_call>\n<function=weather>\n<parameter=city>Rome</parameter>\n</function>\n</seed:tool_call>",
        "",
        &[ROME],
    );
    check(
        "glm",
        "Hm.\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Rome</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>now</tool_call>",
        "Hm.",
        &[("weather", r#"{"city": "Rome", "days": 2}"#), ("now", "{}")],
    );
    check("glm", "<tool_call>weather<arg_key>city</arg_key><arg_value>Rome</arg_value></tool_call>", "", &[ROME]);
    check(
        "minimax",
        "<minimax:tool_call>\n<invoke name=\"weather\">\n<parameter name=\"city\">Rome</parameter>\n</invoke>\n<invoke name=\"now\">\n</invoke>\n</minimax:tool_call>",
        "",
        &[ROME, ("now", "{}")],
    );
    check(
        "deepseek-dsml",
        "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"weather\">\n<｜DSML｜parameter name=\"city\" string=\"true\">7</｜DSML｜parameter>\n<｜DSML｜parameter name=\"days\" string=\"false\">7</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        "",
        &[("weather", r#"{"city": "7", "days": 7}"#)],
    );
    check(
        "qwen-coder",
        "<tool_call>\n<function=weather>\n<parameter=city>\nRome",
        "<tool_call>\n<function=weather>\n<parameter=city>\nRome",
        &[],
    );
    check("glm", "<tool_call>no name, but text</tool_call>", "<tool_call>no name, but text</tool_call>", &[]);
}

#[test]
fn syntaxes_of_python_and_braces() {
    let rome = ("weather", r#"{"city":"Rome"}"#);
    check("pythonic", "[weather(city=\"Rome\"), now()]", "", &[rome, ("now", "{}")]);
    check("pythonic", "<|python_start|>[weather(city='Rome')]<|python_end|>", "", &[rome]);
    check("pythonic", "weather(city='Rome')", "", &[rome]);
    check(
        "lfm2",
        "Hm.<|tool_call_start|>[write(path=\"a\\n)\", lines=[1, (2.5, None)], text={'a': True})]<|tool_call_end|>Done",
        "Hm.Done",
        &[("write", r#"{"path":"a\n)","lines":[1,[2.5,null]],"text":{"a":true}}"#)],
    );
    check(
        "lfm2",
        r#"<|tool_call_start|>[{"name": "weather", "arguments": {"city": "Rome"}}]<|tool_call_end|>"#,
        "",
        &[ROME],
    );
    check("olmo", "<function_calls>\nweather(city=\"Rome\")\nnow()\n</function_calls>", "", &[rome, ("now", "{}")]);
    check("pythonic", "[weather('Rome', 3)]", "", &[("weather", r#"{"city":"Rome","days":3}"#)]);
    for text in ["[1] says so", "[nobody(x=1)]", "[weather(city=)]", "We see (a) b", "[weather(city='Rome'"] {
        check("pythonic", text, text, &[]);
    }
    check(
        "gemma",
        "<|tool_call>call:weather{city:<|\"|>Ro}me<|\"|>,days:3,units:<|\"|>C<|\"|>}<tool_call|>",
        "",
        &[("weather", r#"{"city":"Ro}me","days":3,"units":"C"}"#)],
    );
    check(
        "gemma",
        "<start_function_call>call:write{path:<escape>a<escape>,lines:[1,{b:true}]}<end_function_call>",
        "",
        &[("write", r#"{"path":"a","lines":[1,{"b":true}]}"#)],
    );
    check(
        "gemma",
        "<|tool_call>call:now{}<tool_call|><|tool_call>call:now{}<tool_call|>",
        "",
        &[("now", "{}"), ("now", "{}")],
    );
    check("gemma", "<|tool_call>call:now{", "<|tool_call>call:now{", &[]);
}

#[test]
fn harmony() {
    let text = "<|channel|>analysis<|message|>They ask.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>\
                <|start|>assistant to=functions.weather<|channel|>commentary json<|message|>{\"city\": \"Rome\"}<|call|>";
    check("harmony", text, "I look.", &[ROME]);
    assert_eq!(told(parts(ToolSyntax::named("harmony").expect("one"), &[text])).reasoning, "They ask.");
    check("harmony", "<|channel|>final<|message|>Hello <|x|> <b>.<|return|>", "Hello <|x|> <b>.", &[]);
    check("harmony", "Hello.", "Hello.", &[]);
    check(
        "harmony",
        "<|channel|>commentary to=functions.now <|constrain|>json<|message|><|call|>",
        "",
        &[("now", "{}")],
    );
    check(
        "harmony",
        "<|channel|>commentary to=functions.now<|message|>{\"a\": 1",
        "<|channel|>commentary to=functions.now<|message|>{\"a\": 1",
        &[],
    );
    check(
        "harmony",
        "<|channel|>analysis<|message|>A.<|end|><|start|>assistant<|channel|>analysis<|message|>B.<|end|>",
        "",
        &[],
    );
    let mut reader = style(ToolSyntax::named("harmony").expect("one")).reader("", None);
    let mut found = reader.push("<|channel|>commentary to=functions.now<|message|>{}");
    found.extend(reader.finish());
    assert_eq!(told(found).content, "<|channel|>commentary to=functions.now<|message|>{}");
}

/// Texts that are made of what syntaxes are made of.
fn soup() -> impl Strategy<Value = String> {
    let mut words: Vec<String> =
        SYNTAXES.iter().flat_map(|syntax| syntax.marks.iter().map(|mark| (*mark).to_owned())).collect();
    let more = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "\"",
        "'",
        ":",
        ",",
        " ",
        "\n",
        "weather",
        "name",
        "arguments",
        "\"name\": \"weather\"",
        "city",
        "\"arguments\": {",
        "<tool_call>",
        "</tool_call>",
        "<function=weather>",
        "<parameter=city>",
        "</parameter>",
        "</function>",
        "[TOOL_CALLS]",
        "call:",
        ">>>",
        "é",
        "🦀",
        "\\",
        "\\u00",
        "1",
        "-",
        "null",
        "<",
        ">",
        "=",
        "```json",
        "```",
        "to=functions.",
        "analysis",
        "commentary",
    ];
    words.extend(more.map(str::to_owned));
    prop::collection::vec(prop::sample::select(words), 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_read_the_same_however_it_is_cut(text in prop_oneof![soup(), any::<String>()], seed in any::<u64>()) {
        for syntax in SYNTAXES {
            let whole = parts(syntax, &[&text]);
            let mut pieces: Vec<&str> = Vec::new();
            let (mut rest, mut seed) = (text.as_str(), seed | 1);
            while !rest.is_empty() {
                seed = seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                let length = rest.chars().take((seed >> 60) as usize).map(char::len_utf8).sum::<usize>();
                let (piece, other) = rest.split_at(length);
                pieces.push(piece);
                rest = other;
            }
            prop_assert_eq!(parts(syntax, &pieces), whole, "{}", syntax.name);
        }
    }

    #[test]
    fn without_a_call_no_text_is_lost(text in prop_oneof![soup(), any::<String>()]) {
        for syntax in SYNTAXES.iter().filter(|syntax| syntax.name != "harmony") {
            let told = told(parts(syntax, &[&text]));
            if told.calls.is_empty() {
                let dropped = syntax.drops.iter().fold(text.clone(), |text, (_, drop)| text.replace(drop, ""));
                prop_assert!(told.content == text || told.content.len() >= dropped.len(), "{}: {:?}", syntax.name, told);
            }
        }
    }
}
