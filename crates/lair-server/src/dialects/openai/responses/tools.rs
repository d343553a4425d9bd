//! Tools of a request for a response: functions, alone or grouped in namespaces, and what this server leaves out.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::chat::ToolChoice;
use crate::error::ApiError;
use crate::fields::wrong;

/// Tools that a service runs by itself, and that agents offer to every model. No answer needs them: a model that is not
/// told of one does not call it. They are named among what was ignored.
const LEFT_OUT: &[&str] = &["web_search", "web_search_preview", "image_generation"];

/// The functions that a model is told of.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// In the form that templates know.
    pub(super) tools: Vec<Json>,
    pub(super) namespaces: Namespaces,
    /// Types of tools that were left out.
    pub(super) ignored: Vec<String>,
}

/// Functions that stand in a namespace. A model knows one by both names joined; clients get the two apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Namespaces(BTreeMap<String, (String, String)>);

impl Namespaces {
    /// The name that a model knows.
    pub(super) fn joined(namespace: Option<&str>, name: &str) -> String {
        namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}.{name}"))
    }

    /// Puts the name of a called function into an item.
    pub(super) fn put_name(&self, item: &mut Json, name: &str) {
        match self.0.get(name) {
            None => item["name"] = json!(name),
            Some((namespace, name)) => {
                item["name"] = json!(name);
                item["namespace"] = json!(namespace);
            }
        }
    }
}

impl Offer {
    /// Reads `tools`.
    pub(super) fn of(items: &[Json]) -> Result<Offer, ApiError> {
        let mut offer = Offer::default();
        for (index, item) in items.iter().enumerate() {
            let place = format!("tools[{index}]");
            match item["type"].as_str() {
                Some("function") => offer.add(item, None, &place)?,
                Some("namespace") => offer.add_namespace(item, &place)?,
                Some(kind) if LEFT_OUT.contains(&kind) => offer.ignored.push(kind.to_owned()),
                kind => return Err(unsupported(&place, kind)),
            }
        }
        Ok(offer)
    }

    fn add_namespace(&mut self, item: &Json, place: &str) -> Result<(), ApiError> {
        let namespace = text(item, "name", place)?;
        let functions = item["tools"].as_array();
        let functions = functions.ok_or_else(|| wrong(&format!("{place}.tools"), &item["tools"], "a list"))?;
        for (index, function) in functions.iter().enumerate() {
            let place = format!("{place}.tools[{index}]");
            match function["type"].as_str() {
                Some("function") => self.add(function, Some(namespace), &place)?,
                kind => return Err(unsupported(&place, kind)),
            }
        }
        Ok(())
    }

    /// Functions are flat here, and one level deeper for templates.
    fn add(&mut self, item: &Json, namespace: Option<&str>, place: &str) -> Result<(), ApiError> {
        let name = text(item, "name", place)?;
        let parameters = match &item["parameters"] {
            Json::Null => json!({ "type": "object", "properties": {} }),
            schema @ Json::Object(_) => schema.clone(),
            other => return Err(wrong(&format!("{place}.parameters"), other, "an object")),
        };
        let joined = Namespaces::joined(namespace, name);
        let mut function = json!({ "name": joined, "parameters": parameters });
        if let Some(description) = item["description"].as_str() {
            function["description"] = json!(description);
        }
        if let Some(namespace) = namespace {
            self.namespaces.0.insert(joined, (namespace.to_owned(), name.to_owned()));
        }
        self.tools.push(json!({ "type": "function", "function": function }));
        Ok(())
    }
}

fn text<'a>(item: &'a Json, key: &str, place: &str) -> Result<&'a str, ApiError> {
    item[key].as_str().ok_or_else(|| wrong(&format!("{place}.{key}"), &item[key], "a string"))
}

fn unsupported(place: &str, kind: Option<&str>) -> ApiError {
    let kind = kind.unwrap_or("missing");
    let cause = format!("`{place}` is of type `{kind}`: only functions that the client runs are supported");
    ApiError::unsupported("tools", cause)
}

/// Reads `tool_choice`.
pub(super) fn tool_choice(given: Option<&Json>) -> Result<ToolChoice, ApiError> {
    match given {
        None => Ok(ToolChoice::Auto),
        Some(Json::String(word)) if word == "auto" => Ok(ToolChoice::Auto),
        Some(Json::String(word)) if word == "none" => Ok(ToolChoice::None),
        Some(Json::String(word)) if word == "required" => Ok(ToolChoice::Required),
        Some(choice) => match choice["name"].as_str() {
            Some(name) if choice["type"] == "function" => {
                Ok(ToolChoice::Named(Namespaces::joined(choice["namespace"].as_str(), name)))
            }
            _ => Err(wrong("tool_choice", choice, "none, auto, required or {\"type\": \"function\", \"name\"}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_in_a_namespace_is_told_by_both_names_and_called_by_each() {
        let close = json!({ "type": "function", "name": "close", "parameters": {} });
        let agents = json!({ "type": "namespace", "name": "agents", "description": "Others.", "tools": [close] });
        let offer = Offer::of(&[agents, close, json!({ "type": "web_search" })]).expect("fine");
        let names: Vec<_> = offer.tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect();
        assert_eq!((names, offer.ignored), (vec!["agents.close", "close"], vec!["web_search".to_owned()]));
        for (called, expected) in
            [("agents.close", json!({ "name": "close", "namespace": "agents" })), ("close", json!({ "name": "close" }))]
        {
            let mut item = json!({});
            offer.namespaces.put_name(&mut item, called);
            assert_eq!(item, expected);
        }
        let chosen = json!({ "type": "function", "namespace": "agents", "name": "close" });
        assert_eq!(tool_choice(Some(&chosen)).expect("fine"), ToolChoice::Named("agents.close".to_owned()));
    }
}
