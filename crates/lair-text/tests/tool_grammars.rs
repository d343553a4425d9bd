//! Calls that must come: the grammar of every syntax compiles for real vocabularies, and what it lets through is read as calls.

use std::sync::Arc;

use lair_gguf::GgufFile;
use lair_testkit::shared_data;
use lair_text::grammar::{GrammarFactory, GrammarSource, lark_literal};
use lair_text::output::{AnswerStyle, CallsWanted, Part, SYNTAXES, ToolSyntax};
use lair_text::tokenizer::{AddSpecial, Special, Tokenizer};
use serde_json::{Value as Json, json};

fn tools() -> Vec<Json> {
    let properties = json!({ "city": { "type": "string", "enum": ["Rome", "Oslo"] }, "days": { "type": "integer" }, "note": { "type": "string" } });
    vec![
        json!({ "type": "function", "function": { "name": "weather", "parameters": { "type": "object", "properties": properties, "required": ["city"] } } }),
        json!({ "type": "function", "function": { "name": "now" } }),
    ]
}

fn factory(file: &str) -> Option<GrammarFactory> {
    let path = shared_data(file)?;
    let file = GgufFile::open(&path).expect("a file");
    Some(GrammarFactory::new(Arc::new(Tokenizer::from_gguf(file.metadata()).expect("a tokenizer"))))
}

fn source(factory: &GrammarFactory, syntax: &ToolSyntax, answer: Option<&Json>) -> GrammarSource {
    let wanted = CallsWanted { tools: &tools(), is_parallel: true, answer };
    let lark = syntax.grammar(wanted, |text| lark_literal(factory.tokenizer(), text));
    GrammarSource::Lark(lark.expect("the schemas are right"))
}

fn call_count(syntax: &'static ToolSyntax, text: &str) -> usize {
    let style = AnswerStyle { reasoning: None, tools: Some(syntax) };
    let mut reader = style.reader("", Some(&tools()));
    let mut parts = reader.push(text);
    parts.extend(reader.finish());
    assert!(!parts.iter().any(|part| matches!(part, Part::Content(_))), "{}: {text} {parts:?}", syntax.name);
    parts.iter().filter(|part| matches!(part, Part::CallEnd { .. })).count()
}

/// Follows the grammar by the allowed token of the lowest number, and reads what comes of it.
#[test]
fn what_the_grammar_lets_through_is_read_as_calls() {
    for file in ["tokenizers/ggml-vocab-qwen2.gguf", "tokenizers/ggml-vocab-gpt-2.gguf"] {
        let Some(factory) = factory(file) else { return };
        let tokenizer = factory.tokenizer();
        for syntax in SYNTAXES {
            let grammar = factory
                .compile(&source(&factory, syntax, None))
                .unwrap_or_else(|error| panic!("{}: {error}\n{:?}", syntax.name, source(&factory, syntax, None)));
            let mut ended = 0;
            // Each choice takes another of the allowed tokens, so that all branches are walked in some round.
            for round in 0..6_usize {
                let mut matcher = grammar.matcher();
                let mut bytes: Vec<u8> = Vec::new();
                let mut has_ended = false;
                for place in 0..400_usize {
                    if matcher.is_over() {
                        break;
                    }
                    let allowed = matcher.allowed().expect("it goes on");
                    let words = allowed.words();
                    let tokens: Vec<u32> = (0..tokenizer.vocabulary_size() as u32)
                        .filter(|token| words[*token as usize / 32] >> (token % 32) & 1 == 1)
                        .take(12)
                        .collect();
                    let end = tokens.iter().find(|token| tokenizer.is_end_of_generation(**token));
                    if let Some(end) = end.filter(|_| place > 40) {
                        matcher.accept(*end).expect("allowed");
                        has_ended = true;
                        break;
                    }
                    let others: Vec<u32> =
                        tokens.iter().copied().filter(|token| !tokenizer.is_end_of_generation(*token)).collect();
                    let Some(&token) = others.get((round * 5 + place) % others.len().max(1)) else { break };
                    matcher.accept(token).expect("allowed");
                    bytes.extend_from_slice(tokenizer.token_bytes(token).expect("known"));
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if has_ended || matcher.is_over() {
                    ended += 1;
                    assert!(call_count(syntax, &text) >= 1, "{}: {text}", syntax.name);
                }
            }
            println!("{file}, {}: {ended} of 6 rounds came to an end", syntax.name);
        }
    }
}

/// The example of a syntax, spelled in tokens, is what its grammar allows.
#[test]
fn one_call_that_must_come_is_allowed_as_it_is_written() {
    let Some(factory) = factory("tokenizers/ggml-vocab-qwen2.gguf") else { return };
    let accepts = |syntax: &'static ToolSyntax, answer: Option<&Json>, text: &str| {
        let mut matcher = factory.compile(&source(&factory, syntax, answer)).expect("compiles").matcher();
        let tokens = factory.tokenizer().encode(text, Special::Parse, AddSpecial::No);
        tokens.iter().all(|token| matcher.accept(*token).is_ok())
    };
    let hermes = ToolSyntax::named("hermes").expect("one");
    let call = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\", \"days\": 3}}\n</tool_call>";
    assert!(accepts(hermes, None, call));
    assert!(accepts(hermes, None, &format!("{call}\n{call}")));
    assert!(!accepts(hermes, None, "Hello"));
    assert!(!accepts(hermes, None, &call.replace("Rome", "Bonn")));
    assert!(!accepts(hermes, None, &call.replace("weather", "wether")));
    let schema = json!({ "type": "object", "properties": { "answer": { "type": "integer" } }, "required": ["answer"] });
    assert!(accepts(hermes, Some(&schema), call));
    assert!(accepts(hermes, Some(&schema), "{\"answer\": 42}"));
    assert!(!accepts(hermes, Some(&schema), "[42]"));
    let coder = ToolSyntax::named("qwen-coder").expect("one");
    let call = "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>";
    assert!(accepts(coder, None, call));
    let note = "<parameter=note>\nTwo\nlines, a < b\n</parameter>\n</function>";
    assert!(accepts(coder, None, &call.replace("</function>", note)));
    let pythonic = ToolSyntax::named("pythonic").expect("one");
    assert!(accepts(pythonic, None, "[weather(city=\"Rome\", days=2), now()]"));
}
