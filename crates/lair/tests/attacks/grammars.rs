//! Grammars, schemas and expressions: lines 31 to 43.

use std::fs;
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::world::World;
use crate::{Case, Try};

/// Memory that schemas which differ may leave behind for good, in all.
const LEFT_BYTES_MAX: u64 = 96 << 20;

fn schema(schema: Value) -> Value {
    json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "schema": schema } } })
}

fn gbnf(text: impl Into<String>) -> Value {
    json!({ "grammar": text.into() })
}

fn lark(text: impl Into<String>) -> Value {
    json!({ "guided_grammar": text.into() })
}

fn pattern(text: &str) -> Value {
    schema(json!({ "type": "string", "pattern": text }))
}

fn chain(length: usize) -> String {
    let rules = (0..length).map(|rule| format!("r{rule} ::= r{}\n", rule + 1));
    format!("root ::= r0\n{}r{length} ::= \"a\"\n", rules.collect::<String>())
}

/// 2^20 conditions, written as twenty definitions of which each names the next twice.
fn doubling() -> Value {
    let mut definitions = json!({ "d20": { "type": "integer" } });
    for depth in 0..20 {
        let next = json!({ "$ref": format!("#/$defs/d{}", depth + 1) });
        definitions[format!("d{depth}")] = json!({ "allOf": [next, next] });
    }
    json!({ "$defs": definitions, "$ref": "#/$defs/d0" })
}

/// A schema that lies with someone else is not fetched.
fn remote_reference(world: &World) {
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("a socket");
    let address = elsewhere.local_addr().expect("an address");
    for reference in [format!("http://{address}/x.json"), "file:///etc/passwd".to_owned(), "//x/y#/z".to_owned()] {
        world.completion_refused(schema(json!({ "$ref": reference })));
    }
    assert!(elsewhere.accept().is_err(), "it was asked");
}

fn resident_bytes(world: &World) -> u64 {
    let path = format!("/proc/{}/status", world.open.process_id());
    let status = fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("there is such a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn many_schemas(world: &World) {
    let ask = |round: usize, index: usize| {
        let name = format!("p{round}_{index}");
        let one =
            schema(json!({ "type": "object", "properties": { name.clone(): { "const": index } }, "required": [name] }));
        world.completes(super::server::joined(&one, &json!({ "max_tokens": 1 })));
    };
    (0..150).for_each(|index| ask(0, index));
    let before = resident_bytes(world);
    (0..500).for_each(|index| ask(1, index));
    let after = resident_bytes(world);
    assert!(after < before + LEFT_BYTES_MAX, "{before} bytes, {after} bytes after 500 more schemas");
}

#[rustfmt::skip]
pub const ATTACKS: &[Case] = &[
    (31, "60,000 parentheses in GBNF", Try::On(|w| w.completion_refused(gbnf(format!("root ::= {}", "(".repeat(60_000)))))),
    (31, "60,000 pairs of parentheses in GBNF", Try::On(|w| w.completion_refused(gbnf(format!("root ::= {}\"a\"{}", "(".repeat(60_000), ")".repeat(60_000)))))),
    (31, "60,000 parentheses in Lark", Try::On(|w| w.completion_refused(lark(format!("start: {}", "(".repeat(60_000)))))),
    (31, "60,000 brackets in GBNF", Try::On(|w| w.completion_refused(gbnf(format!("root ::= {}", "[".repeat(60_000)))))),
    (32, "a chain of 5,000 rules", Try::On(|w| w.completion_ends(gbnf(chain(5_000))))),
    (32, "a chain of 50,000 rules", Try::On(|w| w.completion_ends(gbnf(chain(50_000))))),
    (33, "a rule that begins with itself", Try::On(|w| w.completion_ends(gbnf("root ::= root \"a\" | \"a\"")))),
    (33, "a rule that is itself alone", Try::On(|w| w.completion_ends(gbnf("root ::= root")))),
    (33, "rules that begin with each other", Try::On(|w| w.completion_ends(gbnf("root ::= a \"x\" | \"y\"\na ::= b\nb ::= root")))),
    (33, "an expression that recurses in Lark", Try::On(|w| w.completion_ends(lark("start: A\nA: A \"x\"")))),
    (34, "a million repetitions", Try::On(|w| w.completion_refused(gbnf("root ::= \"a\"{1,1000000}")))),
    (34, "repetitions of repetitions", Try::On(|w| w.completion_refused(gbnf("root ::= (((\"a\"{1,100}){1,100}){1,100}){1,100}")))),
    (34, "repetitions of repetitions in an expression", Try::On(|w| w.completion_ends(json!({ "guided_regex": "((((a{1,100}){1,100}){1,100}){1,100})" })))),
    (34, "2^64 repetitions", Try::On(|w| w.completion_refused(gbnf("root ::= \"a\"{18446744073709551616}")))),
    (35, "a rule that is not there", Try::On(|w| w.completion_refused(gbnf("root ::= nobody")))),
    (35, "no rule at all", Try::On(|w| w.completion_refused(gbnf("# nothing")))),
    (36, "a schema 10,000 deep", Try::On(|w| w.refused_bytes(400, "/v1/completions", format!(r#"{{"model":"tiny","prompt":"x","guided_json":{}{{}}{}}}"#, r#"{"items":"#.repeat(10_000), "}".repeat(10_000)).as_bytes()))),
    (36, "a schema 10,000 deep in a string", Try::On(|w| w.completion_refused(json!({ "guided_json": format!("{}{{}}{}", r#"{"items":"#.repeat(10_000), "}".repeat(10_000)) })))),
    (36, "a schema 120 deep", Try::On(|w| w.completion_ends(schema((0..100).fold(json!({ "type": "integer" }), |inner, _| json!({ "items": inner })))))),
    (37, "a pattern that looks behind", Try::On(|w| w.completion_refused(pattern("(?<=x)*")))),
    (37, "a pattern of 10,000 parentheses", Try::On(|w| w.completion_refused(pattern(&"(".repeat(10_000))))),
    (37, "a pattern of 10,000 pairs of parentheses", Try::On(|w| w.completion_ends(pattern(&format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000)))))),
    (37, "a pattern that takes others an eternity", Try::On(|w| w.completion_ends(pattern("(a+)+$")))),
    (37, "a pattern of 10^9 repetitions", Try::On(|w| w.completion_ends(pattern("^a{1,1000000000}$")))),
    (37, "an expression of 10^9 repetitions", Try::On(|w| w.completion_ends(json!({ "guided_regex": "a{1000000000}" })))),
    (37, "a pattern with nothing to repeat", Try::On(|w| w.completion_refused(pattern("*a")))),
    (37, "an expression of 10,000 parentheses", Try::On(|w| w.completion_refused(json!({ "guided_regex": "(".repeat(10_000) })))),
    (38, "an enumeration of 10^6", Try::On(|w| w.completion_ends(schema(json!({ "enum": (0..1_000_000).collect::<Vec<u32>>() }))))),
    (38, "a choice of 100,000", Try::On(|w| w.completion_ends(json!({ "guided_choice": (0..100_000).map(|i| format!("choice {i}")).collect::<Vec<_>>() })))),
    (39, "2^20 conditions by doubling", Try::On(|w| w.completion_ends(schema(doubling())))),
    (39, "a definition that is itself", Try::On(|w| w.completion_ends(schema(json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/a" } } }))))),
    (40, "a schema that lies elsewhere is not fetched", Try::On(remote_reference)),
    (41, "a list of at least 10^9", Try::On(|w| w.completion_ends(schema(json!({ "type": "array", "items": { "type": "integer" }, "minItems": 1_000_000_000 }))))),
    (41, "a text of at least 10^9", Try::On(|w| w.completion_ends(schema(json!({ "type": "string", "minLength": 1_000_000_000 }))))),
    (42, "a schema that admits nothing", Try::On(|w| w.completion_refused(schema(json!(false))))),
    (42, "numbers between 5 and 4", Try::On(|w| w.completion_refused(schema(json!({ "type": "integer", "minimum": 5, "maximum": 4 }))))),
    (43, "650 schemas that differ leave nothing behind", Try::On(many_schemas)),
];
