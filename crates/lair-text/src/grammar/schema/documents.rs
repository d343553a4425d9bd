//! The documents that schemas refer to, their own first, and where in them a reference leads.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value as Json;

use super::drafts::Draft;
use super::escaped;

/// Documents by address, besides the schema's own.
pub(in crate::grammar) type KnownDocuments = BTreeMap<String, Json>;

/// A place in a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Which document.
    pub(super) document: usize,
    /// A JSON pointer with `#` in front.
    pub(super) pointer: String,
}

impl Place {
    /// A place in this one, by the next parts of a pointer.
    pub(super) fn below(&self, path: &[&str]) -> Place {
        let path: String = path.iter().map(|part| format!("/{}", escaped(part))).collect();
        Place { document: self.document, pointer: format!("{}{path}", self.pointer) }
    }
}

/// A schema and what holds where it stands.
pub(super) struct Located<'s> {
    /// Where.
    pub(super) place: Place,
    /// What is there.
    pub(super) value: &'s Json,
    /// The address that references are relative to.
    pub(super) base: String,
    /// The draft.
    pub(super) draft: Draft,
    /// The nearest schema around it, or itself, that has an address of its own.
    pub(super) resource: Place,
}

/// The names in some documents.
pub(super) struct Documents<'s> {
    roots: Vec<(String, &'s Json)>,
    /// Schemas by absolute address.
    by_address: HashMap<String, Place>,
    /// Schemas by address, `#` and anchor.
    by_anchor: HashMap<String, Place>,
    /// The same for anchors that dynamic references look for; those of `$recursiveAnchor` have no name.
    dynamic: HashMap<String, Vec<(Place, Place)>>,
}

/// Why a reference leads nowhere.
pub(super) const NOWHERE: &str = "is not there";
const OUTSIDE: &str = "is outside of the schema: nothing is fetched";

impl<'s> Documents<'s> {
    /// Reads the names in a schema and in the documents that it may refer to.
    pub(super) fn of(schema: &'s Json, known: &'s KnownDocuments) -> Documents<'s> {
        let mut roots = vec![(String::new(), schema)];
        roots.extend(known.iter().map(|(address, document)| (address.clone(), document)));
        let mut documents =
            Documents { roots, by_address: HashMap::new(), by_anchor: HashMap::new(), dynamic: HashMap::new() };
        for document in 0..documents.roots.len() {
            documents.read(document);
        }
        documents
    }

    fn read(&mut self, document: usize) {
        let (address, root) = self.roots[document].clone();
        let root_place = Place { document, pointer: "#".to_owned() };
        self.by_address.entry(address.clone()).or_insert(root_place.clone());
        let draft = Draft::named_in(root).unwrap_or(Draft::Unnamed);
        let mut open = vec![(root, root_place.clone(), address, draft, root_place)];
        while let Some((value, place, base, draft, resource)) = open.pop() {
            match value {
                Json::Object(map) => {
                    let (base, draft, resource) = self.enter(value, &place, base, draft, resource);
                    let is_data = |key: &str| ["const", "enum", "default", "examples"].contains(&key);
                    for (key, value) in map.iter().filter(|(key, _)| !is_data(key)) {
                        open.push((value, place.below(&[key]), base.clone(), draft, resource.clone()));
                    }
                }
                Json::Array(items) => {
                    for (index, value) in items.iter().enumerate() {
                        let index = index.to_string();
                        open.push((value, place.below(&[&index]), base.clone(), draft, resource.clone()));
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes down the names of one schema.
    fn enter(
        &mut self,
        value: &Json,
        place: &Place,
        base: String,
        draft: Draft,
        resource: Place,
    ) -> (String, Draft, Place) {
        let (base, draft, resource) = step(value, place, base, draft, resource);
        if resource == *place {
            self.by_address.entry(base.clone()).or_insert_with(|| place.clone());
        }
        for (keyword, is_dynamic) in [("$anchor", false), ("$dynamicAnchor", true)] {
            let Some(name) = value.get(keyword).and_then(Json::as_str).filter(|_| draft.has(keyword)) else { continue };
            self.by_anchor.entry(format!("{base}#{name}")).or_insert_with(|| place.clone());
            if is_dynamic {
                self.dynamic.entry(name.to_owned()).or_default().push((resource.clone(), place.clone()));
            }
        }
        if draft.has("$recursiveAnchor") && value.get("$recursiveAnchor") == Some(&Json::Bool(true)) {
            self.dynamic.entry(String::new()).or_default().push((resource.clone(), place.clone()));
        }
        // Before draft 2019 an anchor was an identifier of a fragment only.
        if let Some(name) = draft.id_of(value).and_then(|id| id.strip_prefix('#')) {
            self.by_anchor.entry(format!("{base}#{name}")).or_insert_with(|| place.clone());
        }
        (base, draft, resource)
    }

    /// What is at a place.
    pub(super) fn locate(&self, place: &Place) -> Result<Located<'s>, &'static str> {
        let (address, root) = &self.roots[place.document];
        let mut here = Place { document: place.document, pointer: "#".to_owned() };
        let (mut value, mut base, mut draft, mut resource) = (*root, address.clone(), Draft::Unnamed, here.clone());
        (base, draft, resource) = step(value, &here, base, draft, resource);
        for part in place.pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            value = match value {
                Json::Object(map) => map.get(&part),
                Json::Array(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            }
            .ok_or(NOWHERE)?;
            here = here.below(&[&part]);
            (base, draft, resource) = step(value, &here, base, draft, resource);
        }
        Ok(Located { place: place.clone(), value, base, draft, resource })
    }

    /// Where a reference leads that stands under `base`.
    ///
    /// # Errors
    /// In words: what is wrong with it.
    pub(super) fn resolve(&self, reference: &str, base: &str) -> Result<Place, &'static str> {
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let absolute = joined(base, address);
        let resource = self.by_address.get(&absolute).ok_or(OUTSIDE)?;
        let fragment = percent_decoded(fragment);
        if fragment.is_empty() {
            Ok(resource.clone())
        } else if fragment.starts_with('/') {
            Ok(Place { document: resource.document, pointer: format!("{}{fragment}", resource.pointer) })
        } else {
            self.by_anchor.get(&format!("{absolute}#{fragment}")).cloned().ok_or(NOWHERE)
        }
    }

    /// The schemas that a dynamic anchor names: the resource of each, and its place.
    pub(super) fn dynamic_anchors(&self, name: &str) -> &[(Place, Place)] {
        self.dynamic.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a resource has dynamic anchors, so that it matters to references whether it was gone through.
    pub(super) fn is_dynamic(&self, resource: &Place) -> bool {
        self.dynamic.values().flatten().any(|(found, _)| found == resource)
    }
}

/// What holds in a schema, given what holds around it.
fn step(value: &Json, place: &Place, base: String, draft: Draft, resource: Place) -> (String, Draft, Place) {
    let draft = Draft::named_in(value).unwrap_or(draft);
    match draft.id_of(value).map(|id| id.split_once('#').map_or(id, |(address, _)| address)) {
        Some(address) if !address.is_empty() => (joined(&base, address), draft, place.clone()),
        _ => (base, draft, resource),
    }
}

/// A relative address under a base (RFC 3986, section 5.2, for the forms that schemas use).
fn joined(base: &str, address: &str) -> String {
    if address.is_empty() {
        return base.to_owned();
    }
    let scheme = address.find([':', '/', '?', '#']).filter(|&end| address[end..].starts_with(':'));
    if scheme.is_some() {
        return address.to_owned();
    }
    // Up to here it is scheme and authority; bases without them are paths.
    let path = base.find("://").map_or(0, |start| {
        let authority = start + 3;
        base[authority..].find('/').map_or(base.len(), |end| authority + end)
    });
    if address.starts_with('/') {
        return format!("{}{address}", &base[..path]);
    }
    let folder = base[path..].rfind('/').map_or(path, |end| path + end);
    let mut parts: Vec<&str> = base[path..folder].split('/').filter(|part| !part.is_empty()).collect();
    for part in address.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let slash = if path > 0 || base.starts_with('/') { "/" } else { "" };
    format!("{}{slash}{}", &base[..path], parts.join("/"))
}

fn percent_decoded(text: &str) -> String {
    let (bytes, mut decoded, mut place) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while place < bytes.len() {
        let digit = |offset: usize| bytes.get(place + offset).and_then(|&byte| (byte as char).to_digit(16));
        match (bytes[place], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                place += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                place += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_lead_where_the_standard_says() {
        let schema = json!({
            "$id": "http://example.com/root.json",
            "$defs": {
                "a/b~c%d": { "const": 1 },
                "named": { "$anchor": "here", "const": 2 },
                "other": { "$id": "other.json", "$defs": { "in": { "const": 3 } } },
                "nested": { "$id": "folder/nested.json", "$defs": { "in": { "const": 4 } } },
            },
        });
        let known = KnownDocuments::from([("http://known.example/a.json".to_owned(), json!({ "const": 5 }))]);
        let documents = Documents::of(&schema, &known);
        let found = |reference: &str, base: &str| {
            let place = documents.resolve(reference, base)?;
            documents.locate(&place).map(|located| located.value["const"].clone())
        };
        let base = "http://example.com/root.json";
        assert_eq!(found("#/$defs/a~1b~0c%25d", base), Ok(json!(1)));
        assert_eq!(found("#here", base), Ok(json!(2)));
        assert_eq!(found("root.json#here", base), Ok(json!(2)));
        assert_eq!(found("other.json#/$defs/in", base), Ok(json!(3)));
        assert_eq!(found("/other.json#/$defs/in", base), Ok(json!(3)));
        assert_eq!(found("./folder/../folder/nested.json#/$defs/in", base), Ok(json!(4)));
        assert_eq!(found("../root.json#here", "http://example.com/folder/nested.json"), Ok(json!(2)));
        assert_eq!(found("http://known.example/a.json", base), Ok(json!(5)));
        assert!(found("#/$defs/nobody", base).is_err() && found("#nobody", base).is_err());
        assert_eq!(found("https://elsewhere.example/x.json", base), Err(OUTSIDE));
    }

    #[test]
    fn an_identifier_beside_a_reference_counts_from_draft_2019_on() {
        let schema = |draft: &str| {
            json!({ "$schema": draft, "$id": "http://example.com/base/",
                "$defs": { "x": { "$id": "http://example.com/foo.json", "$ref": "#/$defs/y" }, "y": {} } })
        };
        let old = schema("http://json-schema.org/draft-07/schema#");
        let new = schema("https://json-schema.org/draft/2019-09/schema");
        let known = KnownDocuments::new();
        assert!(Documents::of(&old, &known).resolve("/foo.json", "http://example.com/base/").is_err());
        assert!(Documents::of(&new, &known).resolve("/foo.json", "http://example.com/base/").is_ok());
    }
}
