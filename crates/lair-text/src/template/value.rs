//! The values a template computes with: Python's, as far as Jinja shows them.
//!
//! Values are immutable, as in the sandbox that chat templates are written for; only namespaces change, and they live
//! in the interpreter. So values form no cycles, and their depth is bounded when they are built.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::rc::{Rc, Weak};

use super::budget::{Budget, Charge};
use super::error::{TemplateError, TemplateFault};
use super::scope::Frame;
use super::syntax::{ForLoop, MacroDefinition};
use super::text::{Origin, Text};

/// How deep lists and dicts may nest: JSON parsers stop at 128.
const VALUE_DEPTH_MAX: usize = 200;

/// Memory of one element of a sequence or one entry of a dict, with room for the growth of the vector.
const ELEMENT_BYTES: usize = 64;

#[derive(Clone)]
pub(super) enum Value<'t> {
    /// With the message that using it gives.
    Undefined(Rc<str>),
    None,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(Rc<Text>),
    Sequence(Rc<Sequence<'t>>),
    Dict(Rc<Dict<'t>>),
    /// Its place in the interpreter's list.
    Namespace(usize),
    Macro(Rc<Macro<'t>>),
    Function(Function),
    /// A method taken off its object without a call.
    Method(Rc<(Value<'t>, &'static str)>),
    Loop(Rc<LoopState<'t>>),
}

/// The functions every template has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Range,
    Namespace,
    Dict,
    RaiseException,
    StrftimeNow,
}

impl Function {
    pub(super) const ALL: [(&'static str, Function); 5] = [
        ("range", Function::Range),
        ("namespace", Function::Namespace),
        ("dict", Function::Dict),
        ("raise_exception", Function::RaiseException),
        ("strftime_now", Function::StrftimeNow),
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SequenceKind {
    List,
    Tuple,
    Range,
    /// What `map`, `select` and their like give: can be read once.
    Generator,
    /// `dict.keys()`, `dict.values()`, `dict.items()`.
    View(&'static str),
}

pub(super) struct Sequence<'t> {
    pub kind: SequenceKind,
    items: Vec<Value<'t>>,
    /// Whether a generator has been read.
    is_read: Cell<bool>,
    depth: usize,
    _charge: Charge,
}

impl<'t> Sequence<'t> {
    /// All items, whatever the kind; a generator keeps them readable.
    pub(super) fn items(&self) -> &[Value<'t>] {
        &self.items
    }

    /// The items for a loop: none, if it is a generator that was read before.
    pub(super) fn read(&self) -> &[Value<'t>] {
        if self.kind == SequenceKind::Generator && self.is_read.replace(true) { &[] } else { &self.items }
    }
}

/// Collects a sequence, paying for each item.
pub(super) struct SequenceBuilder<'t> {
    items: Vec<Value<'t>>,
    depth: usize,
    charge: Charge,
}

impl<'t> SequenceBuilder<'t> {
    pub(super) fn new(budget: &Rc<Budget>) -> Result<SequenceBuilder<'t>, TemplateError> {
        Ok(SequenceBuilder { items: Vec::new(), depth: 0, charge: Charge::new(budget, ELEMENT_BYTES)? })
    }

    pub(super) fn push(&mut self, value: Value<'t>) -> Result<(), TemplateError> {
        self.charge.budget().spend(1)?;
        self.charge.grow(ELEMENT_BYTES)?;
        self.depth = self.depth.max(value.depth());
        self.items.push(value);
        Ok(())
    }

    pub(super) fn extend(&mut self, values: &[Value<'t>]) -> Result<(), TemplateError> {
        values.iter().try_for_each(|value| self.push(value.clone()))
    }

    pub(super) fn finish(self, kind: SequenceKind) -> Result<Value<'t>, TemplateError> {
        let depth = deeper(self.depth)?;
        let SequenceBuilder { items, charge, .. } = self;
        Ok(Value::Sequence(Rc::new(Sequence { kind, items, is_read: Cell::new(false), depth, _charge: charge })))
    }
}

fn deeper(depth: usize) -> Result<usize, TemplateError> {
    if depth >= VALUE_DEPTH_MAX {
        return Err(TemplateFault::ValueTooDeep { limit: VALUE_DEPTH_MAX }.into());
    }
    Ok(depth + 1)
}

/// A dict in order of insertion. Lookups walk the entries: the dicts of chat templates are small, and each step is paid.
pub(super) struct Dict<'t> {
    entries: Vec<(Value<'t>, Value<'t>)>,
    depth: usize,
    charge: Charge,
}

impl<'t> Dict<'t> {
    pub(super) fn new(budget: &Rc<Budget>) -> Result<Dict<'t>, TemplateError> {
        Ok(Dict { entries: Vec::new(), depth: 1, charge: Charge::new(budget, ELEMENT_BYTES)? })
    }

    pub(super) fn entries(&self) -> &[(Value<'t>, Value<'t>)] {
        &self.entries
    }

    /// Adds an entry whose key is known to be new.
    pub(super) fn push(&mut self, key: Value<'t>, value: Value<'t>) -> Result<(), TemplateError> {
        self.charge.budget().spend(1)?;
        self.charge.grow(2 * ELEMENT_BYTES)?;
        self.depth = self.depth.max(deeper(value.depth().max(key.depth()))?);
        self.entries.push((key, value));
        Ok(())
    }

    /// Adds or replaces an entry.
    pub(super) fn insert(&mut self, key: Value<'t>, value: Value<'t>) -> Result<(), TemplateError> {
        if !key.is_hashable() {
            return Err(TemplateFault::type_error(format!("unhashable type: '{}'", key.type_name())));
        }
        for index in 0..self.entries.len() {
            if self.entries[index].0.equals(&key, self.charge.budget())? {
                self.depth = self.depth.max(deeper(value.depth())?);
                self.entries[index].1 = value;
                return Ok(());
            }
        }
        self.push(key, value)
    }

    pub(super) fn get(&self, key: &Value<'t>) -> Result<Option<&Value<'t>>, TemplateError> {
        if let Value::Text(text) = key {
            return self.get_text(text.as_str());
        }
        for (candidate, value) in &self.entries {
            if candidate.equals(key, self.charge.budget())? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    pub(super) fn get_text(&self, key: &str) -> Result<Option<&Value<'t>>, TemplateError> {
        self.charge.budget().spend(1 + self.entries.len() / 16)?;
        let found = self.entries.iter().find(|(name, _)| matches!(name, Value::Text(name) if name.as_str() == key));
        Ok(found.map(|(_, value)| value))
    }
}

/// A macro, or the body of a `call` block, and where it was defined.
pub(super) struct Macro<'t> {
    pub definition: &'t MacroDefinition,
    /// Weak, because the frame holds the macro.
    pub frame: Weak<Frame<'t>>,
}

/// The `loop` variable of one loop.
pub(super) struct LoopState<'t> {
    pub items: Vec<Value<'t>>,
    pub items_depth: usize,
    pub index: Cell<usize>,
    /// 0 for the outermost loop.
    pub level: usize,
    /// The loop itself and the frame it stands in, if it may be called.
    pub recursion: Option<(&'t ForLoop, Weak<Frame<'t>>)>,
    /// The last arguments of `loop.changed`, as text: the values could hold this very loop.
    pub last_changed: RefCell<Option<Rc<Text>>>,
    pub _charge: Charge,
}

impl<'t> LoopState<'t> {
    pub(super) fn new(
        budget: &Rc<Budget>,
        items: Vec<Value<'t>>,
        level: usize,
        recursion: Option<(&'t ForLoop, Weak<Frame<'t>>)>,
    ) -> Result<Rc<LoopState<'t>>, TemplateError> {
        let charge = Charge::new(budget, ELEMENT_BYTES * (1 + items.len()))?;
        let items_depth = deeper(items.iter().map(Value::depth).max().unwrap_or(0))?;
        Ok(Rc::new(LoopState {
            items,
            items_depth,
            index: Cell::new(0),
            level,
            recursion,
            last_changed: RefCell::new(None),
            _charge: charge,
        }))
    }
}

impl<'t> Value<'t> {
    pub(super) fn undefined_name(name: &str) -> Value<'t> {
        Value::Undefined(format!("'{name}' is undefined").into())
    }

    pub(super) fn text(budget: &Rc<Budget>, string: &str, origin: Origin) -> Result<Value<'t>, TemplateError> {
        Ok(Value::Text(Text::new(budget, string, origin)?))
    }

    pub(super) fn list(budget: &Rc<Budget>, items: Vec<Value<'t>>) -> Result<Value<'t>, TemplateError> {
        let mut builder = SequenceBuilder::new(budget)?;
        items.into_iter().try_for_each(|item| builder.push(item))?;
        builder.finish(SequenceKind::List)
    }

    pub(super) fn tuple(budget: &Rc<Budget>, items: Vec<Value<'t>>) -> Result<Value<'t>, TemplateError> {
        let mut builder = SequenceBuilder::new(budget)?;
        items.into_iter().try_for_each(|item| builder.push(item))?;
        builder.finish(SequenceKind::Tuple)
    }

    /// 0 for a value without parts.
    fn depth(&self) -> usize {
        match self {
            Value::Sequence(sequence) => sequence.depth,
            Value::Dict(dict) => dict.depth,
            Value::Method(method) => method.0.depth(),
            Value::Loop(state) => state.items_depth,
            _ => 0,
        }
    }

    /// The name Python gives the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Integer(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "str",
            Value::Sequence(sequence) => match sequence.kind {
                SequenceKind::List => "list",
                SequenceKind::Tuple => "tuple",
                SequenceKind::Range => "range",
                SequenceKind::Generator => "generator",
                SequenceKind::View(name) => name,
            },
            Value::Dict(_) => "dict",
            Value::Namespace(_) => "Namespace",
            Value::Macro(_) => "Macro",
            Value::Function(_) => "function",
            Value::Method(_) => "builtin_function_or_method",
            Value::Loop(_) => "LoopContext",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(value) => *value,
            Value::Integer(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) => !text.as_str().is_empty(),
            Value::Sequence(sequence) => sequence.kind == SequenceKind::Generator || !sequence.items.is_empty(),
            Value::Dict(dict) => !dict.entries.is_empty(),
            _ => true,
        }
    }

    fn is_hashable(&self) -> bool {
        match self {
            Value::Sequence(sequence) => match sequence.kind {
                SequenceKind::Tuple => sequence.items.iter().all(Value::is_hashable),
                SequenceKind::List | SequenceKind::View(_) => false,
                SequenceKind::Range | SequenceKind::Generator => true,
            },
            Value::Dict(_) => false,
            _ => true,
        }
    }

    /// A number as a float, booleans included.
    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            _ => self.as_integer().map(|value| value as f64),
        }
    }

    /// An integer or a boolean.
    pub(super) fn as_integer(&self) -> Option<i128> {
        match self {
            Value::Integer(value) => Some(*value),
            Value::Bool(value) => Some(i128::from(*value)),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// `==`
    pub(super) fn equals(&self, other: &Value<'t>, budget: &Budget) -> Result<bool, TemplateError> {
        budget.spend(1)?;
        Ok(match (self, other) {
            (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
            (Value::Text(left), Value::Text(right)) => {
                let (left, right) = (left.as_str(), right.as_str());
                budget.spend_bytes(if left.len() == right.len() { left.len() } else { 0 })?;
                left == right
            }
            (Value::Sequence(left), Value::Sequence(right)) => {
                let comparable = !matches!(left.kind, SequenceKind::Generator | SequenceKind::View(_));
                if left.kind != right.kind || !comparable {
                    return Ok(Rc::ptr_eq(left, right));
                }
                if left.items.len() != right.items.len() {
                    return Ok(false);
                }
                for (left, right) in left.items.iter().zip(&right.items) {
                    if !left.equals(right, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Dict(left), Value::Dict(right)) => {
                if left.entries.len() != right.entries.len() {
                    return Ok(false);
                }
                for (key, value) in &left.entries {
                    match right.get(key)? {
                        Some(other) if value.equals(other, budget)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Value::Namespace(left), Value::Namespace(right)) => left == right,
            (Value::Macro(left), Value::Macro(right)) => Rc::ptr_eq(left, right),
            (Value::Function(left), Value::Function(right)) => left == right,
            (Value::Loop(left), Value::Loop(right)) => Rc::ptr_eq(left, right),
            _ => match (self.as_integer(), other.as_integer()) {
                (Some(left), Some(right)) => left == right,
                _ => matches!((self.as_float(), other.as_float()), (Some(left), Some(right)) if left == right),
            },
        })
    }

    /// The order of two values, for `symbol`; `None` if one is not a number (NaN).
    pub(super) fn compare(
        &self,
        other: &Value<'t>,
        symbol: &str,
        budget: &Budget,
    ) -> Result<Option<Ordering>, TemplateError> {
        budget.spend(1)?;
        match (self, other) {
            (Value::Undefined(message), _) | (_, Value::Undefined(message)) => {
                Err(TemplateFault::undefined(&**message))
            }
            (Value::Text(left), Value::Text(right)) => {
                budget.spend_bytes(left.as_str().len().min(right.as_str().len()))?;
                Ok(Some(left.as_str().cmp(right.as_str())))
            }
            (Value::Sequence(left), Value::Sequence(right))
                if left.kind == right.kind && matches!(left.kind, SequenceKind::List | SequenceKind::Tuple) =>
            {
                for (left, right) in left.items.iter().zip(&right.items) {
                    if !left.equals(right, budget)? {
                        return left.compare(right, symbol, budget);
                    }
                }
                Ok(Some(left.items.len().cmp(&right.items.len())))
            }
            _ => match (self.as_integer(), other.as_integer(), self.as_float(), other.as_float()) {
                (Some(left), Some(right), _, _) => Ok(Some(left.cmp(&right))),
                (_, _, Some(left), Some(right)) => Ok(left.partial_cmp(&right)),
                _ => Err(TemplateFault::type_error(format!(
                    "'{symbol}' not supported between instances of '{}' and '{}'",
                    self.type_name(),
                    other.type_name()
                ))),
            },
        }
    }

    /// What a `for` over the value visits.
    pub(super) fn iterate(&self, budget: &Rc<Budget>) -> Result<Vec<Value<'t>>, TemplateError> {
        match self {
            Value::Undefined(_) => Ok(Vec::new()),
            Value::Sequence(sequence) => {
                let items = sequence.read();
                budget.spend(items.len())?;
                Ok(items.to_vec())
            }
            Value::Dict(dict) => {
                budget.spend(dict.entries.len())?;
                Ok(dict.entries.iter().map(|(key, _)| key.clone()).collect())
            }
            Value::Text(text) => {
                let mut characters = SequenceBuilder::new(budget)?;
                for (start, character) in text.as_str().char_indices() {
                    characters.push(Value::Text(text.slice(start..start + character.len_utf8())?))?;
                }
                Ok(characters.items)
            }
            _ => Err(TemplateFault::type_error(format!("'{}' object is not iterable", self.type_name()))),
        }
    }

    /// The value of a JSON document, all of whose strings have `origin`.
    pub(super) fn from_json(
        budget: &Rc<Budget>,
        json: &serde_json::Value,
        origin: Origin,
    ) -> Result<Value<'t>, TemplateError> {
        Self::from_json_at(budget, json, origin, 0)
    }

    fn from_json_at(
        budget: &Rc<Budget>,
        json: &serde_json::Value,
        origin: Origin,
        depth: usize,
    ) -> Result<Value<'t>, TemplateError> {
        let depth = deeper(depth)?;
        Ok(match json {
            serde_json::Value::Null => Value::None,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Value::Integer(value.into()),
                (_, Some(value)) => Value::Integer(value.into()),
                _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(string) => Value::text(budget, string, origin)?,
            serde_json::Value::Array(elements) => {
                let mut builder = SequenceBuilder::new(budget)?;
                for element in elements {
                    builder.push(Value::from_json_at(budget, element, origin, depth)?)?;
                }
                builder.finish(SequenceKind::List)?
            }
            serde_json::Value::Object(entries) => {
                let mut dict = Dict::new(budget)?;
                for (key, value) in entries {
                    let key = Value::text(budget, key, origin)?;
                    dict.push(key, Value::from_json_at(budget, value, origin, depth)?)?;
                }
                Value::Dict(Rc::new(dict))
            }
        })
    }
}
