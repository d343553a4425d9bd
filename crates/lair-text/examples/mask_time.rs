//! How long it takes to find the tokens that may follow: `cargo run --release --example mask_time -- VOCABULARY.gguf
//! DOCUMENT.json...`
//!
//! Each document, a list of objects, is read token by token under the grammar of any object and under one of a schema
//! that is made of it, and each set of allowed tokens is timed.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use lair_gguf::GgufFile;
use lair_text::grammar::{GrammarFactory, GrammarSource, SchemaStyle};
use lair_text::tokenizer::{AddSpecial, Special, Tokenizer};
use serde_json::{Value as Json, json};

/// Tokens of a document that are read.
const TOKENS_MAX: usize = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let vocabulary = arguments.next().ok_or("a vocabulary is expected")?;
    let tokenizer = Arc::new(Tokenizer::from_gguf(GgufFile::open(&vocabulary)?.metadata())?);
    let start = Instant::now();
    let factory = GrammarFactory::new(Arc::clone(&tokenizer));
    factory.compile(&GrammarSource::Choice(vec!["a".to_owned()]))?;
    println!("{} tokens, trie built in {:?}", tokenizer.vocabulary_size(), start.elapsed());
    let (mut free, mut typed) = (Vec::new(), Vec::new());
    for path in arguments {
        let document: Json = serde_json::from_slice(&std::fs::read(&path)?)?;
        for object in document.as_array().into_iter().flatten().filter(|object| object.is_object()) {
            let text = serde_json::to_string_pretty(object)?;
            measure(&factory, &GrammarSource::AnyObject(SchemaStyle::default()), &text, &mut free)?;
            let schema = schema_of(object);
            measure(&factory, &GrammarSource::Schema(schema, SchemaStyle::default()), &text, &mut typed)?;
        }
    }
    report("any object", &mut free);
    report("schema", &mut typed);
    Ok(())
}

/// A schema that describes a value of this shape.
fn schema_of(value: &Json) -> Json {
    match value {
        Json::Null => json!({ "type": "null" }),
        Json::Bool(_) => json!({ "type": "boolean" }),
        Json::Number(_) => json!({ "type": "number" }),
        Json::String(_) => json!({ "type": "string" }),
        Json::Array(items) => {
            let items: Vec<Json> = items.iter().map(schema_of).collect();
            json!({ "type": "array", "prefixItems": items, "items": false, "minItems": items.len() })
        }
        Json::Object(map) => {
            let properties: serde_json::Map<_, _> =
                map.iter().map(|(key, value)| (key.clone(), schema_of(value))).collect();
            let required: Vec<&String> = map.keys().collect();
            json!({ "type": "object", "required": required, "additionalProperties": false, "properties": properties })
        }
    }
}

fn measure(
    factory: &GrammarFactory,
    source: &GrammarSource,
    text: &str,
    nanoseconds: &mut Vec<u128>,
) -> Result<(), Box<dyn Error>> {
    // A document with numbers or names that a schema cannot hold is passed over.
    let Ok(grammar) = factory.compile(source) else { return Ok(()) };
    let mut matcher = grammar.matcher();
    for token in factory.tokenizer().encode(text, Special::AsText, AddSpecial::No).into_iter().take(TOKENS_MAX) {
        if matcher.is_over() || matcher.accepted_count(&[token])? == 0 {
            break;
        }
        let start = Instant::now();
        std::hint::black_box(matcher.allowed()?);
        nanoseconds.push(start.elapsed().as_nanos());
        matcher.accept(token)?;
    }
    Ok(())
}

fn report(what: &str, nanoseconds: &mut [u128]) {
    nanoseconds.sort_unstable();
    let Some(last) = nanoseconds.len().checked_sub(1) else { return };
    let at = |share: f64| nanoseconds[(last as f64 * share) as usize] as f64 / 1e3;
    let mean = nanoseconds.iter().sum::<u128>() as f64 / nanoseconds.len() as f64 / 1e3;
    let (count, middle, high, most) = (nanoseconds.len(), at(0.5), at(0.99), at(1.0));
    println!("{what}: {count} tokens, mean {mean:.1} us, p50 {middle:.1} us, p99 {high:.1} us, most {most:.1} us");
}
