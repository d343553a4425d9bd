//! The drafts of JSON Schema, and what differs between them.

use serde_json::Value as Json;

/// A draft. Schemas that name none are read as of the last one, with what older drafts had besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Draft {
    /// Draft 4, and 3.
    Four,
    /// Draft 6.
    Six,
    /// Draft 7.
    Seven,
    /// Draft 2019-09.
    Nineteen,
    /// Draft 2020-12.
    Twenty,
    /// None is named.
    Unnamed,
}

/// Keywords by the draft that brought them; those not named here have always been there.
const SINCE: &[(&str, Draft)] = &[
    ("const", Draft::Six),
    ("contains", Draft::Six),
    ("propertyNames", Draft::Six),
    ("if", Draft::Seven),
    ("dependentRequired", Draft::Nineteen),
    ("dependentSchemas", Draft::Nineteen),
    ("minContains", Draft::Nineteen),
    ("maxContains", Draft::Nineteen),
    ("unevaluatedItems", Draft::Nineteen),
    ("unevaluatedProperties", Draft::Nineteen),
    ("$recursiveRef", Draft::Nineteen),
    ("$recursiveAnchor", Draft::Nineteen),
    ("$anchor", Draft::Nineteen),
    ("prefixItems", Draft::Twenty),
    ("$dynamicRef", Draft::Twenty),
    ("$dynamicAnchor", Draft::Twenty),
];

impl Draft {
    /// The draft that a schema names.
    pub(super) fn named_in(schema: &Json) -> Option<Draft> {
        let address = schema.get("$schema")?.as_str()?;
        let named = [
            ("draft-03", Draft::Four),
            ("draft-04", Draft::Four),
            ("draft-06", Draft::Six),
            ("draft-07", Draft::Seven),
            ("2019-09", Draft::Nineteen),
            ("2020-12", Draft::Twenty),
        ];
        named.into_iter().find(|(name, _)| address.contains(name)).map(|(_, draft)| draft)
    }

    /// Whether it has a keyword. Schemas ignore those that they do not know.
    pub(super) fn has(self, keyword: &str) -> bool {
        match keyword {
            // Two newer keywords took its place.
            "dependencies" => !matches!(self, Draft::Nineteen | Draft::Twenty),
            "$recursiveRef" | "$recursiveAnchor" if self == Draft::Twenty => false,
            _ => SINCE.iter().find(|(name, _)| *name == keyword).is_none_or(|(_, since)| self >= *since),
        }
    }

    /// Whether what stands beside a reference counts.
    pub(super) fn reads_siblings(self) -> bool {
        self >= Draft::Nineteen
    }

    /// Whether items that `contains` has found count as evaluated.
    pub(super) fn contains_evaluates(self) -> bool {
        self >= Draft::Twenty
    }

    /// The identifier of a schema.
    pub(super) fn id_of(self, schema: &Json) -> Option<&str> {
        let id = match self {
            Draft::Four => schema.get("id"),
            Draft::Unnamed => schema.get("$id").or_else(|| schema.get("id")),
            _ => schema.get("$id"),
        };
        let has_reference = schema.get("$ref").is_some_and(Json::is_string);
        id.filter(|_| self.reads_siblings() || !has_reference)?.as_str()
    }
}
