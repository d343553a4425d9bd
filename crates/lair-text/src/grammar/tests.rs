//! Grammars over a vocabulary of single bytes: what they accept, and what they refuse to compile.

use std::sync::Arc;

use lair_gguf::{Metadata, StringArray};
use serde_json::{Value as Json, json};

use super::{
    ExtraProperties, Grammar, GrammarError, GrammarFactory, GrammarSource, SchemaStyle, StructuralTags, TagStructure,
    lark_literal, lark_schema,
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
    check(
        schema(json!({ "type": "string", "format": "date", "uniqueItems": false })),
        &["\"2024-02-29\"", "\"2000-02-29\""],
        &["\"x\"", "\"2023-02-29\"", "\"1900-02-29\""],
    );
}

#[test]
fn schemas_that_must_not_hold_do_not() {
    check(schema(json!({ "not": { "type": ["object", "string"] } })), &["1", "[]", "null"], &["{}", "\"a\""]);
    check(
        schema(json!({ "type": "string", "not": { "enum": ["a", "b\nc"] } })),
        &["\"ab\"", "\"\""],
        &["\"a\"", "\"b\\nc\"", "\"b\\u000ac\""],
    );
    check(schema(json!({ "type": "string", "not": { "pattern": "^a" } })), &["\"ba\"", "\"\""], &["\"a\"", "\"ab\""]);
    check(
        schema(json!({ "type": "number", "not": { "minimum": 3, "maximum": 5.5 } })),
        &["2.9", "5.51", "-7"],
        &["3", "5.5", "4.2"],
    );
    check(
        schema(json!({ "type": "object", "not": { "required": ["a"] }, "minProperties": 1 })),
        &[r#"{"b":1}"#],
        &["{}", r#"{"a":1}"#, r#"{"b":1,"a":1}"#],
    );
    check(
        schema(json!({ "const": { "a": [1] }, "not": { "properties": { "a": { "items": { "const": 2 } } } } })),
        &[r#"{"a":[1]}"#],
        &[r#"{"a":[2]}"#, r#"{"a":[]}"#, "{}"],
    );
    let overlapping = json!({ "oneOf": [{ "type": "integer", "minimum": 2 }, { "type": "integer", "maximum": 4 }] });
    check(schema(overlapping), &["1", "5"], &["2", "3", "4", "1.5"]);
    let address = json!({ "type": "object", "properties": { "country": { "enum": ["NL", "US"] }, "code": { "type": "string" } },
        "required": ["country", "code"], "if": { "properties": { "country": { "const": "US" } } },
        "then": { "properties": { "code": { "pattern": "^[0-9]{5}$" } } },
        "else": { "properties": { "code": { "pattern": "^[0-9]{4} [A-Z]{2}$" } } } });
    check(
        schema(address),
        &[r#"{"country":"US","code":"12345"}"#, r#"{"country":"NL","code":"1234 AB"}"#],
        &[r#"{"country":"NL","code":"12345"}"#, r#"{"country":"US","code":"1234 AB"}"#],
    );
}

#[test]
fn parts_are_counted_named_and_told_apart() {
    let contains = json!({ "type": "array", "contains": { "const": 1 }, "minContains": 2, "maxContains": 3 });
    check(schema(contains), &["[1,1]", "[0,1,2,1,1]"], &["[]", "[1]", "[1,1,1,1]", "[0,0]"]);
    let dependent = json!({ "type": "object", "properties": { "a": {}, "b": {} },
        "dependentRequired": { "a": ["b"] }, "dependentSchemas": { "b": { "maxProperties": 2 } } });
    check(schema(dependent), &["{}", r#"{"a":1,"b":1}"#, r#"{"b":1}"#], &[r#"{"a":1}"#, r#"{"a":1,"b":1,"c":1}"#]);
    let names = json!({ "type": "object", "propertyNames": { "pattern": "^[a-z]{2}$" }, "additionalProperties": { "type": "null" } });
    check(schema(names), &["{}", r#"{"ab":null,"cd":null}"#], &[r#"{"a":null}"#, r#"{"ab":1}"#, r#"{"abc":null}"#]);
    let patterns = json!({ "type": "object", "properties": { "ab": { "minimum": 3 } },
        "patternProperties": { "^a": { "type": "integer" }, "b$": { "maximum": 5 } } });
    check(
        schema(patterns),
        &[r#"{"ab":4}"#, r#"{"a":9,"b":-1.5}"#, r#"{"axb":5}"#, r#"{"c":true}"#],
        &[r#"{"ab":2}"#, r#"{"ab":6}"#, r#"{"axb":6}"#, r#"{"axb":1.5}"#, r#"{"a":null}"#],
    );
    let unevaluated = json!({ "allOf": [{ "properties": { "a": {} } }], "anyOf": [{ "required": ["b"], "properties": { "b": {} } }, {}],
        "type": "object", "unevaluatedProperties": { "const": 0 } });
    check(schema(unevaluated), &["{}", r#"{"a":1,"b":1,"c":0}"#, r#"{"c":0}"#], &[r#"{"c":1}"#, r#"{"a":1,"d":2}"#]);
    let items = json!({ "type": "array", "prefixItems": [{ "type": "string" }], "contains": { "type": "null" }, "unevaluatedItems": { "const": 0 } });
    check(schema(items), &[r#"["a",null]"#, r#"["a",0,null,null,0]"#], &[r#"["a",0]"#, r#"["a",1,null]"#, "[null]"]);
    let few = json!({ "type": "array", "items": { "enum": ["a", "b", 3] }, "uniqueItems": true, "minItems": 1 });
    check(schema(few), &[r#"["a"]"#, r#"["b","a",3]"#], &["[]", r#"["a","a"]"#, r#"[3,"b",3]"#, r#"["b","a",3,"b"]"#]);
    let placed = json!({ "type": "array", "prefixItems": [{ "const": 1 }, { "enum": [1, 2] }], "items": { "type": "boolean" }, "uniqueItems": true });
    check(schema(placed), &["[]", "[1]", "[1,2,true,false]"], &["[1,1]", "[1,2,true,true]"]);
}

#[test]
fn long_values_do_not_wear_out_the_parser() {
    let factory = factory();
    let list = json!({ "type": "array", "contains": { "const": 1 }, "unevaluatedItems": { "type": "integer" } });
    let names = json!({ "type": "object", "not": { "additionalProperties": { "type": "integer" } } });
    let few = json!({ "type": "array", "minContains": 2, "maxContains": 2, "contains": { "const": "a" } });
    let members: String = (0..3_000).map(|index| format!("\"k{index}\":1,")).collect();
    for (schema_of, text) in [
        (list, format!("[{}1]", "0,".repeat(3_000))),
        (names, format!("{{{members}\"last\":null}}")),
        (few, format!("[\"a\",{}\"a\"]", "0,".repeat(3_000))),
    ] {
        let mut matcher = factory.compile(&schema(schema_of.clone())).expect("it compiles").matcher();
        let tokens: Vec<u32> = text.bytes().map(|byte| token_of(&factory, byte)).collect();
        assert_eq!(matcher.accepted_count(&tokens), Ok(tokens.len()), "{schema_of}");
    }
}

#[test]
fn schemas_that_grow_are_refused_with_their_size() {
    let factory = factory();
    let claims = |from: usize| json!({ "anyOf": (from..from + 9).map(|name| json!({ "required": [format!("p{name}")] })).collect::<Vec<_>>() });
    let product = json!({ "allOf": (0..9).map(|part| claims(9 * part)).collect::<Vec<_>>() });
    let mut doubling: serde_json::Map<String, Json> = (0..40)
        .map(|index| (format!("a{index}"), json!({ "allOf": [{ "$ref": format!("#/$defs/a{}", index + 1) }, { "$ref": format!("#/$defs/a{}", index + 1) }] })))
        .collect();
    doubling.insert("a40".to_owned(), json!({ "type": "integer" }));
    let many: serde_json::Map<String, Json> = (0..40_000).map(|index| (format!("p{index}"), json!(true))).collect();
    let variants: Vec<Json> = (0..150)
        .map(|kind| json!({ "type": "object", "properties": { "kind": { "const": format!("k{kind}") }, "a": { "type": "integer" }, "b": {} }, "required": ["kind", "a"] }))
        .collect();
    for source in [product, json!({ "type": "object", "properties": many })] {
        let error = factory.compile(&schema(source)).map(drop).expect_err("it is too large");
        assert!(matches!(error, GrammarError::TooLarge { .. }), "{error}");
    }
    // Parts that are told apart by one property each, though more would do.
    let optional: Vec<Json> = (0..12)
        .map(|kind| json!({ "type": "object", "properties": { "kind": { "const": kind }, "a": { "type": "integer" }, "b": { "type": "string" } }, "additionalProperties": false }))
        .collect();
    check(schema(json!({ "oneOf": optional })), &[r#"{"kind":3,"a":1}"#], &["{}", r#"{"kind":12}"#, r#"{"a":1}"#]);
    // These look as if they grew.
    check(schema(json!({ "$ref": "#/$defs/a0", "$defs": doubling })), &["1"], &["1.5"]);
    check(
        schema(json!({ "oneOf": variants })),
        &[r#"{"kind":"k7","a":1}"#],
        &[r#"{"kind":"k7"}"#, r#"{"kind":"x","a":1}"#],
    );
}

#[test]
fn references_are_followed_by_the_way_that_led_to_them() {
    let list = json!({ "$id": "https://example.com/root", "$ref": "list", "$defs": {
        "own": { "$dynamicAnchor": "item", "type": "integer" },
        "list": { "$id": "list", "type": "array", "items": { "$dynamicRef": "#item" },
            "$defs": { "any": { "$dynamicAnchor": "item" } } } } });
    check(schema(list), &["[]", "[1,2]"], &[r#"["a"]"#]);
    let tree = json!({ "type": "object", "properties": { "value": { "type": "integer" }, "next": { "$ref": "#" } },
        "required": ["value"], "unevaluatedProperties": false });
    check(schema(tree), &[r#"{"value":1,"next":{"value":2}}"#], &[r#"{"value":1,"next":{}}"#, r#"{"value":1,"x":2}"#]);
    let or_null = json!({ "oneOf": [
        { "type": "object", "properties": { "child": { "$ref": "#" } }, "required": ["child"] },
        { "type": "object", "properties": { "child": { "$ref": "#" }, "x": {} }, "required": ["child", "x"] },
        { "type": "null" } ] });
    check(schema(or_null), &["null", r#"{"child":{"child":null}}"#], &[r#"{"child":null,"x":1}"#, r#"{"child":1}"#]);
    let known = [("https://known.example/name.json".to_owned(), json!({ "type": "string", "maxLength": 3 }))];
    let factory = factory().with_documents(known.into());
    let grammar = factory.compile(&schema(json!({ "$ref": "https://known.example/name.json" }))).expect("it compiles");
    assert!(accepts(&factory, &grammar, "\"abc\"") && !accepts(&factory, &grammar, "\"abcd\""));
}

#[test]
fn what_cannot_be_enforced_is_refused_where_it_stands() {
    let factory = factory();
    let nested = (0..200).fold(json!({}), |inner, _| json!({ "items": inner }));
    let wide = Json::Array((0..60_000).map(|_| json!({})).collect());
    let endless = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "type": "object",
        "properties": { "next": { "$ref": "#/$defs/a" } }, "required": ["next"] } } });
    for (source, words) in [
        (json!({ "items": { "type": "array", "uniqueItems": true } }), "`uniqueItems` at #/items"),
        (json!({ "not": { "format": "email" } }), "`format: email` there"),
        (json!({ "properties": { "a/b": { "not": { "multipleOf": 0.5 } } } }), "#/properties/a~1b/not must not hold"),
        (json!({ "not": { "type": "array", "uniqueItems": true } }), "`uniqueItems` there"),
        (json!({ "not": { "unevaluatedProperties": false } }), "`unevaluatedProperties` there"),
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

/// Vocabularies to follow answers in: single bytes, and a real one where the shared data is there.
fn vocabularies() -> Vec<GrammarFactory> {
    let real = lair_testkit::shared_data("tokenizers/ggml-vocab-gpt-2.gguf").map(|path| {
        let file = lair_gguf::GgufFile::open(&path).expect("a file");
        GrammarFactory::new(Arc::new(Tokenizer::from_gguf(file.metadata()).expect("a tokenizer")))
    });
    std::iter::once(factory()).chain(real).collect()
}

#[test]
fn a_token_is_accepted_by_itself_exactly_where_it_is_in_the_set() {
    let answers = [
        (schema(json!({ "type": "array", "items": { "type": "string", "minLength": 3 } })), r#"[ "abcd", "ä – z"]"#),
        (
            schema(json!({ "type": "object", "required": ["name", "n"], "additionalProperties": false,
                "properties": { "name": { "enum": ["red", "redder"] }, "n": { "type": "number", "maximum": 50 } } })),
            r#"{"name": "redder", "n": -12.5}"#,
        ),
        (GrammarSource::Regex("[a-c]+(/\\d{2})*".to_owned()), "abc/12/34"),
        (GrammarSource::Gbnf("root ::= (\"x\" [a-z]+ \" \")+ \"end\"".to_owned()), "xyz xab end"),
    ];
    for factory in vocabularies() {
        let tokenizer = factory.tokenizer();
        let is_end = |token: u32| tokenizer.ends_of_generation().contains(&token);
        for (source, answer) in &answers {
            let mut matcher = factory.compile(source).unwrap_or_else(|error| panic!("{error}")).matcher();
            let mut rest = answer.as_bytes();
            while !rest.is_empty() {
                let forced = matcher.forced();
                let allowed = matcher.allowed().expect("a set");
                // What must follow is in the set as its usual tokens alone, though others spell the same.
                let others =
                    (0..tokenizer.vocabulary_size() as u32).filter(|&token| forced.is_empty() && !is_end(token));
                for token in others {
                    let count = matcher.accepted_count(&[token]).expect("it answers");
                    assert_eq!(count == 1, allowed.contains(token), "{token} before {}", rest.escape_ascii());
                }
                assert!(forced.first().is_none_or(|&token| allowed.contains(token)), "{forced:?}");
                let fits = |token: &u32| {
                    let bytes = tokenizer.token_bytes(*token).unwrap_or_default();
                    allowed.contains(*token) && !bytes.is_empty() && rest.starts_with(bytes)
                };
                let length = |token: &u32| tokenizer.token_bytes(*token).map_or(0, <[u8]>::len);
                let next = (0..tokenizer.vocabulary_size() as u32).filter(fits).max_by_key(length);
                let next = next.unwrap_or_else(|| panic!("nothing leads to {}", rest.escape_ascii()));
                rest = &rest[length(&next)..];
                matcher.accept(next).expect("it was allowed");
            }
            assert!(matcher.may_end().expect("it answers"));
        }
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

#[test]
fn behind_a_trigger_one_of_its_parts_must_come() {
    let structure =
        |begin: &str, schema: Json, end: &str| TagStructure { begin: begin.to_owned(), schema, end: end.to_owned() };
    let tags = StructuralTags {
        structures: vec![
            structure("<f=one>", json!({ "type": "integer" }), "</f>"),
            structure("<f=two>", json!({ "const": "x" }), "</f>"),
            structure("[call]", json!({ "enum": [1, 2] }), ""),
        ],
        triggers: vec!["<f=".to_owned(), "[call]".to_owned()],
        style: SchemaStyle::default(),
    };
    let right = [
        "",
        "free text, < and <f and [ in it\n",
        "say <f=one>12</f> and <f=two>\"x\"</f>",
        "<f=one>-3</f>",
        "a [call]1 b [call]2",
    ];
    let wrong = ["<f=three>1</f>", "<f=one>x</f>", "text <f=one>1", "<f=two>1</f>", "[call]3", "[call]", "a<f="];
    check(GrammarSource::StructuralTags(tags.clone()), &right, &wrong);
    let factory = factory();
    let refused = |tags: StructuralTags| {
        let source = GrammarSource::StructuralTags(tags);
        factory.compile(&source).map(|_| ()).expect_err("refused").to_string()
    };
    assert!(refused(StructuralTags { triggers: Vec::new(), ..tags.clone() }).contains("no triggers"));
    assert!(refused(StructuralTags { structures: Vec::new(), ..tags.clone() }).contains("no structures"));
    assert!(
        refused(StructuralTags { triggers: vec!["<f=".to_owned()], ..tags.clone() }).contains("structures[2].begin")
    );
    let odd = ["<f=", "[call]", "{"].map(str::to_owned).to_vec();
    assert!(refused(StructuralTags { triggers: odd, ..tags }).contains("triggers[2]"));
}

#[test]
fn a_control_token_can_be_a_trigger() {
    let structure = TagStructure { begin: "<call>f(".to_owned(), schema: json!({ "const": 1 }), end: ")".to_owned() };
    let tags = StructuralTags {
        structures: vec![structure],
        triggers: vec!["<call>".to_owned()],
        style: SchemaStyle::default(),
    };
    let factory = factory();
    let mut matcher = factory.compile(&GrammarSource::StructuralTags(tags)).expect("it compiles").matcher();
    let bytes = |text: &str| text.bytes().map(|byte| token_of(&factory, byte)).collect::<Vec<u32>>();
    let tokens = [bytes("so "), vec![CALL], bytes("f(1)"), bytes(" then"), vec![CALL]].concat();
    tokens.into_iter().for_each(|token| matcher.accept(token).expect("it follows"));
    let allowed = matcher.allowed().expect("it goes on");
    assert!(allowed.contains(token_of(&factory, b'f')) && !allowed.contains(token_of(&factory, b'g')));
}
