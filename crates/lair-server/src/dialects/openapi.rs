//! `/openapi.json`: the routes that the router serves, as OpenAPI 3.1 has them.

use axum::http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::route::{Field, Kind, Needs, Route};
use super::{all, dialect_of, json_response};

pub(super) fn routes() -> Vec<Route> {
    let answer = || async { json_response(StatusCode::OK, &document(&all())) };
    vec![Route::get(Needs::Key, "/openapi.json", "This document.", answer)]
}

/// The description of these routes.
fn document(routes: &[Route]) -> Json {
    let mut paths: Map<String, Json> = Map::new();
    for route in routes {
        // A parameter that takes the rest of a path is marked with a star for the router only.
        let path = route.path.replace("{*", "{");
        let of_path = paths.entry(path.clone()).or_insert_with(|| json!({}));
        of_path[route.method] = operation(route, &path);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Lair", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            }
        },
        // A server without keys asks for none.
        "security": [{}, { "bearer": [] }, { "key": [] }],
    })
}

fn operation(route: &Route, path: &str) -> Json {
    let parameters: Vec<Json> = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    let mut operation = json!({
        "summary": route.summary,
        "tags": [dialect_of(path)],
        "responses": {
            "200": { "description": "The answer." },
            "4XX": { "description": "The request is refused; the answer says why." },
            "503": { "description": "As many requests are open as are taken; try again." },
        },
    });
    match route.needs {
        Needs::Nothing => operation["security"] = json!([]),
        Needs::Key => {}
        Needs::Scope(scope) => operation["x-lair-scope"] = json!(scope),
    }
    if !parameters.is_empty() {
        operation["parameters"] = json!(parameters);
    }
    if !route.fields.is_empty() {
        let fields = || route.fields.iter().copied().flatten();
        let properties: Map<String, Json> = fields().map(|field| (field.name.to_owned(), schema(field))).collect();
        let required: Vec<&str> = fields().filter(|field| field.is_required).map(|field| field.name).collect();
        let schema = json!({ "type": "object", "properties": properties, "required": required });
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

fn schema(field: &Field) -> Json {
    // `null` is the same as leaving a field out.
    let kinds = match field.kind {
        Kind::Text => json!(["string", "null"]),
        Kind::Number => json!(["number", "null"]),
        Kind::Whole => json!(["integer", "null"]),
        Kind::Switch => json!(["boolean", "null"]),
        Kind::List => json!(["array", "null"]),
        Kind::Object => json!(["object", "null"]),
        Kind::Texts => json!(["string", "array", "null"]),
        Kind::Mixed => return json!({}),
    };
    if field.is_required
        && let Some(kind) = kinds.get(0)
    {
        return json!({ "type": kind });
    }
    json!({ "type": kinds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once() {
        let routes = all();
        let document = document(&routes);
        let mut seen = std::collections::BTreeSet::new();
        for route in &routes {
            assert!(seen.insert((route.method, route.path)), "{} {} is listed twice", route.method, route.path);
            let operation = &document["paths"][route.path.replace("{*", "{")][route.method];
            assert_eq!(operation["summary"], route.summary);
            let count: usize = route.fields.iter().map(|fields| fields.len()).sum();
            let described = &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
            let described = described.as_object().map_or(0, Map::len);
            assert_eq!(described, count, "{} describes a field twice", route.path);
        }
    }
}
