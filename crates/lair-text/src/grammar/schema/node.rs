//! One schema of a document as data: its keywords read, checked and sorted by what they speak of.

use serde_json::{Map, Number, Value as Json};

use super::decimal::Decimal;
use super::documents::{Located, Place};
use super::numbers::{Bound, Interval};
use super::pattern::found_in_quotes;
use super::text::Text;
use super::{formats, wrong};
use crate::grammar::limits::REPETITIONS_MAX;
use crate::grammar::{GrammarError, GrammarKind};

/// A schema as its place among all that were read.
pub(super) type NodeId = usize;
/// Properties that one schema may name. Each is compared with the others, and has rules of its own.
const PROPERTIES_MAX: usize = 2_000;

/// Allows everything.
pub(super) const ANYTHING: NodeId = 0;

/// Where a reference leads.
#[derive(Clone, Debug)]
pub(super) enum Reference {
    /// To one schema.
    To(NodeId),
    /// To the schema of this anchor in the outermost resource that was gone through and has it, else to that one.
    Dynamic(String, NodeId),
}

/// What an object with a certain property must be besides.
#[derive(Clone, Debug)]
pub(super) enum Dependent {
    /// It has these properties too.
    Required(Vec<String>),
    /// It fulfils a schema.
    Schema(NodeId),
}

/// What `contains` asks for.
#[derive(Clone, Debug)]
pub(super) struct Contains {
    pub(super) node: NodeId,
    pub(super) least: usize,
    pub(super) most: Option<usize>,
}

/// The keywords of a schema. What is absent asks for nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Keywords {
    /// Where it stands.
    pub(super) pointer: String,
    /// Kinds of values, by [`super::expand::Kind`]'s bits.
    pub(super) types: Option<u8>,
    /// Whether numbers must be whole.
    pub(super) is_whole: bool,
    /// Lists of values of which it is one.
    pub(super) values: Vec<Vec<Json>>,
    pub(super) references: Vec<Reference>,
    pub(super) all_of: Vec<NodeId>,
    pub(super) any_of: Option<Vec<NodeId>>,
    pub(super) one_of: Option<Vec<NodeId>>,
    pub(super) not: Option<NodeId>,
    pub(super) condition: Option<[NodeId; 3]>,
    pub(super) dependents: Vec<(String, Dependent)>,
    /// Intervals, in each of which numbers must be.
    pub(super) intervals: Vec<Interval>,
    /// Sets, in each of which strings must be, with their keyword.
    pub(super) texts: Vec<(String, Text)>,
    pub(super) properties: Vec<(String, NodeId)>,
    pub(super) patterns: Vec<(Text, NodeId)>,
    pub(super) additional: Option<NodeId>,
    pub(super) names: Option<NodeId>,
    pub(super) required: Vec<String>,
    pub(super) properties_least: usize,
    pub(super) properties_most: Option<usize>,
    pub(super) unevaluated_properties: Option<NodeId>,
    pub(super) prefix: Vec<NodeId>,
    pub(super) items: Option<NodeId>,
    pub(super) contains: Option<Contains>,
    pub(super) contains_evaluates: bool,
    pub(super) items_least: usize,
    pub(super) items_most: Option<usize>,
    pub(super) is_unique: bool,
    pub(super) unevaluated_items: Option<NodeId>,
}

/// Finds schemas by their places and gives them their numbers.
pub(super) trait Schemas {
    /// The schema at a place.
    fn at(&mut self, place: Place) -> NodeId;
    /// What a static reference leads to, where the dynamic anchor of its name stands there too.
    fn refer(&mut self, reference: &str, base: &str) -> Result<(NodeId, Option<String>), &'static str>;
    /// What `$recursiveRef: "#"` leads to, and whether it looks for an outer one.
    fn recur(&mut self, base: &str) -> Result<(NodeId, bool), &'static str>;
}

/// Reads the keywords of a schema that is an object.
pub(super) fn read(
    map: &Map<String, Json>,
    located: &Located<'_>,
    schemas: &mut impl Schemas,
) -> Result<Keywords, GrammarError> {
    let pointer = located.place.pointer.clone();
    let keywords = Keywords {
        pointer,
        contains_evaluates: located.draft.contains_evaluates(),
        properties_least: 0,
        ..Keywords::default()
    };
    let mut reader = Reader { map, located, schemas, keywords };
    reader.references()?;
    if map.get("$ref").is_none_or(|_| located.draft.reads_siblings()) {
        reader.any_kind()?;
        reader.conditions()?;
        reader.numbers()?;
        reader.strings()?;
        reader.objects()?;
        reader.lists()?;
    }
    Ok(reader.keywords)
}

struct Reader<'a, 's, S> {
    map: &'a Map<String, Json>,
    located: &'a Located<'s>,
    schemas: &'a mut S,
    keywords: Keywords,
}

impl<'a, S: Schemas> Reader<'a, '_, S> {
    fn get(&self, key: &str) -> Option<&'a Json> {
        self.map.get(key).filter(|_| self.located.draft.has(key))
    }

    fn place(&self, key: &str) -> String {
        self.located.place.below(&[key]).pointer
    }

    fn wrong(&self, key: &str, found: &Json, expected: &'static str) -> GrammarError {
        wrong(&self.place(key), found, expected)
    }

    fn one(&mut self, key: &str) -> Option<NodeId> {
        self.get(key)?;
        Some(self.schemas.at(self.located.place.below(&[key])))
    }

    fn list(&mut self, key: &str) -> Result<Option<Vec<NodeId>>, GrammarError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(items) = value.as_array() else { return Err(self.wrong(key, value, "a list of schemas")) };
        let places = (0..items.len()).map(|index| self.located.place.below(&[key, &index.to_string()]));
        Ok(Some(places.map(|place| self.schemas.at(place)).collect()))
    }

    fn map(&mut self, key: &str) -> Result<Vec<(String, NodeId)>, GrammarError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Some(map) = value.as_object() else { return Err(self.wrong(key, value, "an object of schemas")) };
        let names: Vec<String> = map.keys().cloned().collect();
        let entry = |name: String| {
            let place = self.located.place.below(&[key, &name]);
            (name, self.schemas.at(place))
        };
        Ok(names.into_iter().map(entry).collect())
    }

    fn count(&self, key: &str) -> Result<Option<usize>, GrammarError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let count = value.as_f64().filter(|count| *count >= 0.0 && count.fract() == 0.0);
        let count = count.ok_or_else(|| self.wrong(key, value, "a count"))?;
        // A length may be any, for no word is written out for it.
        if count > REPETITIONS_MAX as f64 && key != "maxLength" {
            return Err(self.wrong(key, value, "a count of at most 1000"));
        }
        Ok(Some(count as usize))
    }

    fn texts(&self, key: &str, value: &Json) -> Result<Vec<String>, GrammarError> {
        let texts =
            value.as_array().and_then(|list| list.iter().map(|text| text.as_str().map(str::to_owned)).collect());
        texts.ok_or_else(|| self.wrong(key, value, "a list of strings"))
    }

    fn references(&mut self) -> Result<(), GrammarError> {
        for key in ["$ref", "$dynamicRef", "$recursiveRef"] {
            let Some(value) = self.get(key) else { continue };
            let Some(reference) = value.as_str().map(str::to_owned) else {
                return Err(self.wrong(key, value, "a string"));
            };
            let found = if key == "$recursiveRef" {
                let found = self.schemas.recur(&self.located.base);
                found.map(|(node, looks)| (node, looks.then(String::new)))
            } else {
                self.schemas.refer(&reference, &self.located.base)
            };
            let (node, anchor) = found.map_err(|problem| GrammarError::Reference {
                pointer: self.place(key),
                reference: reference.clone(),
                problem,
            })?;
            self.keywords.references.push(match anchor.filter(|_| key != "$ref") {
                Some(anchor) => Reference::Dynamic(anchor, node),
                None => Reference::To(node),
            });
        }
        Ok(())
    }

    fn any_kind(&mut self) -> Result<(), GrammarError> {
        if let Some(value) = self.get("type") {
            let words = match value {
                Json::String(_) => std::slice::from_ref(value),
                Json::Array(words) => words,
                _ => &[],
            };
            let (mut types, mut has_number, mut has_integer) = (0, false, false);
            for word in words {
                types |= match word.as_str() {
                    Some("null") => 1,
                    Some("boolean") => 6,
                    Some("number" | "integer") => 8,
                    Some("string") => 16,
                    Some("array") => 32,
                    Some("object") => 64,
                    _ => return Err(self.wrong("type", word, "the name of a type")),
                };
                has_number |= word == "number";
                has_integer |= word == "integer";
            }
            if types == 0 && !value.is_array() {
                return Err(self.wrong("type", value, "the name of a type"));
            }
            self.keywords.types = Some(types);
            self.keywords.is_whole = has_integer && !has_number;
        }
        for key in ["enum", "const"] {
            let Some(value) = self.get(key) else { continue };
            let values = match (key, value) {
                ("const", value) => vec![value.clone()],
                (_, Json::Array(values)) => values.clone(),
                _ => return Err(self.wrong(key, value, "a list")),
            };
            if let Some(number) = values.iter().find(|value| !is_exact(value)) {
                return Err(self.wrong(key, number, "a number of at most 2^53"));
            }
            if let Some(value) = values.iter().find(|value| !has_few_parts(value)) {
                return Err(self.wrong(key, value, "a value of at most 1000 items and 2000 properties"));
            }
            self.keywords.values.push(values);
        }
        Ok(())
    }

    fn conditions(&mut self) -> Result<(), GrammarError> {
        self.keywords.all_of = self.list("allOf")?.unwrap_or_default();
        self.keywords.any_of = self.list("anyOf")?;
        self.keywords.one_of = self.list("oneOf")?;
        self.keywords.not = self.one("not");
        if let Some(condition) = self.one("if") {
            let then = self.one("then").unwrap_or(ANYTHING);
            let other = self.one("else").unwrap_or(ANYTHING);
            self.keywords.condition = Some([condition, then, other]);
        }
        for key in ["dependentRequired", "dependentSchemas", "dependencies"] {
            let Some(value) = self.get(key) else { continue };
            let Some(map) = value.as_object() else { return Err(self.wrong(key, value, "an object")) };
            let mut dependents = Vec::new();
            for (name, value) in map {
                let is_list = key == "dependentRequired" || (key == "dependencies" && value.is_array());
                dependents.push((name.clone(), if is_list { Some(self.texts(key, value)?) } else { None }));
            }
            for (name, required) in dependents {
                let dependent = match required {
                    Some(names) => Dependent::Required(names),
                    None => Dependent::Schema(self.schemas.at(self.located.place.below(&[key, &name]))),
                };
                self.keywords.dependents.push((name, dependent));
            }
        }
        Ok(())
    }

    fn number(&self, key: &str) -> Result<Option<(Decimal, Number)>, GrammarError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_number().ok_or_else(|| self.wrong(key, value, "a number"))?;
        if !is_exact(value) {
            return Err(self.wrong(key, value, "a number of at most 2^53"));
        }
        let decimal = Decimal::of(number).ok_or_else(|| self.wrong(key, value, "a number of few places"))?;
        Ok(Some((decimal, number.clone())))
    }

    fn numbers(&mut self) -> Result<(), GrammarError> {
        for (inclusive, exclusive, is_low) in
            [("minimum", "exclusiveMinimum", true), ("maximum", "exclusiveMaximum", false)]
        {
            // In draft 4 a switch beside `minimum`.
            let switch = self.get(exclusive).and_then(Json::as_bool);
            let mut bounds = vec![(self.number(inclusive)?, switch != Some(true))];
            if switch.is_none() {
                bounds.push((self.number(exclusive)?, false));
            }
            for (found, is_in) in bounds {
                let bound = found.map(|(at, number)| Bound { at, is_in, number });
                if bound.is_some() {
                    let (low, high) = if is_low { (bound, None) } else { (None, bound) };
                    self.keywords.intervals.push(Interval { low, high, ..Interval::all() });
                }
            }
        }
        if let Some((step, number)) = self.number("multipleOf")? {
            if step.is_negative || step.magnitude().whole == "0" && step.is_whole() {
                return Err(self.wrong("multipleOf", &Json::Number(number), "a number above zero"));
            }
            self.keywords.intervals.push(Interval { multiple_of: vec![number], ..Interval::all() });
        }
        Ok(())
    }

    fn pattern(&self, key: &str, pattern: &str) -> Result<Text, GrammarError> {
        let cause = |cause| format!("the pattern `{pattern:.80}` at {}: {cause}", self.place(key));
        let expression = found_in_quotes(pattern)
            .map_err(|problem| GrammarError::Invalid { kind: GrammarKind::Schema, cause: cause(problem) })?;
        Ok(Text::Matching(expression))
    }

    fn strings(&mut self) -> Result<(), GrammarError> {
        let (least, most) = (self.count("minLength")?, self.count("maxLength")?);
        if least.is_some_and(|least| least > 0) {
            self.keywords.texts.push(("minLength".to_owned(), Text::Length(least.unwrap_or(0), None)));
        }
        if most.is_some() {
            self.keywords.texts.push(("maxLength".to_owned(), Text::Length(0, most)));
        }
        if let Some(value) = self.get("pattern") {
            let pattern = value.as_str().ok_or_else(|| self.wrong("pattern", value, "a string"))?;
            let text = self.pattern("pattern", pattern)?;
            self.keywords.texts.push(("pattern".to_owned(), text));
        }
        if let Some(value) = self.get("format") {
            let name = value.as_str().ok_or_else(|| self.wrong("format", value, "a string"))?;
            // Formats that the standard does not know are notes, as it says.
            if let Some(pattern) = formats::pattern_of(name) {
                let text = self.pattern("format", pattern)?;
                self.keywords.texts.push((format!("format: {name}"), text));
            }
        }
        Ok(())
    }

    fn objects(&mut self) -> Result<(), GrammarError> {
        self.keywords.properties = self.map("properties")?;
        if self.keywords.properties.len() > PROPERTIES_MAX {
            let (kind, what, found) = (GrammarKind::Schema, "properties in an object", self.keywords.properties.len());
            return Err(GrammarError::TooLarge { kind, what, found, limit: PROPERTIES_MAX });
        }
        for (pattern, node) in self.map("patternProperties")? {
            let text = self.pattern("patternProperties", &pattern)?;
            self.keywords.patterns.push((text, node));
        }
        self.keywords.additional = self.one("additionalProperties");
        self.keywords.names = self.one("propertyNames");
        self.keywords.unevaluated_properties = self.one("unevaluatedProperties");
        // In draft 3 it was a switch of each property.
        if let Some(value) = self.get("required").filter(|value| !value.is_boolean()) {
            self.keywords.required = self.texts("required", value)?;
        }
        self.keywords.properties_least = self.count("minProperties")?.unwrap_or(0);
        self.keywords.properties_most = self.count("maxProperties")?;
        Ok(())
    }

    fn lists(&mut self) -> Result<(), GrammarError> {
        if self.get("items").is_some_and(Json::is_array) {
            self.keywords.prefix = self.list("items")?.unwrap_or_default();
            self.keywords.items = self.one("additionalItems");
        } else {
            self.keywords.prefix = self.list("prefixItems")?.unwrap_or_default();
            self.keywords.items = self.one("items");
        }
        if let Some(node) = self.one("contains") {
            let (least, most) = (self.count("minContains")?.unwrap_or(1), self.count("maxContains")?);
            self.keywords.contains = Some(Contains { node, least, most });
        }
        self.keywords.items_least = self.count("minItems")?.unwrap_or(0);
        self.keywords.items_most = self.count("maxItems")?;
        self.keywords.is_unique = match self.get("uniqueItems") {
            None => false,
            Some(Json::Bool(is_unique)) => *is_unique,
            Some(other) => return Err(self.wrong("uniqueItems", other, "true or false")),
        };
        self.keywords.unevaluated_items = self.one("unevaluatedItems");
        Ok(())
    }
}

/// Whether a value has no more parts than rules are written for.
fn has_few_parts(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.len() <= REPETITIONS_MAX && items.iter().all(has_few_parts),
        Json::Object(map) => map.len() <= PROPERTIES_MAX && map.values().all(has_few_parts),
        _ => true,
    }
}

/// Numbers go through 64-bit floats elsewhere, which hold whole numbers up to 2^53 exactly.
fn is_exact(value: &Json) -> bool {
    const LIMIT: u64 = 1 << 53;
    value.as_i64().is_none_or(|whole| whole.unsigned_abs() <= LIMIT)
        && value.as_u64().is_none_or(|whole| whole <= LIMIT)
}

/// The keywords of a schema that only a list or object of these parts fulfils.
pub(super) fn keywords_of_value(pointer: &str, value: &Json, mut node: impl FnMut(&Json) -> NodeId) -> Keywords {
    const NOTHING: NodeId = 1;
    let mut keywords = Keywords { pointer: pointer.to_owned(), ..Keywords::default() };
    match value {
        Json::Array(items) => {
            keywords.types = Some(32);
            keywords.prefix = items.iter().map(node).collect();
            keywords.items_least = items.len();
            keywords.items_most = Some(items.len());
        }
        Json::Object(map) => {
            keywords.types = Some(64);
            keywords.properties = map.iter().map(|(name, value)| (name.clone(), node(value))).collect();
            keywords.required = map.keys().cloned().collect();
            keywords.additional = Some(NOTHING);
        }
        scalar => keywords.values = vec![vec![scalar.clone()]],
    }
    keywords
}
