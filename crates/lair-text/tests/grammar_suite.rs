//! The JSON Schema Test Suite: what a compiled schema accepts, and what a model that draws any allowed token makes of it.
//! Needs the shared data; without it every test says that it is skipped.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use lair_gguf::GgufFile;
use lair_testkit::shared_data;
use lair_text::grammar::{ExtraProperties, Grammar, GrammarError, GrammarFactory, GrammarSource, SchemaStyle};
use lair_text::tokenizer::{AddSpecial, ShowSpecial, Special, Tokenizer};
use serde_json::{Map, Value as Json, json};

const DRAFTS: [(&str, jsonschema::Draft, &str); 5] = [
    ("draft4", jsonschema::Draft::Draft4, "http://json-schema.org/draft-04/schema#"),
    ("draft6", jsonschema::Draft::Draft6, "http://json-schema.org/draft-06/schema#"),
    ("draft7", jsonschema::Draft::Draft7, "http://json-schema.org/draft-07/schema#"),
    ("draft2019-09", jsonschema::Draft::Draft201909, "https://json-schema.org/draft/2019-09/schema"),
    ("draft2020-12", jsonschema::Draft::Draft202012, "https://json-schema.org/draft/2020-12/schema"),
];

/// One schema of the suite with its instances.
struct Case {
    name: String,
    draft: jsonschema::Draft,
    schema: Json,
    instances: Vec<(Json, bool)>,
}

/// Every schema of the suite, those of the optional formats too; the same schema of several drafts once.
fn cases() -> Option<Vec<Case>> {
    let root = shared_data("json-schema/JSON-Schema-Test-Suite/tests")?;
    let (mut cases, mut seen) = (Vec::new(), HashSet::new());
    for (folder, draft, address) in DRAFTS {
        for part in ["", "optional/format"] {
            let folder = root.join(folder).join(part);
            let mut files: Vec<_> =
                std::fs::read_dir(&folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
            files.sort();
            for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "json")) {
                let groups: Json = serde_json::from_slice(&std::fs::read(file).expect("readable")).expect("JSON");
                for group in groups.as_array().expect("groups") {
                    let mut schema = group["schema"].clone();
                    let mut bare = schema.clone();
                    if let (Json::Object(schema), Json::Object(bare)) = (&mut schema, &mut bare) {
                        bare.remove("$schema");
                        schema.entry("$schema").or_insert(json!(address));
                    }
                    if !seen.insert(bare.to_string()) {
                        continue;
                    }
                    let tests = group["tests"].as_array().expect("tests");
                    let instances = tests.iter().map(|test| (test["data"].clone(), test["valid"] == true)).collect();
                    let file = file.strip_prefix(&root).expect("inside").display();
                    let name = format!("{file}: {}", group["description"].as_str().unwrap_or_default());
                    cases.push(Case { name, draft, schema, instances });
                }
            }
        }
    }
    Some(cases)
}

fn factory(path: &Path) -> GrammarFactory {
    let file = GgufFile::open(path).expect("a GGUF file");
    let factory = GrammarFactory::new(Arc::new(Tokenizer::from_gguf(file.metadata()).expect("a sound vocabulary")));
    factory.with_documents(remotes())
}

/// The documents that the suite's schemas refer to, at the addresses that its readme gives them.
fn remotes() -> BTreeMap<String, Json> {
    let Some(root) = shared_data("json-schema/JSON-Schema-Test-Suite/remotes") else { return BTreeMap::new() };
    let (mut documents, mut open) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = open.pop() {
        for file in std::fs::read_dir(&folder).expect("a folder") {
            let path = file.expect("a file").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).expect("inside").display().to_string();
            let document = serde_json::from_slice(&std::fs::read(&path).expect("readable")).expect("JSON");
            documents.insert(format!("http://localhost:1234/{name}"), document);
        }
    }
    documents
}

/// Gives the validator the same documents.
struct Remotes(Arc<BTreeMap<String, Json>>);

impl jsonschema::Retrieve for Remotes {
    fn retrieve(&self, address: &jsonschema::Uri<String>) -> Result<Json, Box<dyn std::error::Error + Send + Sync>> {
        self.0.get(address.as_str()).cloned().ok_or_else(|| format!("{address} is not there").into())
    }
}

fn factories() -> Option<[(&'static str, GrammarFactory); 2]> {
    let qwen = shared_data("tokenizers/ggml-vocab-qwen2.gguf")?;
    let stories = shared_data("models/stories260K-f32.gguf")?;
    Some([("qwen2", factory(&qwen)), ("stories260K", factory(&stories))])
}

fn compile(factory: &GrammarFactory, case: &Case, extra_properties: ExtraProperties) -> Result<Grammar, GrammarError> {
    let style = SchemaStyle { extra_properties, ..SchemaStyle::default() };
    factory.compile(&GrammarSource::Schema(case.schema.clone(), style))
}

/// Whether the grammar takes this text token by token and may end after it.
fn accepts(factory: &GrammarFactory, grammar: &Grammar, text: &str) -> bool {
    let tokenizer = factory.tokenizer();
    // Generated text stands in the midst of a text, where no space is put in front of it.
    let mut tokens = Vec::new();
    if tokenizer.spells_text_as_it_is() {
        tokens = tokenizer.encode(text, Special::AsText, AddSpecial::No);
    } else {
        for &byte in text.as_bytes() {
            let is_it = |&id: &u32| tokenizer.token_bytes(id).is_ok_and(|bytes| bytes == [byte]);
            let tokens_of_byte = (0..tokenizer.vocabulary_size() as u32).filter(is_it);
            // The letter before the byte of the same value.
            tokens.extend(tokens_of_byte.max());
        }
    }
    let mut matcher = grammar.matcher();
    for token in tokens {
        if matcher.is_over() || matcher.accepted_count(&[token]).expect("it answers") == 0 {
            return false;
        }
        // Where nothing is forced into one spelling, what may follow is what is taken.
        if !tokenizer.spells_text_as_it_is() {
            assert!(matcher.allowed().expect("it goes on").contains(token), "{text}");
        }
        matcher.accept(token).expect("it was taken");
    }
    matcher.may_end().expect("it answers")
}

#[test]
fn instances_are_taken_or_refused_as_the_suite_says() {
    let (Some(cases), Some(factories)) = (cases(), factories()) else { return };
    for (vocabulary, factory) in &factories {
        let (mut compiled, mut valid, mut taken, mut refused) = (0, 0, 0, 0);
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut wrong = Vec::new();
        for case in &cases {
            let grammar = match compile(factory, case, ExtraProperties::AsWritten) {
                Ok(grammar) => grammar,
                Err(error) => {
                    if std::env::var_os("SHOW").is_some() {
                        println!("refused: {}: {error}", case.name);
                    }
                    *reasons.entry(reason(&error)).or_default() += 1;
                    // What nothing fulfils has no valid instance.
                    let has_valid = case.instances.iter().any(|(_, is_valid)| *is_valid);
                    if matches!(error, GrammarError::Impossible { .. }) && has_valid {
                        wrong.push(format!("{}: {error}", case.name));
                    }
                    continue;
                }
            };
            compiled += 1;
            for (instance, is_valid) in &case.instances {
                let is_taken = accepts(factory, &grammar, &instance.to_string());
                valid += usize::from(*is_valid);
                taken += usize::from(*is_valid && is_taken);
                refused += usize::from(!is_valid && !is_taken);
                if is_taken && !is_valid {
                    wrong.push(format!("{}: takes {instance}", case.name));
                } else if *is_valid && !is_taken && std::env::var_os("SHOW").is_some() {
                    println!("not taken: {}: {instance}", case.name);
                }
            }
        }
        println!("{vocabulary}: {compiled} of {} schemas compile", cases.len());
        println!("{vocabulary}: {taken} of {valid} valid instances taken, {refused} invalid ones refused");
        reasons.iter().for_each(|(reason, count)| println!("  {count:4} {reason}"));
        assert!(wrong.is_empty(), "{vocabulary}: {} wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert!(compiled >= 570 && taken * 100 >= valid * 98, "{vocabulary}");
    }
}

fn reason(error: &GrammarError) -> String {
    match error {
        GrammarError::UnsupportedKeyword { keyword, .. } => format!("`{keyword}`"),
        GrammarError::UnsupportedNegation { keyword, .. } => format!("`{keyword}` that must not hold"),
        GrammarError::Reference { problem, .. } => format!("a reference {problem}"),
        GrammarError::WrongValue { expected, .. } => format!("not {expected}"),
        GrammarError::Impossible { .. } => "nothing fulfils it".to_owned(),
        other => other.to_string().chars().take(100).collect(),
    }
}

/// Random numbers of a seed (xorshift64*, Vigna 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % end
    }
}

/// Draws allowed tokens at random; after a while, those that end things. `None` if it does not end.
fn draw(factory: &GrammarFactory, grammar: &Grammar, seed: u64) -> Option<String> {
    const FREE: usize = 24;
    const TOKENS_MAX: usize = 1_500;
    let tokenizer = factory.tokenizer();
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (mut matcher, mut tokens) = (grammar.matcher(), Vec::new());
    while !matcher.is_over() {
        if tokens.len() == TOKENS_MAX {
            return None;
        }
        let allowed = matcher.allowed().expect("it goes on");
        let bits = allowed.words().iter().zip(0u32..).filter(|(word, _)| **word != 0);
        let allowed: Vec<u32> = bits
            .flat_map(|(word, at)| (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 32 * at + bit))
            .collect();
        assert!(!allowed.is_empty(), "nothing may follow");
        let can_end = allowed.iter().any(|&id| tokenizer.is_end_of_generation(id));
        if can_end && (tokens.len() > FREE || random.below(3) == 0) {
            break;
        }
        let ends = |id: &&u32| {
            let bytes = tokenizer.token_bytes(**id).unwrap_or_default();
            matches!(bytes, b"\"" | b"}" | b"]" | b"0" | b"1" | b"null" | b"true")
        };
        let closing: Vec<u32> = allowed.iter().filter(ends).copied().collect();
        let choices =
            if tokens.len() > FREE && !closing.is_empty() && random.below(8) > 0 { &closing } else { &allowed };
        let token = choices[random.below(choices.len())];
        if tokenizer.is_end_of_generation(token) {
            break;
        }
        matcher.accept(token).expect("it was allowed");
        tokens.push(token);
    }
    Some(tokenizer.decode(&tokens, ShowSpecial::Hide).expect("tokens of the vocabulary"))
}

/// Draws answers to schemas; gives how many schemas had at least one, and how many answers there are.
fn check_drawn(factory: &GrammarFactory, cases: &[&Case], seeds: std::ops::Range<u64>) -> (usize, usize, usize) {
    let (mut schemas, mut answers, mut endless, mut wrong) = (0, 0, 0, Vec::new());
    let documents = Arc::new(remotes());
    for case in cases {
        let Ok(grammar) = compile(factory, case, ExtraProperties::OnlyNamed) else { continue };
        let options = jsonschema::options().with_draft(case.draft).should_validate_formats(true);
        let options = options.with_retriever(Remotes(documents.clone()));
        let Ok(validator) = options.build(&case.schema) else {
            println!("no validator for {}", case.name);
            continue;
        };
        let before = answers;
        for seed in seeds.clone() {
            let Some(text) = draw(factory, &grammar, seed) else {
                endless += 1;
                continue;
            };
            answers += 1;
            match serde_json::from_str::<Json>(&text) {
                Ok(value) if validator.is_valid(&value) => {}
                // What is asked for, until it is rounded to a double.
                Ok(_) if text.split(|character: char| !character.is_ascii_digit()).any(|digits| digits.len() > 15) => {}
                Ok(_) => wrong.push(format!("{} (seed {seed}): {text:.200}", case.name)),
                // JSON all the same, but no double holds it.
                Err(error) if error.to_string().contains("number out of range") => {}
                Err(error) => wrong.push(format!("{} (seed {seed}): {error}: {text:.200}", case.name)),
            }
        }
        schemas += usize::from(answers > before);
    }
    assert!(wrong.is_empty(), "{} of {answers} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
    (schemas, answers, endless)
}

#[test]
fn whatever_a_model_draws_fulfils_the_schema() {
    let (Some(cases), Some(factories)) = (cases(), factories()) else { return };
    // A large vocabulary takes long to draw from.
    for ((vocabulary, factory), (every, seeds, least)) in factories.iter().zip([(8, 1..2, 60), (1, 1..5, 500)]) {
        let cases: Vec<&Case> = cases.iter().step_by(every).collect();
        let (schemas, answers, endless) = check_drawn(factory, &cases, seeds);
        println!("{vocabulary}: {schemas} schemas, {answers} answers, all valid; {endless} did not end in time");
        assert!(schemas >= least && endless * 50 <= answers, "{vocabulary}");
    }
}

#[test]
fn whatever_a_model_draws_fulfils_schemas_as_programs_make_them() {
    let Some([_, (vocabulary, factory)]) = factories() else { return };
    let cases: Vec<Case> = (1..=300)
        .map(|seed| {
            let schema = made_schema(&mut Random(seed * 7919), 0);
            Case { name: schema.to_string(), draft: jsonschema::Draft::Draft202012, schema, instances: Vec::new() }
        })
        .collect();
    let (schemas, answers, endless) = check_drawn(&factory, &cases.iter().collect::<Vec<_>>(), 1..4);
    println!("{vocabulary}: {schemas} made schemas, {answers} answers, all valid; {endless} did not end in time");
    assert!(schemas == 300 && endless * 20 <= answers);
}

#[test]
fn whatever_a_model_draws_fulfils_schemas_of_everything() {
    let Some([_, (vocabulary, factory)]) = factories() else { return };
    let cases: Vec<Case> = (1..=400)
        .map(|seed| {
            let schema = any_schema(&mut Random(seed * 104_729), 0);
            Case { name: schema.to_string(), draft: jsonschema::Draft::Draft202012, schema, instances: Vec::new() }
        })
        .collect();
    let (schemas, answers, endless) = check_drawn(&factory, &cases.iter().collect::<Vec<_>>(), 1..5);
    println!(
        "{vocabulary}: {schemas} of 400 made schemas, {answers} answers, all valid; {endless} did not end in time"
    );
    assert!(schemas >= 300 && endless * 20 <= answers);
    // What is refused is refused for a reason: most of these contradict themselves.
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for case in &cases {
        if let Err(error) = compile(&factory, case, ExtraProperties::OnlyNamed) {
            *reasons.entry(reason(&error)).or_default() += 1;
        }
    }
    reasons.iter().for_each(|(reason, count)| println!("  {count:4} {reason}"));
}

/// A schema of any keywords, which mostly have to do with each other.
fn any_schema(random: &mut Random, depth: usize) -> Json {
    let mut schema = Map::new();
    let put = |schema: &mut Map<String, Json>, key: &str, value: Json| drop(schema.insert(key.to_owned(), value));
    let part = |random: &mut Random| if depth < 2 { any_schema(random, depth + 1) } else { small_schema(random) };
    for _ in 0..1 + random.below(3) {
        match random.below(20) {
            0 => put(&mut schema, "not", small_schema(random)),
            1 => {
                put(&mut schema, "if", small_schema(random));
                put(&mut schema, "then", part(random));
                put(&mut schema, "else", part(random));
            }
            2 => put(&mut schema, "oneOf", json!([part(random), small_schema(random)])),
            3 => put(&mut schema, "anyOf", json!([part(random), part(random)])),
            4 => put(&mut schema, "allOf", json!([small_schema(random), part(random)])),
            5 => put(&mut schema, "properties", json!({ "a": part(random), "b": small_schema(random) })),
            6 => put(&mut schema, "patternProperties", json!({ "^[ab]": small_schema(random), "c$": part(random) })),
            7 => put(&mut schema, "additionalProperties", small_schema(random)),
            8 => put(&mut schema, "required", json!(["a", "c"].as_slice()[..1 + random.below(2)])),
            9 => put(&mut schema, "dependentRequired", json!({ "a": ["b"] })),
            10 => put(&mut schema, "dependentSchemas", json!({ "b": small_schema(random) })),
            11 => put(&mut schema, "propertyNames", json!({ "maxLength": 1 + random.below(3) })),
            12 => {
                put(&mut schema, "minProperties", json!(random.below(3)));
                put(&mut schema, "maxProperties", json!(2 + random.below(2)));
            }
            13 => put(&mut schema, "unevaluatedProperties", small_schema(random)),
            14 => put(&mut schema, "prefixItems", json!([small_schema(random), part(random)])),
            15 => put(&mut schema, "items", part(random)),
            16 => {
                put(&mut schema, "contains", small_schema(random));
                put(&mut schema, "maxContains", json!(1 + random.below(3)));
            }
            17 => put(&mut schema, "unevaluatedItems", small_schema(random)),
            18 => put(&mut schema, "minItems", json!(random.below(3))),
            _ => put(
                &mut schema,
                "type",
                json!([["object", "array"], ["array", "string"], ["object", "number"]][random.below(3)]),
            ),
        }
    }
    Json::Object(schema)
}

fn small_schema(random: &mut Random) -> Json {
    match random.below(14) {
        0 => json!({ "type": "integer", "maximum": random.below(20) }),
        1 => json!({ "minimum": 1.5, "exclusiveMaximum": 30 }),
        2 => json!({ "type": ["string", "null"] }),
        3 => json!({ "pattern": "^[a-f]+$", "maxLength": 4 }),
        4 => json!({ "minLength": 2 }),
        5 => json!({ "enum": [1, "a", null, true, [1], { "a": 1 }] }),
        6 => json!({ "const": "a" }),
        7 => json!({ "required": ["a"] }),
        8 => json!({ "properties": { "a": { "type": "integer" } } }),
        9 => json!({ "items": { "type": "integer" }, "minItems": 1 }),
        10 => json!({ "contains": { "const": 1 } }),
        11 => json!(true),
        12 => json!({ "not": { "type": "array" } }),
        _ => json!({ "type": "object", "properties": { "b": { "const": 1 } }, "required": ["b"] }),
    }
}

/// A schema as libraries make them of classes.
fn made_schema(random: &mut Random, depth: usize) -> Json {
    let kinds = if depth < 3 { 10 } else { 7 };
    match if depth == 0 { 9 } else { random.below(kinds) } {
        0 => json!({ "type": "string", "maxLength": 3 + random.below(30) }),
        1 => json!({ "type": "integer", "minimum": -(random.below(50) as i64), "maximum": random.below(5000) }),
        2 => json!({ "type": "number" }),
        3 => json!({ "type": ["boolean", "null"] }),
        4 => json!({ "enum": json!(["a", "b b", "ü\"", 3, null]).as_array().map(|all| &all[..1 + random.below(5)]) }),
        5 => json!({ "type": "string", "pattern": (["^[A-Z]{2}-[0-9]+$", "[aeiou]", "^(x|yz)*$"][random.below(3)]) }),
        6 => json!({ "type": "string", "format": (["date", "time", "uuid", "ipv4", "date-time"][random.below(5)]) }),
        7 => {
            json!({ "type": "array", "items": made_schema(random, depth + 1), "minItems": random.below(2), "maxItems": 2 })
        }
        8 => json!({ "anyOf": [made_schema(random, depth + 1), { "type": "null" }], "title": "Optional" }),
        _ => {
            let names = ["name", "größe", "a b", "quote\"d", "x/y"];
            let count = 1 + random.below(names.len());
            let properties: Map<String, Json> =
                names[..count].iter().map(|name| ((*name).to_owned(), made_schema(random, depth + 1))).collect();
            let required = &names[..random.below(count + 1)];
            json!({ "type": "object", "properties": properties, "required": required })
        }
    }
}
