//! Chat templates of known models against outputs of Python's Jinja, byte for byte.

use std::path::Path;

use lair_testkit::shared_data;
use lair_text::template::{ChatTemplate, LocalTime, RenderInput, Rendered, TemplateError};
use serde_json::{Map, Value as Json};

const TOKENS: [(&str, &str); 4] =
    [("bos_token", "<BOS>"), ("eos_token", "<EOS>"), ("pad_token", "<PAD>"), ("unk_token", "<UNK>")];

/// One conversation of the goldens, split into what the engine sets and what a request may set.
struct Conversation {
    messages: Vec<Json>,
    tools: Option<Vec<Json>>,
    add_generation_prompt: bool,
    variables: Map<String, Json>,
}

impl Conversation {
    fn new(case: &Json) -> Conversation {
        let mut variables = case.as_object().expect("a case is an object").clone();
        let messages = variables.remove("messages").expect("a case has messages");
        let tools = variables.remove("tools");
        let add_generation_prompt = variables.remove("add_generation_prompt") == Some(Json::Bool(true));
        Conversation {
            messages: messages.as_array().expect("messages are a list").clone(),
            tools: tools.map(|tools| tools.as_array().expect("tools are a list").clone()),
            add_generation_prompt,
            variables,
        }
    }

    fn render(&self, template: &ChatTemplate) -> Result<Rendered, TemplateError> {
        template.render(&RenderInput {
            messages: &self.messages,
            tools: self.tools.as_deref(),
            add_generation_prompt: self.add_generation_prompt,
            tokens: &TOKENS,
            variables: Some(&self.variables),
            now: Some(LocalTime::from_date(2025, 7, 26, 12, 34, 56)),
            ..RenderInput::default()
        })
    }
}

fn goldens(directory: &Path) -> Json {
    let text = std::fs::read_to_string(directory.join("goldens.json")).expect("the goldens lie beside the templates");
    serde_json::from_str(&text).expect("the goldens are JSON")
}

fn source(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).expect("each template of the goldens is there")
}

/// Where two texts part, for a message one can read.
fn first_difference(expected: &str, found: &str) -> String {
    let at = expected.bytes().zip(found.bytes()).take_while(|(left, right)| left == right).count();
    let show = |text: &str| {
        let start = (0..=at.saturating_sub(30)).rev().find(|&start| text.is_char_boundary(start)).unwrap_or(0);
        text[start..].chars().take(80).collect::<String>()
    };
    format!("at byte {at}: expected {:?}, found {:?}", show(expected), show(found))
}

#[test]
fn renders_every_golden_byte_for_byte() {
    let Some(directory) = shared_data("templates") else { return };
    let goldens = goldens(&directory);
    let (mut equal, mut refused) = (0, 0);
    let mut failures = Vec::new();
    for (name, results) in goldens["results"].as_object().expect("results by template") {
        let template = match ChatTemplate::parse(&source(&directory, name)) {
            Ok(template) => template,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        for (case, expected) in results.as_object().expect("results by case") {
            let result = Conversation::new(&goldens["cases"][case]).render(&template);
            let message = expected["message"].as_str();
            match (result, expected["output"].as_str()) {
                (Ok(rendered), Some(output)) if rendered.text == output => equal += 1,
                (Ok(rendered), Some(output)) => {
                    failures.push(format!("{name} {case}: {}", first_difference(output, &rendered.text)));
                }
                (Err(error), None) if message.is_some_and(|message| error.fault.to_string() == message) => refused += 1,
                (Err(error), None) => failures.push(format!("{name} {case}: {error}, expected {message:?}")),
                (Err(error), Some(_)) => failures.push(format!("{name} {case}: {error}")),
                (Ok(_), None) => failures.push(format!("{name} {case}: rendered, expected {message:?}")),
            }
        }
    }
    assert!(failures.is_empty(), "{equal} equal, {refused} refused, failures:\n{}", failures.join("\n"));
    assert_eq!((equal, refused), (387, 42));
}
