//! `object.name`, `object[key]` and `object[a:b:c]`: which attributes and methods each type has.

use std::rc::Rc;

use super::arguments::CallArguments;
use super::budget::Budget;
use super::error::{TemplateError, TemplateFault};
use super::interpreter::Interpreter;
use super::python_text::write_repr;
use super::text::{Origin, TextBuilder};
use super::value::{Dict, LoopState, SequenceBuilder, SequenceKind, Value};

const TEXT_METHODS: [&str; 41] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "endswith",
    "find",
    "format",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "islower",
    "isnumeric",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "upper",
    "zfill",
    "isidentifier",
];
const DICT_METHODS: [&str; 5] = ["copy", "get", "items", "keys", "values"];
const SEQUENCE_METHODS: [&str; 3] = ["copy", "count", "index"];
const LOOP_METHODS: [&str; 2] = ["changed", "cycle"];

/// Methods that change their object: the sandbox of chat templates refuses them.
const CHANGING_DICT_METHODS: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const CHANGING_LIST_METHODS: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];

/// The method `name` of the object, if its type has one.
pub(super) fn method_of(object: &Value<'_>, name: &str) -> Option<&'static str> {
    let methods: &[&'static str] = match object {
        Value::Text(_) => &TEXT_METHODS,
        Value::Dict(_) => &DICT_METHODS,
        Value::Sequence(sequence) => match sequence.kind {
            SequenceKind::List => &SEQUENCE_METHODS,
            SequenceKind::Tuple | SequenceKind::Range => &SEQUENCE_METHODS[1..],
            SequenceKind::Generator | SequenceKind::View(_) => &[],
        },
        Value::Loop(_) => &LOOP_METHODS,
        _ => &[],
    };
    methods.iter().copied().find(|method| *method == name)
}

fn is_refused(object: &Value<'_>, name: &str) -> bool {
    match object {
        Value::Dict(_) => CHANGING_DICT_METHODS.contains(&name),
        Value::Sequence(sequence) => sequence.kind == SequenceKind::List && CHANGING_LIST_METHODS.contains(&name),
        _ => false,
    }
}

/// The undefined value that stands for a missing attribute; using it says what was missing.
fn missing<'t>(object: &Value<'_>, name: &str) -> Value<'t> {
    let name: String = name.chars().take(80).collect();
    Value::Undefined(
        match object {
            Value::None => format!("'None' has no attribute '{name}'"),
            _ => format!("'{} object' has no attribute '{name}'", object.type_name()),
        }
        .into(),
    )
}

impl<'t> Interpreter<'t> {
    /// `object.name`: a method if the type has one, else an entry.
    pub(super) fn attribute(&mut self, object: &Value<'t>, name: &str) -> Result<Value<'t>, TemplateError> {
        if let Some(method) = method_of(object, name) {
            return Ok(Value::Method(Rc::new((object.clone(), method))));
        }
        if is_refused(object, name) {
            let message = format!("access to attribute '{name}' of '{}' object is unsafe.", object.type_name());
            return Ok(Value::Undefined(message.into()));
        }
        let found = match object {
            Value::Undefined(message) => return Err(TemplateFault::undefined(&**message)),
            Value::Dict(dict) => dict.get_text(name)?.cloned(),
            Value::Namespace(index) => self.namespace_attribute(*index, name),
            Value::Loop(state) => loop_attribute(state, name),
            Value::Macro(found) if name == "name" => {
                Some(Value::text(&self.budget, &found.definition.name, Origin::Template)?)
            }
            _ => None,
        };
        Ok(found.unwrap_or_else(|| missing(object, name)))
    }

    /// `object[key]`: an entry, else an attribute.
    pub(super) fn item(&mut self, object: &Value<'t>, key: &Value<'t>) -> Result<Value<'t>, TemplateError> {
        if let Value::Undefined(message) = object {
            return Err(TemplateFault::undefined(&**message));
        }
        if let Value::Dict(dict) = object
            && let Some(found) = dict.get(key)?
        {
            return Ok(found.clone());
        }
        if let Some(name) = key.as_str() {
            return self.attribute(object, name);
        }
        if let Some(index) = key.as_integer()
            && let Some(found) = element(object, index)?
        {
            return Ok(found);
        }
        let mut shown = TextBuilder::with_limit(&self.budget, 256)?;
        // A key too long to show is not shown.
        let key = match write_repr(key, &mut shown) {
            Ok(()) => shown.finish().as_str().to_owned(),
            Err(TemplateError { fault: TemplateFault::OutputTooLarge { .. }, .. }) => "...".to_owned(),
            Err(error) => return Err(error),
        };
        let type_name = object.type_name();
        let owner = if matches!(object, Value::None) { "None".to_owned() } else { format!("{type_name} object") };
        Ok(Value::Undefined(format!("{owner} has no element {key}").into()))
    }

    pub(super) fn call_method(
        &mut self,
        object: &Value<'t>,
        method: &'static str,
        arguments: CallArguments<'t>,
    ) -> Result<Value<'t>, TemplateError> {
        match object {
            Value::Text(text) => self.call_text_method(text, method, arguments),
            Value::Dict(dict) => call_dict_method(dict, method, arguments, &self.budget),
            Value::Sequence(sequence) => {
                let items = sequence.items();
                if method == "copy" {
                    arguments.bind("copy", [])?;
                    return Ok(object.clone());
                }
                let wanted = arguments.bind(method, ["value"])?;
                let [Some(wanted)] = wanted else {
                    return Err(TemplateFault::type_error(format!("{method}() takes exactly one argument")));
                };
                let mut count = 0;
                for (index, item) in items.iter().enumerate() {
                    if item.equals(&wanted, &self.budget)? {
                        if method == "index" {
                            return Ok(Value::Integer(index as i128));
                        }
                        count += 1;
                    }
                }
                if method == "index" {
                    return Err(TemplateFault::type_error("value is not in list"));
                }
                Ok(Value::Integer(count))
            }
            Value::Loop(state) => call_loop_method(state, method, arguments, &self.budget),
            other => Err(TemplateFault::type_error(format!("'{}' object has no methods", other.type_name()))),
        }
    }
}

fn element<'t>(object: &Value<'t>, index: i128) -> Result<Option<Value<'t>>, TemplateError> {
    let place = |count: usize| {
        let place = if index < 0 { index + count as i128 } else { index };
        usize::try_from(place).ok().filter(|place| *place < count)
    };
    match object {
        Value::Sequence(sequence) => match sequence.kind {
            SequenceKind::Generator | SequenceKind::View(_) => Ok(None),
            _ => Ok(place(sequence.items().len()).map(|place| sequence.items()[place].clone())),
        },
        Value::Text(text) => {
            let string = text.as_str();
            text.budget().spend_bytes(string.len())?;
            let Some(place) = place(string.chars().count()) else { return Ok(None) };
            let Some((start, character)) = string.char_indices().nth(place) else { return Ok(None) };
            Ok(Some(Value::Text(text.slice(start..start + character.len_utf8())?)))
        }
        _ => Ok(None),
    }
}

fn call_dict_method<'t>(
    dict: &Rc<Dict<'t>>,
    method: &'static str,
    arguments: CallArguments<'t>,
    budget: &Rc<Budget>,
) -> Result<Value<'t>, TemplateError> {
    if method == "get" {
        let [key, default] = arguments.bind("get", ["key", "default"])?;
        let key = key.ok_or_else(|| TemplateFault::type_error("get expected at least 1 argument, got 0"))?;
        return Ok(dict.get(&key)?.cloned().or(default).unwrap_or(Value::None));
    }
    arguments.bind(method, [])?;
    if method == "copy" {
        return Ok(Value::Dict(Rc::clone(dict)));
    }
    let mut view = SequenceBuilder::new(budget)?;
    for (key, value) in dict.entries() {
        view.push(match method {
            "keys" => key.clone(),
            "values" => value.clone(),
            _ => Value::tuple(budget, vec![key.clone(), value.clone()])?,
        })?;
    }
    view.finish(SequenceKind::View(match method {
        "keys" => "dict_keys",
        "values" => "dict_values",
        _ => "dict_items",
    }))
}

fn loop_attribute<'t>(state: &LoopState<'t>, name: &str) -> Option<Value<'t>> {
    let index = state.index.get();
    let count = state.items.len();
    let neighbour =
        |found: Option<&Value<'t>>, message: &str| found.cloned().unwrap_or_else(|| Value::Undefined(message.into()));
    Some(match name {
        "index" => Value::Integer(index as i128 + 1),
        "index0" => Value::Integer(index as i128),
        "revindex" => Value::Integer((count - index) as i128),
        "revindex0" => Value::Integer((count - index) as i128 - 1),
        "first" => Value::Bool(index == 0),
        "last" => Value::Bool(index + 1 == count),
        "length" => Value::Integer(count as i128),
        "depth" => Value::Integer(state.level as i128 + 1),
        "depth0" => Value::Integer(state.level as i128),
        "previtem" => neighbour(index.checked_sub(1).and_then(|at| state.items.get(at)), "there is no previous item"),
        "nextitem" => neighbour(state.items.get(index + 1), "there is no next item"),
        _ => return None,
    })
}

fn call_loop_method<'t>(
    state: &LoopState<'t>,
    method: &'static str,
    arguments: CallArguments<'t>,
    budget: &Rc<Budget>,
) -> Result<Value<'t>, TemplateError> {
    if method == "cycle" {
        let count = arguments.positional.len();
        if count == 0 {
            return Err(TemplateFault::type_error("no items for cycling given"));
        }
        return Ok(arguments.positional[state.index.get() % count].clone());
    }
    let mut shown = TextBuilder::new(budget)?;
    for value in &arguments.positional {
        write_repr(value, &mut shown)?;
        shown.push_own(",")?;
    }
    let shown = shown.finish();
    let is_changed = state.last_changed.borrow().as_ref().is_none_or(|last| last.as_str() != shown.as_str());
    *state.last_changed.borrow_mut() = Some(shown);
    Ok(Value::Bool(is_changed))
}

/// `object[start:stop:step]` of a string or sequence.
pub(super) fn slice<'t>(
    object: &Value<'t>,
    bounds: [Option<i128>; 3],
    budget: &Rc<Budget>,
) -> Result<Value<'t>, TemplateError> {
    match object {
        Value::Undefined(message) => Err(TemplateFault::undefined(&**message)),
        Value::Text(text) => {
            let string = text.as_str();
            budget.spend_bytes(string.len())?;
            // The common slice needs two positions only; other steps need them all.
            if bounds[2].unwrap_or(1) == 1 {
                let (start, stop, _) = slice_range(bounds, string.chars().count())?;
                let position = |place: i128| {
                    string.char_indices().nth(place as usize).map_or(string.len(), |(position, _)| position)
                };
                let (start, stop) = (position(start), position(stop.max(start)));
                return Ok(Value::Text(text.slice(start..stop)?));
            }
            budget.spend(string.len())?;
            let characters: Vec<(usize, char)> = string.char_indices().collect();
            let mut builder = TextBuilder::new(budget)?;
            for place in slice_places(bounds, characters.len())? {
                let (start, character) = characters[place];
                builder.push_slice(text, start..start + character.len_utf8())?;
            }
            Ok(Value::Text(builder.finish()))
        }
        Value::Sequence(sequence)
            if matches!(sequence.kind, SequenceKind::List | SequenceKind::Tuple | SequenceKind::Range) =>
        {
            let items = sequence.items();
            let mut builder = SequenceBuilder::new(budget)?;
            for place in slice_places(bounds, items.len())? {
                builder.push(items[place].clone())?;
            }
            builder.finish(sequence.kind)
        }
        other => Err(TemplateFault::type_error(format!("'{}' object is not subscriptable", other.type_name()))),
    }
}

/// Start, stop and step of a slice of `count` places, clamped as Python does.
fn slice_range(bounds: [Option<i128>; 3], count: usize) -> Result<(i128, i128, i128), TemplateError> {
    let [start, stop, step] = bounds;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(TemplateFault::type_error("slice step cannot be zero"));
    }
    let count = count as i128;
    let (low, high) = if step > 0 { (0, count) } else { (-1, count - 1) };
    let clamp = |bound: i128| if bound < 0 { bound.saturating_add(count).max(low) } else { bound.min(high) };
    let start = start.map_or(if step > 0 { low } else { high }, clamp);
    let stop = stop.map_or(if step > 0 { high } else { low }, clamp);
    Ok((start, stop, step))
}

fn slice_places(bounds: [Option<i128>; 3], count: usize) -> Result<impl Iterator<Item = usize>, TemplateError> {
    let (start, stop, step) = slice_range(bounds, count)?;
    let mut place = start;
    Ok(std::iter::from_fn(move || {
        let is_inside = if step > 0 { place < stop } else { place > stop };
        is_inside.then(|| {
            let current = place as usize;
            place = place.saturating_add(step);
            current
        })
    }))
}
