//! What the references of a schema lead to: the schemas of one document, by pointer, identifier and anchor.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::escaped;

/// The schemas of a document by their names.
pub(super) struct References<'s> {
    root: &'s Json,
    /// Pointers by absolute identifier; the document's own is empty if it gives none.
    by_id: HashMap<String, String>,
    /// Pointers by identifier, `#` and anchor.
    by_anchor: HashMap<String, String>,
}

impl<'s> References<'s> {
    /// Reads the names in a document.
    pub(super) fn of(root: &'s Json) -> References<'s> {
        let mut references = References { root, by_id: HashMap::new(), by_anchor: HashMap::new() };
        references.by_id.insert(String::new(), "#".to_owned());
        let mut open = vec![(root, "#".to_owned(), String::new())];
        while let Some((value, pointer, base)) = open.pop() {
            match value {
                Json::Object(map) => {
                    let base = base_of(value, &base);
                    if !references.by_id.contains_key(&base) {
                        references.by_id.insert(base.clone(), pointer.clone());
                    }
                    for anchor in ["$anchor", "$dynamicAnchor"] {
                        if let Some(name) = map.get(anchor).and_then(Json::as_str) {
                            references.by_anchor.insert(format!("{base}#{name}"), pointer.clone());
                        }
                    }
                    // Before draft 2019 an anchor was an identifier of a fragment only.
                    if let Some(name) = id_of(value).and_then(|id| id.strip_prefix('#')) {
                        references.by_anchor.insert(format!("{base}#{name}"), pointer.clone());
                    }
                    let is_data = |key: &str| ["const", "enum", "default", "examples"].contains(&key);
                    for (key, value) in map.iter().filter(|(key, _)| !is_data(key)) {
                        open.push((value, format!("{pointer}/{}", escaped(key)), base.clone()));
                    }
                }
                Json::Array(items) => {
                    for (index, value) in items.iter().enumerate() {
                        open.push((value, format!("{pointer}/{index}"), base.clone()));
                    }
                }
                _ => {}
            }
        }
        references
    }

    /// Where a reference leads that stands under `base`: a pointer, the schema there, and the base there.
    ///
    /// # Errors
    /// In words: what is wrong with it.
    pub(super) fn resolve(&self, reference: &str, base: &str) -> Result<(String, &'s Json, String), &'static str> {
        const NOWHERE: &str = "is not there";
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let absolute = joined(base, address);
        let resource = self.by_id.get(&absolute).ok_or("is outside of the schema: nothing is fetched")?;
        let fragment = percent_decoded(fragment);
        let pointer = if fragment.is_empty() {
            resource.clone()
        } else if let Some(path) = fragment.strip_prefix('/') {
            format!("{resource}/{path}")
        } else {
            self.by_anchor.get(&format!("{absolute}#{fragment}")).ok_or(NOWHERE)?.clone()
        };
        let (mut value, mut base) = (self.root, base_of(self.root, ""));
        for part in pointer.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            value = match value {
                Json::Object(map) => map.get(&part),
                Json::Array(items) => part.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            }
            .ok_or(NOWHERE)?;
            base = base_of(value, &base);
        }
        Ok((pointer, value, base))
    }
}

fn id_of(schema: &Json) -> Option<&str> {
    schema.get("$id").or_else(|| schema.get("id")).and_then(Json::as_str)
}

/// The address that references in this schema are relative to.
pub(super) fn base_of(schema: &Json, base: &str) -> String {
    match id_of(schema).map(|id| id.split_once('#').map_or(id, |(address, _)| address)) {
        Some(address) if !address.is_empty() => joined(base, address),
        _ => base.to_owned(),
    }
}

/// A relative address under a base, for the forms that schemas use (RFC 3986, section 5.2, without dot segments).
fn joined(base: &str, address: &str) -> String {
    if address.is_empty() {
        return base.to_owned();
    }
    let scheme = address.find([':', '/', '?', '#']).filter(|&end| address[end..].starts_with(':'));
    if scheme.is_some() {
        return address.to_owned();
    }
    let authority = base.find("://").map_or(0, |start| start + 3);
    let path = base[authority..].find('/').map_or(base.len(), |start| authority + start);
    if address.starts_with('/') {
        return format!("{}{address}", &base[..path]);
    }
    let folder = base[path..].rfind('/').map_or(path, |end| path + end);
    let slash = if folder > 0 { "/" } else { "" };
    format!("{}{slash}{address}", &base[..folder])
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
            },
        });
        let references = References::of(&schema);
        let base = "http://example.com/root.json";
        let found = |reference: &str| references.resolve(reference, base).map(|(_, value, _)| value["const"].clone());
        assert_eq!(found("#/$defs/a~1b~0c%25d"), Ok(json!(1)));
        assert_eq!(found("#here"), Ok(json!(2)));
        assert_eq!(found("root.json#here"), Ok(json!(2)));
        assert_eq!(found("other.json#/$defs/in"), Ok(json!(3)));
        assert_eq!(found("/other.json#/$defs/in"), Ok(json!(3)));
        assert!(found("#/$defs/nobody").is_err() && found("#nobody").is_err());
        assert!(found("https://elsewhere.example/x.json").is_err());
    }
}
