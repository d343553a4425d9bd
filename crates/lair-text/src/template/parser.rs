//! Parses the statements of a template; expressions are parsed by `expression_parser`.
//!
//! Recursive descent with a depth counter, so that no source can overflow the stack.

use super::error::{TemplateError, TemplateFault};
use super::lexer::{Token, tokenize};
use super::syntax::{Block, Expression, FilterCall, ForLoop, MacroDefinition, Statement, Target};

/// How deep statements and expressions may nest: the deepest known template uses about 20 levels. A level of expressions takes 7 KiB
/// of the stack, so all of them fit into half a megabyte with room for who calls.
pub(super) const NESTING_MAX: usize = 48;
/// How high an expression may grow over its parts: long chains of operators, filters and attributes take no level of the
/// parser, but levels of what computes them.
pub(super) const HEIGHT_MAX: usize = 150;

/// The statements of `source`.
pub(super) fn parse(source: &str) -> Result<Block, TemplateError> {
    let mut parser =
        Parser { tokens: tokenize(source)?, position: 0, depth: 0, loops: 0, names: MacroNames::default() };
    let (block, end) = parser.block(&[])?;
    debug_assert!(end.is_empty(), "only the end of the source ends the outermost block");
    Ok(block)
}

pub(super) struct Parser {
    tokens: Vec<(Token, u32)>,
    position: usize,
    depth: usize,
    /// Loops around the current statement, within the current macro.
    loops: usize,
    names: MacroNames,
}

/// Which of the implicit arguments the macro being parsed mentions.
#[derive(Default, Clone, Copy)]
struct MacroNames {
    varargs: bool,
    kwargs: bool,
}

impl Parser {
    pub(super) fn line(&self) -> u32 {
        self.tokens.get(self.position).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position).map(|(token, _)| token)
    }

    pub(super) fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.position + 1).map(|(token, _)| token)
    }

    pub(super) fn advance(&mut self) -> Option<Token> {
        let token = self.tokens.get_mut(self.position)?;
        self.position += 1;
        // Each token is consumed once: no need to keep its string.
        Some(std::mem::replace(&mut token.0, Token::VariableEnd))
    }

    pub(super) fn is_operator(&self, operator: &str) -> bool {
        matches!(self.peek(), Some(Token::Operator(found)) if *found == operator)
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(found)) if found == name)
    }

    pub(super) fn skip_operator(&mut self, operator: &str) -> bool {
        let found = self.is_operator(operator);
        self.position += usize::from(found);
        found
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.position += usize::from(found);
        found
    }

    pub(super) fn expect_operator(&mut self, operator: &str) -> Result<(), TemplateError> {
        if self.skip_operator(operator) { Ok(()) } else { Err(self.unexpected(&format!("`{operator}`"))) }
    }

    pub(super) fn expect_name(&mut self) -> Result<String, TemplateError> {
        match self.peek() {
            Some(Token::Name(_)) => match self.advance() {
                Some(Token::Name(name)) => Ok(name),
                _ => unreachable!("the token was a name"),
            },
            _ => Err(self.unexpected("a name")),
        }
    }

    pub(super) fn unexpected(&self, expected: &str) -> TemplateError {
        let found = match self.peek() {
            None => "the end of the template".to_owned(),
            Some(Token::Raw(_)) => "text".to_owned(),
            Some(Token::VariableBegin) => "`{{`".to_owned(),
            Some(Token::VariableEnd) => "`}}`".to_owned(),
            Some(Token::BlockBegin) => "`{%`".to_owned(),
            Some(Token::BlockEnd) => "`%}`".to_owned(),
            Some(Token::Name(name)) => format!("`{}`", name.chars().take(40).collect::<String>()),
            Some(Token::Integer(number)) => format!("`{number}`"),
            Some(Token::Float(number)) => format!("`{number}`"),
            Some(Token::Text(_)) => "a string".to_owned(),
            Some(Token::Operator(operator)) => format!("`{operator}`"),
        };
        TemplateFault::syntax(self.line(), format!("expected {expected}, found {found}"))
    }

    /// Runs `parse` one level deeper.
    pub(super) fn nested<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        if self.depth == NESTING_MAX {
            return Err(TemplateError::from(TemplateFault::NestedTooDeep { limit: NESTING_MAX }).at(self.line()));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    pub(super) fn note_name(&mut self, name: &str) {
        self.names.varargs |= name == "varargs";
        self.names.kwargs |= name == "kwargs";
    }

    fn block_end(&mut self) -> Result<(), TemplateError> {
        match self.peek() {
            Some(Token::BlockEnd) => {
                self.position += 1;
                Ok(())
            }
            _ => Err(self.unexpected("`%}`")),
        }
    }

    /// Statements up to a tag named in `ends`; its name has been read, the rest of the tag has not.
    fn block(&mut self, ends: &[&str]) -> Result<(Block, String), TemplateError> {
        let mut block = Vec::new();
        let start_line = self.line();
        loop {
            match self.advance() {
                None if ends.is_empty() => return Ok((block, String::new())),
                None => {
                    let message = format!("missing `{}` of this block", ends[ends.len() - 1]);
                    return Err(TemplateFault::syntax(start_line, message));
                }
                Some(Token::Raw(text)) => block.push(Statement::Raw(text)),
                Some(Token::VariableBegin) => {
                    let expression = self.tuple_or_expression()?;
                    if !matches!(self.peek(), Some(Token::VariableEnd)) {
                        return Err(self.unexpected("`}}`"));
                    }
                    self.position += 1;
                    block.push(Statement::Emit(expression));
                }
                Some(_) => {
                    let line = self.line();
                    let name = self.expect_name()?;
                    if ends.contains(&name.as_str()) {
                        return Ok((block, name));
                    }
                    block.push(self.nested(|parser| parser.statement(&name, line))?);
                }
            }
        }
    }

    /// A body with its closing tag `end`.
    fn body(&mut self, end: &str) -> Result<Block, TemplateError> {
        let (body, _) = self.block(&[end])?;
        self.block_end()?;
        Ok(body)
    }

    fn statement(&mut self, name: &str, line: u32) -> Result<Statement, TemplateError> {
        match name {
            "if" => self.if_statement(),
            "for" => self.for_statement(),
            "set" => self.set_statement(),
            "macro" => self.macro_statement(),
            "call" => self.call_statement(line),
            "filter" => {
                let filters = self.filter_chain(true)?;
                self.block_end()?;
                Ok(Statement::FilterBlock { filters, body: self.body("endfilter")? })
            }
            "with" => self.with_statement(),
            "generation" => {
                self.block_end()?;
                Ok(Statement::Scope(self.body("endgeneration")?))
            }
            "break" | "continue" => {
                if self.loops == 0 {
                    return Err(TemplateFault::syntax(line, format!("`{name}` outside of a loop")));
                }
                self.block_end()?;
                Ok(if name == "break" { Statement::Break } else { Statement::Continue })
            }
            "do" => {
                let value = self.tuple_or_expression()?;
                self.block_end()?;
                Ok(Statement::Set { target: Target::Tuple(Vec::new()), value })
            }
            "include" | "import" | "from" | "extends" | "block" | "autoescape" | "trans" | "debug" => {
                let what = format!("`{{% {name} %}}`");
                Err(TemplateError { line: Some(line), fault: TemplateFault::Unsupported { what } })
            }
            _ => {
                let shown: String = name.chars().take(40).collect();
                Err(TemplateFault::syntax(line, format!("unknown tag `{shown}`")))
            }
        }
    }

    fn if_statement(&mut self) -> Result<Statement, TemplateError> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple_or_expression()?;
            self.block_end()?;
            let (body, end) = self.block(&["elif", "else", "endif"])?;
            branches.push((test, body));
            match end.as_str() {
                "elif" => continue,
                "else" => {
                    self.block_end()?;
                    let otherwise = self.body("endif")?;
                    return Ok(Statement::If { branches, otherwise });
                }
                _ => {
                    self.block_end()?;
                    return Ok(Statement::If { branches, otherwise: Vec::new() });
                }
            }
        }
    }

    fn for_statement(&mut self) -> Result<Statement, TemplateError> {
        let target = self.target()?;
        if !self.skip_name("in") {
            return Err(self.unexpected("`in`"));
        }
        let iterable = self.tuple_without_condition()?;
        let condition = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.block_end()?;
        self.loops += 1;
        let (body, end) = self.block(&["else", "endfor"])?;
        self.loops -= 1;
        self.block_end()?;
        let otherwise = if end == "else" { self.body("endfor")? } else { Vec::new() };
        Ok(Statement::For(Box::new(ForLoop { target, iterable, condition, recursive, body, otherwise })))
    }

    fn target(&mut self) -> Result<Target, TemplateError> {
        let first = self.single_target()?;
        if !self.is_operator(",") {
            return Ok(first);
        }
        let mut targets = vec![first];
        while self.skip_operator(",") {
            if matches!(self.peek(), Some(Token::Name(name)) if name != "in") || self.is_operator("(") {
                targets.push(self.single_target()?);
            }
        }
        Ok(Target::Tuple(targets))
    }

    fn single_target(&mut self) -> Result<Target, TemplateError> {
        if self.skip_operator("(") {
            let target = self.nested(Self::target)?;
            self.expect_operator(")")?;
            return Ok(target);
        }
        let line = self.line();
        let name = self.expect_name()?;
        if matches!(name.as_str(), "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(TemplateFault::syntax(line, format!("cannot assign to `{name}`")));
        }
        if self.skip_operator(".") {
            let attribute = self.expect_name()?;
            return Ok(Target::Attribute { namespace: name, attribute, line });
        }
        Ok(Target::Name(name))
    }

    fn set_statement(&mut self) -> Result<Statement, TemplateError> {
        let target = self.target()?;
        if self.skip_operator("=") {
            let value = self.tuple_or_expression()?;
            self.block_end()?;
            return Ok(Statement::Set { target, value });
        }
        let filters = self.filter_chain(false)?;
        self.block_end()?;
        Ok(Statement::SetBlock { target, filters, body: self.body("endset")? })
    }

    /// `name(arguments) | name ...`, or with a leading `|`.
    fn filter_chain(&mut self, starts_with_name: bool) -> Result<Vec<FilterCall>, TemplateError> {
        let mut filters = Vec::new();
        let mut expects_name = starts_with_name;
        while expects_name || self.skip_operator("|") {
            expects_name = false;
            let line = self.line();
            let name = self.dotted_name()?;
            let arguments = if self.is_operator("(") { self.arguments()? } else { Default::default() };
            filters.push(FilterCall { name, arguments, line });
        }
        Ok(filters)
    }

    fn with_statement(&mut self) -> Result<Statement, TemplateError> {
        let mut assignments = Vec::new();
        while !matches!(self.peek(), Some(Token::BlockEnd)) {
            if !assignments.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.single_target()?;
            self.expect_operator("=")?;
            assignments.push((target, self.expression()?));
        }
        self.block_end()?;
        Ok(Statement::With { assignments, body: self.body("endwith")? })
    }

    fn parameters(&mut self) -> Result<Vec<(String, Option<Expression>)>, TemplateError> {
        self.expect_operator("(")?;
        let mut parameters: Vec<(String, Option<Expression>)> = Vec::new();
        while !self.skip_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator(")") {
                    break;
                }
            }
            let name = self.expect_name()?;
            let default = if self.skip_operator("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, default)| default.is_some()) {
                return Err(self.unexpected("a default, because an earlier parameter has one, "));
            }
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    /// Parameters were read; reads the body of a macro or call block.
    fn macro_body(
        &mut self,
        name: String,
        parameters: Vec<(String, Option<Expression>)>,
        end: &str,
    ) -> Result<Box<MacroDefinition>, TemplateError> {
        self.block_end()?;
        let loops = std::mem::take(&mut self.loops);
        let names = std::mem::take(&mut self.names);
        let body = self.body(end)?;
        let MacroNames { varargs: uses_varargs, kwargs: uses_kwargs } = std::mem::replace(&mut self.names, names);
        self.loops = loops;
        Ok(Box::new(MacroDefinition { name, parameters, body, uses_varargs, uses_kwargs }))
    }

    fn macro_statement(&mut self) -> Result<Statement, TemplateError> {
        let name = self.expect_name()?;
        let parameters = self.parameters()?;
        Ok(Statement::Macro(self.macro_body(name, parameters, "endmacro")?))
    }

    fn call_statement(&mut self, line: u32) -> Result<Statement, TemplateError> {
        let parameters = if self.is_operator("(") { self.parameters()? } else { Vec::new() };
        let call = self.expression()?;
        if !matches!(call.kind, super::syntax::ExpressionKind::Call { .. }) {
            return Err(TemplateFault::syntax(line, "expected a call"));
        }
        let body = self.macro_body("caller".to_owned(), parameters, "endcall")?;
        Ok(Statement::CallBlock { call, body })
    }
}
