//! Calls of tools through real chat templates: what a template writes as an earlier call is read back as that call.

use lair_testkit::shared_data;
use lair_text::output::{AnswerStyle, Part, SYNTAXES};
use lair_text::prompt::Conversation;
use lair_text::template::{ChatTemplate, RenderInput};
use lair_text::tool_prompt::{Arguments, ToolPrompting};
use serde_json::{Map, Value as Json, json};

const TOKENS: [(&str, &str); 2] = [("bos_token", "<s>"), ("eos_token", "</s>")];

fn templates() -> Option<Vec<(String, String)>> {
    let folder = shared_data("templates")?;
    let mut templates: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jinja"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("text"))
        })
        .collect();
    templates.sort();
    Some(templates)
}

struct Model {
    template: ChatTemplate,
    prompting: ToolPrompting,
    style: AnswerStyle,
}

fn render(template: &ChatTemplate, conversation: &Conversation<'_>, add_generation_prompt: bool) -> Option<String> {
    let Conversation { messages, tools, variables } = *conversation;
    let input =
        RenderInput { messages, tools, variables, add_generation_prompt, tokens: &TOKENS, ..RenderInput::default() };
    Some(template.render(&input).ok()?.text)
}

impl Model {
    fn new(source: &str) -> Model {
        let template = ChatTemplate::parse(source).expect("a template");
        let own = AnswerStyle::of_template(source);
        let prompting = ToolPrompting::probe(own.tools, |conversation| render(&template, conversation, true));
        let style = AnswerStyle { tools: Some(prompting.syntax), ..own };
        Model { template, prompting, style }
    }

    fn render(&self, messages: &[Json], tools: &[Json], add_generation_prompt: bool) -> Option<String> {
        let (messages, tools) = self.prompting.adapt(messages, Some(tools));
        let conversation = Conversation { messages: &messages, tools: tools.as_deref(), variables: None };
        render(&self.template, &conversation, add_generation_prompt)
    }

    /// The calls that are read out of what the template writes for these.
    fn round_trip(&self, tools: &[Json], calls: &[(String, Json)]) -> Option<Vec<(String, Json)>> {
        let user = json!({ "role": "user", "content": "Please." });
        let call = |(index, (name, arguments)): (usize, &(String, Json))| json!({ "id": format!("call_{index}"), "type": "function", "function": { "name": name, "arguments": arguments.to_string() } });
        let calls: Vec<Json> = calls.iter().enumerate().map(call).collect();
        let assistant = json!({ "role": "assistant", "content": null, "tool_calls": calls });
        let prompt = self.render(std::slice::from_ref(&user), tools, true)?;
        let both = self.render(&[user, assistant], tools, false)?;
        let same = prompt.bytes().zip(both.bytes()).take_while(|(left, right)| left == right).count();
        let same = (0..=same).rev().find(|&end| both.is_char_boundary(end)).unwrap_or(0);
        // A tag that both begin and only the prompt goes on with belongs to the answer.
        let tag = both[..same].rfind('<').filter(|start| !both[*start..same].contains('>'));
        let same = tag.filter(|_| same < prompt.len()).unwrap_or(same);
        // Where the prompt opens the reasoning that an earlier answer does not show, the answer begins without it.
        let is_cut = same < prompt.len() && self.style.reasoning.is_some();
        let mut reader = self.style.reader(if is_cut { "" } else { &prompt }, Some(tools));
        let mut parts = reader.push(&both[same..]);
        parts.extend(reader.finish());
        Some(read(parts))
    }
}

fn read(parts: Vec<Part>) -> Vec<(String, Json)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    let mut complete = Vec::new();
    for part in parts {
        match part {
            Part::CallBegin { name, .. } => calls.push((name, String::new())),
            Part::CallArguments { text, .. } => calls.last_mut().expect("a call").1 += &text,
            Part::CallEnd { .. } => {
                let (name, arguments) = calls.pop().expect("a call");
                complete.push((name, serde_json::from_str(&arguments).expect("JSON")));
            }
            _ => {}
        }
    }
    complete
}

fn weather() -> Vec<Json> {
    let properties = json!({
        "city": { "type": "string", "description": "Where." },
        "days": { "type": "integer", "description": "How many." },
        "details": { "type": "object", "description": "More.", "properties": {} },
    });
    vec![json!({ "type": "function", "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": { "type": "object", "properties": properties, "required": ["city"] },
    } })]
}

#[test]
fn the_table_of_syntaxes_names_them_all_in_their_order() {
    let page = include_str!("../../../docs/reference/tools.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let named: Vec<&str> = rows.map(|(name, _)| name).take(SYNTAXES.len()).collect();
    let names: Vec<&str> = SYNTAXES.iter().map(|syntax| syntax.name).collect();
    assert_eq!(named, names);
}

/// What each template knows of tools, and the syntax its answers are read in.
#[test]
fn each_template_is_recognised() {
    let Some(templates) = templates() else { return };
    let expected = [
        ("Apertus-8B-Instruct", "apertus", true),
        ("Apriel-1.6-15b-Thinker-fixed", "tool-calls", true),
        ("ByteDance-Seed-OSS", "seed", true),
        ("GLM-4.6", "glm", true),
        ("GLM-4.7-Flash", "glm", true),
        ("GigaChat3-10B-A1.8B", "gigachat", true),
        ("HuggingFaceTB-SmolLM3-3B", "hermes", false),
        ("Kimi-K2-Instruct", "kimi", true),
        ("Kimi-K2-Thinking", "kimi", true),
        ("MiMo-VL", "hermes", true),
        ("MiniMax-M1", "tool-calls", true),
        ("MiniMax-M2", "minimax", true),
        ("Mistral-Small-3.2-24B-Instruct-2506", "mistral", true),
        ("Qwen-QwQ-32B", "hermes", true),
        ("Qwen-Qwen2.5-7B-Instruct", "hermes", true),
        ("Qwen-Qwen3-0.6B", "hermes", true),
        ("Qwen3-Coder", "qwen-coder", true),
        ("Qwen3.5-4B", "qwen-coder", true),
        ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "deepseek", false),
        ("deepseek-ai-DeepSeek-V3.1", "deepseek", false),
        ("deepseek-ai-DeepSeek-V3.2", "deepseek-dsml", true),
        ("ibm-granite-granite-3.3-2B-Instruct", "granite", true),
        ("ibm-granite-granite-4.0", "hermes", true),
        ("ibm-granite-granite-4.1", "hermes", true),
        ("llama-cpp-deepseek-r1", "deepseek", false),
        ("llama-cpp-rwkv-world", "hermes", false),
        ("meetkai-functionary-medium-v3.1", "functionary", true),
        ("meetkai-functionary-medium-v3.2", "functionary-recipient", true),
        ("microsoft-Phi-3.5-mini-instruct", "hermes", false),
        ("mistralai-Ministral-3-14B-Reasoning-2512", "mistral", true),
        ("mistralai-Mistral-Nemo-Instruct-2407", "mistral", true),
        ("moonshotai-Kimi-K2", "kimi", true),
        ("openai-gpt-oss-120b", "harmony", true),
    ];
    let found: Vec<(String, String, bool)> = templates
        .iter()
        .map(|(name, source)| {
            let model = Model::new(source);
            (
                name.clone(),
                model.style.tools.map_or("none", |syntax| syntax.name).to_owned(),
                model.prompting.knows_tools,
            )
        })
        .collect();
    let expected: Vec<_> =
        expected.iter().map(|(name, syntax, knows)| (name.to_string(), syntax.to_string(), *knows)).collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn what_a_template_writes_as_a_call_is_read_back() {
    let Some(templates) = templates() else { return };
    let arguments = json!({ "city": "Rome \"<b>\" é\n{}", "days": 2, "details": { "wind": true, "of": [1, "a"] } });
    for (name, source) in templates {
        let model = Model::new(&source);
        let mut arguments = arguments.clone();
        if name == "ByteDance-Seed-OSS" {
            // It writes what is nested as Python writes it, which is read as a text.
            arguments.as_object_mut().expect("an object").remove("details");
        }
        let calls = vec![("weather".to_owned(), arguments)];
        let found = model.round_trip(&weather(), &calls).unwrap_or_else(|| panic!("{name} renders"));
        assert_eq!(found, calls, "{name} {:?}", model.prompting);
    }
}

/// A whole conversation comes through every template: two calls with long ids, their results by id, an answer.
#[test]
fn a_conversation_with_calls_and_results_is_shown_to_the_model() {
    let Some(templates) = templates() else { return };
    let call = |id: &str, city: &str| json!({ "id": id, "type": "function", "function": { "name": "weather", "arguments": json!({ "city": city }).to_string() } });
    let result = |id: &str, content: &str| json!({ "role": "tool", "tool_call_id": id, "content": content });
    for (name, source) in templates {
        let model = Model::new(&source);
        let messages = [
            json!({ "role": "user", "content": "Rome and Oslo?" }),
            json!({ "role": "assistant", "content": null, "tool_calls": [call("call_9f8e7d6c5b4a", "Rome")] }),
            result("call_9f8e7d6c5b4a", "sunny there"),
            json!({ "role": "assistant", "content": null, "tool_calls": [call("call_0a1b2c3d4e5f", "Oslo")] }),
            result("call_0a1b2c3d4e5f", "snowy there"),
        ];
        let text = model.render(&messages, &weather(), true).unwrap_or_else(|| panic!("{name} renders"));
        for word in ["Rome", "Oslo", "sunny there", "snowy there", "Tells the weather."] {
            assert!(text.contains(word), "{name} shows {word}: {:?}\n{text}", model.prompting);
        }
    }
}

#[test]
fn arguments_come_in_the_form_that_a_template_wants() {
    let Some(templates) = templates() else { return };
    let form = |wanted: &str| {
        let source = &templates.iter().find(|(name, _)| name == wanted).expect("there").1;
        Model::new(source).prompting.arguments
    };
    assert_eq!(form("Qwen-Qwen2.5-7B-Instruct"), Some(Arguments::Object));
    assert_eq!(form("meetkai-functionary-medium-v3.2"), Some(Arguments::Text));
    assert_eq!(form("microsoft-Phi-3.5-mini-instruct"), None);
}

/// The types of BFCL as JSON Schema has them.
fn schema(mut json: Json) -> Json {
    if let Some(fields) = json.as_object_mut() {
        match fields.get("type").and_then(Json::as_str) {
            Some("dict") => drop(fields.insert("type".to_owned(), json!("object"))),
            Some("float") => drop(fields.insert("type".to_owned(), json!("number"))),
            Some("tuple") => drop(fields.insert("type".to_owned(), json!("array"))),
            _ => {}
        }
        fields.values_mut().for_each(|value| *value = schema(value.take()));
    }
    json
}

/// Tools that are offered, and the calls that answer: names with arguments.
type Task = (Vec<Json>, Vec<(String, Json)>);

/// Prompts of the Berkeley Function-Calling Leaderboard: their tools, and the first of the expected answers.
fn bfcl(file: &str) -> Option<Vec<Task>> {
    let folder = shared_data("tools/bfcl")?;
    let lines = |path: &str| -> Vec<Json> {
        let text = std::fs::read_to_string(folder.join(path)).expect("text");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let call = |call: &Json| {
        let (name, values) = call.as_object()?.iter().next()?;
        let values = values.as_object()?.iter().filter_map(|(key, values)| {
            let value = values.as_array()?.first().filter(|value| **value != "")?;
            Some((key.clone(), value.clone()))
        });
        // Objects have lists of possible values inside as well, which are no values of their type.
        let values: Map<String, Json> = values.filter(|(_, value)| !value.is_object() && !value.is_array()).collect();
        Some((name.clone(), Json::Object(values)))
    };
    let questions = lines(file).into_iter().zip(lines(&format!("possible_answer/{file}")));
    let one = |(question, answer): (Json, Json)| {
        assert_eq!(question["id"], answer["id"]);
        let functions = question["function"].as_array().expect("tools");
        let tools =
            functions.iter().map(|function| json!({ "type": "function", "function": schema(function.clone()) }));
        let calls = answer["ground_truth"].as_array().expect("calls").iter().filter_map(call);
        (tools.collect(), calls.collect())
    };
    Some(questions.map(one).collect())
}

/// Whether texts are where their schemas say so, and nowhere else: between tags nothing but the schema tells them from others.
fn is_typed(tools: &[Json], calls: &[(String, Json)]) -> bool {
    let kind = |name: &str, key: &str| {
        let tool = tools.iter().find(|tool| tool["function"]["name"] == name).expect("a tool");
        tool["function"]["parameters"]["properties"][key]["type"].clone()
    };
    calls.iter().all(|(name, arguments)| {
        let mut values = arguments.as_object().expect("an object").iter();
        values.all(|(key, value)| value.is_string() == (kind(name, key) == "string"))
    })
}

#[test]
fn the_answers_of_bfcl_are_read_back_in_every_template() {
    let (Some(templates), Some(simple)) = (templates(), bfcl("BFCL_v4_simple_python.json")) else { return };
    let multiple = bfcl("BFCL_v4_multiple.json").expect("beside it");
    let parallel = bfcl("BFCL_v4_parallel.json").expect("beside it");
    for (index, (name, source)) in templates.iter().enumerate() {
        let model = Model::new(source);
        // These write one call a message.
        let is_single = ["GigaChat", "gpt-oss"].iter().any(|single| name.contains(single));
        let cases = simple.iter().chain(&multiple).chain(if is_single { &[][..] } else { &parallel[..] });
        let mut count = 0;
        for (tools, calls) in cases.filter(|(tools, calls)| is_typed(tools, calls)).skip(index % 7).step_by(7) {
            let found = model.round_trip(tools, calls).unwrap_or_else(|| panic!("{name} renders {tools:?}"));
            assert_eq!(found, *calls, "{name}");
            count += 1;
        }
        assert!(count > 50, "{name}: {count}");
    }
}

/// The same in every syntax, as it is written where no template does it.
#[test]
fn the_answers_of_bfcl_are_read_back_in_every_syntax() {
    let Some(mut cases) = bfcl("BFCL_v4_simple_python.json") else { return };
    cases.extend(bfcl("BFCL_v4_multiple.json").expect("beside it"));
    cases.extend(bfcl("BFCL_v4_parallel.json").expect("beside it"));
    cases.extend(bfcl("BFCL_v4_parallel_multiple.json").expect("beside it"));
    for syntax in SYNTAXES {
        let mut count = 0;
        for (tools, calls) in &cases {
            if !is_typed(tools, calls) || (syntax.has_single_calls() && calls.len() > 1) {
                continue;
            }
            let written: Vec<(String, Map<String, Json>)> = calls
                .iter()
                .map(|(name, arguments)| (name.clone(), arguments.as_object().expect("one").clone()))
                .collect();
            let text = syntax.write(&written);
            let style = AnswerStyle { reasoning: None, tools: Some(syntax) };
            let mut reader = style.reader("", Some(tools));
            // In pieces of three characters, as tokens would be.
            let characters: Vec<char> = text.chars().collect();
            let mut parts: Vec<Part> =
                characters.chunks(3).flat_map(|piece| reader.push(&piece.iter().collect::<String>())).collect();
            parts.extend(reader.finish());
            assert_eq!(read(parts), *calls, "{}: {text}", syntax.name);
            count += 1;
        }
        assert!(count > 300, "{}: {count}", syntax.name);
    }
}
