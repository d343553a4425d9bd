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

/// Marks around each injected string, of no meaning to any template.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// The strings in a template that look like special tokens: `<|im_start|>`, `<s>`, `[INST]`, `<start_of_turn>`.
fn special_strings(source: &str) -> Vec<String> {
    let mut found: Vec<String> = TOKENS.iter().map(|(_, token)| (*token).to_owned()).collect();
    for (open, close) in [('<', '>'), ('[', ']')] {
        for (start, _) in source.match_indices(open) {
            let Some(length) = source[start..].find(close) else { continue };
            let inner = &source[start + 1..start + length];
            let is_token = |c: char| c.is_alphanumeric() || "_|/｜▁-".contains(c);
            let is_plausible = if open == '[' {
                inner.len() > 1 && inner.chars().all(|c| c.is_ascii_uppercase() || "_/".contains(c))
            } else {
                !inner.is_empty() && inner.chars().all(is_token)
            };
            if is_plausible {
                found.push(source[start..start + length + 1].to_owned());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The conversation with `text` added to every string that is content: everything but roles and types.
fn injected(json: &Json, text: &str) -> Json {
    match json {
        Json::String(content) => Json::String(format!("{content}{OPEN}{text}{CLOSE}")),
        Json::Array(elements) => elements.iter().map(|element| injected(element, text)).collect(),
        Json::Object(fields) => {
            let keep = |name: &str, value: &Json| {
                let is_structure = matches!(name, "role" | "type" | "id" | "tool_call_id");
                // Some templates parse arguments that are a string.
                let is_code = name == "arguments" && value.is_string();
                if is_structure || is_code { value.clone() } else { injected(value, text) }
            };
            fields.iter().map(|(name, value)| (name.clone(), keep(name, value))).collect()
        }
        other => other.clone(),
    }
}

/// How often `special` stands in the text with all of its bytes trusted.
fn trusted_count(rendered: &Rendered, special: &str) -> usize {
    let occurrences = rendered.text.match_indices(special);
    occurrences.filter(|(start, found)| rendered.is_trusted(*start..start + found.len())).count()
}

/// Whether the template looks for `special` in content (`content.split('</think>')`), to write one of its own.
fn is_looked_for(source: &str, special: &str) -> bool {
    ['\'', '"'].iter().any(|quote| {
        source.contains(&format!("({quote}{special}")) || source.contains(&format!("{quote}{special}{quote} in "))
    })
}

/// Segments cover the text in order without gaps, and the marks around content are not trusted.
fn check_segments(rendered: &Rendered, place: &str) {
    let mut end = 0;
    for (range, trusted) in &rendered.segments {
        assert_eq!(range.start, end, "{place}: gap");
        assert!(range.end > range.start, "{place}: empty segment");
        let text = &rendered.text[range.clone()];
        assert!(!(*trusted && text.contains([OPEN, CLOSE])), "{place}: trusted content {text:?}");
        end = range.end;
    }
    assert_eq!(end, rendered.text.len(), "{place}: the end is not covered");
}

/// No byte between the marks is trusted.
fn check_marked(rendered: &Rendered, place: &str) {
    for (start, _) in rendered.text.match_indices(OPEN) {
        let Some(length) = rendered.text[start..].find(CLOSE) else { continue };
        let region = start..start + length;
        assert!(region.clone().all(|at| !rendered.is_trusted(at..at + 1)), "{place}: {:?}", &rendered.text[region]);
    }
}

#[test]
fn special_strings_in_content_are_never_trusted() {
    let Some(directory) = shared_data("templates") else { return };
    let goldens = goldens(&directory);
    let mut checked = 0;
    for (name, results) in goldens["results"].as_object().expect("results by template") {
        let source = source(&directory, name);
        let template = ChatTemplate::parse(&source).expect("the golden test parses it");
        for case in results.as_object().expect("results by case").keys() {
            let conversation = Conversation::new(&goldens["cases"][case]);
            let with = |text: &str| {
                let messages = conversation.messages.iter().map(|message| injected(message, text)).collect();
                let tools = conversation.tools.as_ref();
                let tools = tools.map(|tools| tools.iter().map(|tool| injected(tool, text)).collect());
                let variables = conversation.variables.clone();
                Conversation { messages, tools, variables, ..conversation }.render(&template)
            };
            // Letters instead: what the template writes around harmless content.
            let Ok(harmless) = with("harmless") else { continue };
            for special in special_strings(&source) {
                let place = format!("{name} {case} {special}");
                let Ok(attacked) = with(&special) else { continue };
                check_segments(&attacked, &place);
                if is_looked_for(&source, &special) {
                    continue;
                }
                check_marked(&attacked, &place);
                assert_eq!(trusted_count(&attacked, &special), trusted_count(&harmless, &special), "{place}");
                checked += 1;
            }
        }
    }
    assert!(checked > 3000, "only {checked} injections were checked");
}

#[test]
fn every_special_token_of_a_template_is_trusted() {
    let Some(directory) = shared_data("templates") else { return };
    let goldens = goldens(&directory);
    for (name, results) in goldens["results"].as_object().expect("results by template") {
        let template = ChatTemplate::parse(&source(&directory, name)).expect("the golden test parses it");
        for case in results.as_object().expect("results by case").keys() {
            let Ok(rendered) = Conversation::new(&goldens["cases"][case]).render(&template) else { continue };
            // No golden conversation writes such a token: all come from the template, some built from the role.
            for (open, close) in [("<|", "|>"), ("<｜", "｜>")] {
                for (start, _) in rendered.text.match_indices(open) {
                    let Some(length) = rendered.text[start..].find(close) else { continue };
                    let range = start..start + length + close.len();
                    if rendered.text[range.clone()].contains(char::is_whitespace) {
                        continue;
                    }
                    assert!(rendered.is_trusted(range.clone()), "{name} {case}: {:?}", &rendered.text[range]);
                }
            }
        }
    }
}
