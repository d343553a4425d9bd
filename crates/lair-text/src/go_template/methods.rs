//! Methods that values have in Ollama's templates.

use std::rc::Rc;

use super::print::print_formatted;
use super::value::{Style, TOOL_PROPERTY, Value};
use crate::template::TemplateError;
use crate::template::budget::Budget;
use crate::template::text::{Origin, TextBuilder};

/// Types in `anyOf` in types; a schema has two or three.
const TYPE_DEPTH_MAX: usize = 20;

/// What `value.name` gives if `name` is a method.
pub(super) fn method(budget: &Rc<Budget>, value: &Value, name: &str) -> Result<Option<Value>, TemplateError> {
    let has_string = match value {
        Value::List(slice) => slice.style != Style::Plain,
        Value::Map(map) => map.style != Style::Plain && map.get(name).is_none(),
        Value::Record(record) => record.kind.style != Style::Plain,
        _ => false,
    };
    match name {
        "String" if has_string => {
            let mut out = TextBuilder::new(budget)?;
            print_formatted(&mut out, value)?;
            Ok(Some(Value::Text(out.finish())))
        }
        "ToTypeScriptType" if is_property(value) => Ok(Some(type_script_type(budget, value)?)),
        _ => Ok(None),
    }
}

fn is_property(value: &Value) -> bool {
    matches!(value, Value::Record(record) if std::ptr::eq(record.kind, &TOOL_PROPERTY) || record.kind.name == TOOL_PROPERTY.name)
}

/// The type of a property in TypeScript; of anything else `any`.
pub(super) fn type_script_type(budget: &Rc<Budget>, value: &Value) -> Result<Value, TemplateError> {
    let mut types = Vec::new();
    collect_types(value, &mut types, 0);
    Value::text(budget, &types.join(" | "), Origin::Template)
}

fn collect_types(value: &Value, types: &mut Vec<&'static str>, depth: usize) {
    let Value::Record(record) = value else { return types.push("any") };
    let alternatives = record.get("AnyOf");
    match (alternatives, record.get("Type")) {
        (Some(Value::List(alternatives)), _) if !alternatives.items().is_empty() && depth < TYPE_DEPTH_MAX => {
            alternatives.items().iter().for_each(|alternative| collect_types(alternative, types, depth + 1));
        }
        (_, Some(Value::List(names))) if is_property(value) && !names.items().is_empty() => {
            types.extend(names.items().iter().map(|name| match name.as_text().map(|text| text.as_str()) {
                Some("string") => "string",
                Some("number" | "integer") => "number",
                Some("boolean") => "boolean",
                Some("array") => "any[]",
                Some("object") => "Record<string, any>",
                Some("null") => "null",
                _ => "any",
            }));
        }
        _ => types.push("any"),
    }
}
