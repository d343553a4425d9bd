//! Grammars over a vocabulary of single bytes: what they accept, and what they refuse to compile.

use std::sync::Arc;

use lair_gguf::{Metadata, StringArray};
use serde_json::{Value as Json, json};

use super::{
    ExtraProperties, Grammar, GrammarError, GrammarFactory, GrammarSource, SchemaStyle, lark_literal, lark_schema,
};
use crate::tokenizer::Tokenizer;

const END: u32 = 2;
const CALL: u32 = 260;

/// Bytes, an end, and a control token `<call>`.
pub(super) fn byte_tokenizer() -> Tokenizer {
    let mut pieces = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    pieces.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![2, 3, 3];
    kinds.resize(pieces.len(), 6);
    pieces.extend(["\u{2581}", "<call>"].map(str::to_owned));
    kinds.extend([1, 3]);
    let mut metadata = Metadata::default();
    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.scores", vec![0.0f32; pieces.len()]);
    metadata.set("tokenizer.ggml.tokens", pieces.into_iter().collect::<StringArray>());
    metadata.set("tokenizer.ggml.token_type", kinds);
    Tokenizer::from_gguf(&metadata).expect("a sound vocabulary")
}

/// The token that is allowed and adds this byte.
fn token_of(factory: &GrammarFactory, byte: u8) -> u32 {
    let tokenizer = factory.tokenizer();
    let is_it = |&id: &u32| tokenizer.token_bytes(id).is_ok_and(|bytes| bytes == [byte]) && !tokenizer.is_control(id);
    // The last one: a space is a byte and a token of its own, and the grammar uses the latter.
    (0..tokenizer.vocabulary_size() as u32).rfind(is_it).expect("every byte has a token")
}

/// Whether the grammar takes this text, byte by byte by what it allows, and may end after it, not sooner than it says.
pub(super) fn accepts(factory: &GrammarFactory, grammar: &Grammar, text: &str) -> bool {
    let mut matcher = grammar.matcher();
    for &byte in text.as_bytes() {
        let token = token_of(factory, byte);
        if matcher.is_over() || !matcher.allowed().expect("it goes on").contains(token) {
            return false;
        }
        matcher.accept(token).expect("it was allowed");
    }
    let may_end = matcher.may_end().expect("it answers");
    if !matcher.is_over() {
        assert_eq!(matcher.allowed().expect("it goes on").contains(END), may_end, "{text}");
    }
    may_end
}

fn factory() -> GrammarFactory {
    GrammarFactory::new(Arc::new(byte_tokenizer()))
}

#[track_caller]
fn check(source: GrammarSource, good: &[&str], bad: &[&str]) {
    let factory = factory();
    let grammar = factory.compile(&source).unwrap_or_else(|error| panic!("{error}"));
    good.iter().for_each(|text| assert!(accepts(&factory, &grammar, text), "{text:?} should be accepted"));
    bad.iter().for_each(|text| assert!(!accepts(&factory, &grammar, text), "{text:?} should be refused"));
}

fn schema(schema: Json) -> GrammarSource {
    GrammarSource::Schema(schema, SchemaStyle::default())
}

#[test]
fn schemas_of_all_drafts_hold() {
    let person = json!({
        "properties": { "name": { "type": "string" }, "age": { "type": "integer", "minimum": 0 } },
        "required": ["name"],
        "type": "object",
    });
    let good = [r#"{"name":"Ä\n"}"#, "{\n  \"name\": \"x\",\n  \"age\": 7\n}"];
    let bad = ["", "{}", r#"{"age":7}"#, r#"{"name":"x","age":-1}"#, r#"{"name":"x"}}"#, r#"{"name":"x"} "#, "[]"];
    check(schema(person.clone()), &[good[0], good[1], r#"{"name":"x","more":1}"#], &bad);
    let closed = SchemaStyle { extra_properties: ExtraProperties::OnlyNamed, ..SchemaStyle::default() };
    check(GrammarSource::Schema(person, closed), &good, &[r#"{"name":"x","more":1}"#]);
    check(
        GrammarSource::AnyObject(SchemaStyle::default()),
        &["{}", r#"{"a": [1, {"b": null}]}"#],
        &["1", "[]", "{a:1}"],
    );
    check(
        schema(
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "items": [{ "const": 1 }, { "$ref": "#/x~1y" }],
            "additionalItems": false, "minItems": 2, "type": "array", "x/y": { "enum": ["a", null] } }),
        ),
        &[r#"[1,"a"]"#, "[1, null]"],
        &["[1]", r#"["a",1]"#, r#"[1,"a",1]"#],
    );
    check(
        schema(json!({ "type": "number", "minimum": 3, "exclusiveMinimum": true, "title": "draft 4" })),
        &["3.1", "4"],
        &["3", "2"],
    );
    check(schema(json!({ "type": "string", "format": "date", "uniqueItems": false })), &["\"2024-02-29\""], &["\"x\""]);
}

#[test]
fn what_cannot_be_enforced_is_refused_where_it_stands() {
    let factory = factory();
    let nested = (0..200).fold(json!({}), |inner, _| json!({ "items": inner }));
    let wide = Json::Array((0..60_000).map(|_| json!({})).collect());
    let endless = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": "object",
        "properties": { "next": { "$ref": "#/$defs/a" } }, "required": ["next"] } } });
    for (source, words) in [
        (json!({ "properties": { "a/b": { "not": {} } } }), "`not` at #/properties/a~1b"),
        (json!({ "items": { "type": "array", "uniqueItems": true } }), "`uniqueItems` at #/items"),
        (json!({ "anyOf": [{}, { "if": {}, "then": {} }] }), "`if` at #/anyOf/1"),
        (json!({ "type": "string", "format": "iri" }), "`format: iri` at #/format"),
        (json!({ "$ref": "https://example.com/schema.json" }), "nothing is fetched"),
        (json!({ "$ref": "#/$defs/nobody" }), "is not there"),
        (json!({ "properties": [] }), "#/properties []"),
        (json!({ "const": 9_007_199_254_740_993i64 }), "2^53"),
        (json!({ "minItems": 1_000_000 }), "at most 1000"),
        (json!({ "type": "integer", "minimum": 5, "maximum": 4 }), "nothing fulfils"),
        (json!({ "type": "string", "pattern": "(" }), "schema"),
        (json!(false), "nothing fulfils"),
        (json!(7), "#"),
        (endless, "without end"),
        (json!({ "$ref": "#" }), "without end"),
        (nested, "levels of nesting"),
        (json!({ "anyOf": wide }), "parts"),
    ] {
        let error = factory.compile(&schema(source.clone())).map(|_| source).expect_err("refused");
        assert!(error.to_string().contains(words), "{error} should mention {words}");
    }
    // The compiler's own switches are not a stranger's to set.
    check(schema(json!({ "type": "integer", "x-guidance": { "lenient": true } })), &["1"], &["x"]);
}

#[test]
fn nothing_that_is_written_takes_all_the_stack_or_memory() {
    let factory = factory();
    let chain = (0..4000).map(|index| (format!("a{index}"), json!({ "$ref": format!("#/$defs/a{}", index + 1) })));
    let mut chain: serde_json::Map<String, Json> = chain.collect();
    chain.insert("a4000".to_owned(), json!({ "type": "integer" }));
    let sources = [
        GrammarSource::Regex("(".repeat(100_000) + &")".repeat(100_000)),
        GrammarSource::Regex("((a{1000}){1000}){1000}".to_owned()),
        GrammarSource::Regex("(a|aa)*".repeat(2_000) + "b{500,900}"),
        GrammarSource::Lark(format!("start: {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000))),
        GrammarSource::Lark("start: ((\"a\"{1000}){1000}){1000}".to_owned()),
        GrammarSource::Lark(
            (0..5_000).map(|i| format!("r{i}: r{}\n", i + 1)).collect::<String>() + "start: r0\nr5000: \"a\"",
        ),
        schema(json!({ "$ref": "#/$defs/a0", "$defs": chain })),
        schema(json!({ "type": "string", "pattern": "^(a{1,900}){1,900}$" })),
        schema(json!({ "type": "string", "minLength": 900, "maxLength": 1_000_000 })),
        GrammarSource::Choice(vec!["x".repeat(1000); 9_000]),
    ];
    for source in sources {
        let shown: String = format!("{source:?}").chars().take(60).collect();
        match factory.compile(&source) {
            Ok(grammar) => drop(grammar.matcher().allowed()),
            Err(GrammarError::TooLarge { .. } | GrammarError::TooComplex { .. } | GrammarError::Invalid { .. }) => {}
            Err(other) => panic!("{shown}: {other:?}"),
        }
    }
    let still = factory.compile(&GrammarSource::Choice(vec!["a".to_owned()])).expect("it works on");
    assert!(accepts(&factory, &still, "a"));
}

#[test]
fn expressions_choices_and_control_tokens() {
    check(GrammarSource::Regex("[a-c]+/\\d{2}".to_owned()), &["a/12", "abc/00"], &["a/1", "d/12", "a/123"]);
    let choices = ["red", "redder", "a\"b\n"].map(str::to_owned).to_vec();
    check(GrammarSource::Choice(choices), &["red", "redder", "a\"b\n"], &["", "re", "reddest", "blue"]);
    let factory = factory();
    let call = lark_literal(factory.tokenizer(), "<call>f(");
    let object = lark_schema(&json!({ "const": 1 }), &SchemaStyle::default()).expect("a schema");
    let lark = format!("start: {call} arguments \")\"\narguments: {object}\n");
    let mut matcher = factory.compile(&GrammarSource::Lark(lark)).expect("it compiles").matcher();
    assert!(!matcher.allowed().expect("a set").contains(token_of(&factory, b'<')));
    let text = std::iter::once(CALL).chain(b"f(1)".iter().map(|&byte| token_of(&factory, byte)));
    text.for_each(|token| matcher.accept(token).expect("it follows"));
    assert!(matcher.is_over());
    for (source, words) in [
        (GrammarSource::Regex("(?=a)".to_owned()), "regular expression"),
        (GrammarSource::Choice(vec![String::new()]), "empty"),
        (GrammarSource::Lark("start: nobody".to_owned()), "nobody"),
        (GrammarSource::Lark("start: <nobody>".to_owned()), "nobody"),
    ] {
        let error = factory.compile(&source).map(|_| source).expect_err("refused");
        assert!(error.to_string().contains(words), "{error} should mention {words}");
    }
}

#[test]
fn a_copy_goes_its_own_way_and_a_wrong_token_is_an_error() {
    let factory = factory();
    let grammar = factory.compile(&GrammarSource::Choice(vec!["ab".to_owned(), "ac".to_owned()])).expect("it compiles");
    let mut first = grammar.matcher();
    first.accept(token_of(&factory, b'a')).expect("it follows");
    let mut second = first.clone();
    first.accept(token_of(&factory, b'b')).expect("it follows");
    second.accept(token_of(&factory, b'c')).expect("it follows");
    assert!(first.is_over() && second.is_over());
    assert!(grammar.matcher().accept(token_of(&factory, b'b')).is_err());
}
