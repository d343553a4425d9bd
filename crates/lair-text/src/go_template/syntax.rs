//! What a parsed Go template is made of.

use std::collections::HashMap;

/// A template with all that it defines.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) main: List,
    /// Bodies of `define` and `block`, by name.
    pub(super) definitions: HashMap<String, List>,
}

pub(super) type List = Vec<Node>;

#[derive(Debug, Clone)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: u32,
    pub(super) kind: NodeKind,
}

#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    Text(String),
    Action(Pipeline),
    /// `if` and `with`: the branches in order, then what stands in `else`. `with` also sets the dot.
    Choice {
        sets_dot: bool,
        branches: Vec<(Pipeline, List)>,
        otherwise: Option<List>,
    },
    Range {
        pipeline: Pipeline,
        body: List,
        otherwise: Option<List>,
    },
    Template {
        name: String,
        argument: Option<Pipeline>,
    },
    Break,
    Continue,
}

/// `$a, $b := first | second | third`
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) line: u32,
    pub(super) variables: Vec<String>,
    /// `=` instead of `:=`.
    pub(super) is_assignment: bool,
    pub(super) commands: Vec<Command>,
}

/// Operands side by side: the first may be a function or a method, the others are its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// `.A.B`, of the dot.
    Field(Vec<String>),
    /// `$name.A.B`; the name is without `$`, and empty for `$` alone.
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipeline)`
    Pipeline(Box<Pipeline>),
    /// `(pipeline).A.B`, and fields of anything else that has none by itself.
    Chain(Box<Operand>, Vec<String>),
}
