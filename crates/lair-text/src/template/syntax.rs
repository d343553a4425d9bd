//! The syntax tree of a template.

/// A list of statements.
pub(super) type Block = Vec<Statement>;

/// One statement; errors get their line from the expressions in it.
#[derive(Debug)]
pub(super) enum Statement {
    /// Text outside of tags.
    Raw(String),
    /// `{{ expression }}`
    Emit(Expression),
    /// `{% if %}` with its `elif`s, and the `else` block.
    If {
        branches: Vec<(Expression, Block)>,
        otherwise: Block,
    },
    For(Box<ForLoop>),
    Set {
        target: Target,
        value: Expression,
    },
    /// `{% set name | filters %} ... {% endset %}`
    SetBlock {
        target: Target,
        filters: Vec<FilterCall>,
        body: Block,
    },
    Macro(Box<MacroDefinition>),
    /// `{% call(parameters) function(arguments) %} ... {% endcall %}`
    CallBlock {
        call: Expression,
        body: Box<MacroDefinition>,
    },
    FilterBlock {
        filters: Vec<FilterCall>,
        body: Block,
    },
    With {
        assignments: Vec<(Target, Expression)>,
        body: Block,
    },
    /// A block with variables of its own: `{% generation %}`.
    Scope(Block),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct ForLoop {
    pub target: Target,
    pub iterable: Expression,
    pub condition: Option<Expression>,
    pub recursive: bool,
    pub body: Block,
    pub otherwise: Block,
}

#[derive(Debug)]
pub(super) struct MacroDefinition {
    pub name: String,
    pub parameters: Vec<(String, Option<Expression>)>,
    pub body: Block,
    pub uses_varargs: bool,
    pub uses_kwargs: bool,
}

/// What `set`, `for` and `with` assign to.
#[derive(Debug)]
pub(super) enum Target {
    Name(String),
    Attribute { namespace: String, attribute: String, line: u32 },
    Tuple(Vec<Target>),
}

#[derive(Debug)]
pub(super) struct FilterCall {
    pub name: String,
    pub arguments: Arguments,
    pub line: u32,
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub positional: Vec<Expression>,
    pub keyword: Vec<(String, Expression)>,
    /// `*expression`
    pub spread: Option<Box<Expression>>,
    /// `**expression`
    pub keyword_spread: Option<Box<Expression>>,
}

impl Arguments {
    pub(super) fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let spreads = self.spread.iter().chain(&self.keyword_spread).map(|boxed| &**boxed);
        self.positional.iter().chain(self.keyword.iter().map(|(_, value)| value)).chain(spreads)
    }
}

/// An expression with its line and the height of its tree, which the parser bounds.
#[derive(Debug)]
pub(super) struct Expression {
    pub kind: ExpressionKind,
    pub line: u32,
    pub height: u16,
}

#[derive(Debug)]
pub(super) enum ExpressionKind {
    None,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Name(String),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Attribute {
        object: Box<Expression>,
        name: String,
    },
    Item {
        object: Box<Expression>,
        key: Box<Expression>,
    },
    Slice {
        object: Box<Expression>,
        bounds: Box<[Option<Expression>; 3]>,
    },
    Call {
        callee: Box<Expression>,
        arguments: Arguments,
    },
    Filter {
        operand: Box<Expression>,
        name: String,
        arguments: Arguments,
    },
    Test {
        operand: Box<Expression>,
        name: String,
        arguments: Arguments,
        negated: bool,
    },
    Not(Box<Expression>),
    Negative(Box<Expression>),
    Positive(Box<Expression>),
    Arithmetic {
        operator: Operator,
        left: Box<Expression>,
        right: Box<Expression>,
    },
    /// `a ~ b ~ c`
    Concatenation(Vec<Expression>),
    /// `a < b <= c`: each comparison with its right side.
    Comparison {
        first: Box<Expression>,
        rest: Vec<(Comparison, Expression)>,
    },
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    /// `then if test else otherwise`
    Conditional {
        test: Box<Expression>,
        then: Box<Expression>,
        otherwise: Option<Box<Expression>>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

impl Operator {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Operator::Add => "+",
            Operator::Subtract => "-",
            Operator::Multiply => "*",
            Operator::Divide => "/",
            Operator::FloorDivide => "//",
            Operator::Remainder => "%",
            Operator::Power => "** or pow()",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}
