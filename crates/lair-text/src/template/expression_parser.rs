//! Parses expressions, with Jinja's precedence: `or`, `and`, `not`, comparisons, `+ -`, `~`, `* / // %`, `**`, signs,
//! then attributes, calls, filters and tests. From loosest to tightest.

use super::error::{TemplateError, TemplateFault};
use super::lexer::Token;
use super::parser::{HEIGHT_MAX, Parser};
use super::syntax::{Arguments, Comparison, Expression, ExpressionKind, Operator};

impl Parser {
    fn leaf(line: u32, kind: ExpressionKind) -> Expression {
        Expression { kind, line, height: 1 }
    }

    /// A node over children of at most `height`, which it bounds: long chains nest as deep as brackets do.
    fn over(line: u32, height: u16, kind: impl FnOnce() -> ExpressionKind) -> Result<Expression, TemplateError> {
        if usize::from(height) >= HEIGHT_MAX {
            return Err(TemplateError::from(TemplateFault::NestedTooDeep { limit: HEIGHT_MAX }).at(line));
        }
        Ok(Expression { kind: kind(), line, height: height + 1 })
    }

    /// An expression, or several with commas between them, which are a tuple.
    pub(super) fn tuple_or_expression(&mut self) -> Result<Expression, TemplateError> {
        self.tuple(Self::expression)
    }

    /// The same without `a if b else c`, whose `if` belongs to the `for` around it.
    pub(super) fn tuple_without_condition(&mut self) -> Result<Expression, TemplateError> {
        self.tuple(|parser| parser.nested(Self::or_expression))
    }

    fn tuple(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<Expression, TemplateError>,
    ) -> Result<Expression, TemplateError> {
        let line = self.line();
        let first = element(self)?;
        if !self.is_operator(",") {
            return Ok(first);
        }
        let mut elements = vec![first];
        while self.skip_operator(",") {
            let ends = match self.peek() {
                None | Some(Token::VariableEnd | Token::BlockEnd) => true,
                Some(Token::Operator(operator)) => matches!(*operator, ")" | "]" | "}" | "="),
                _ => false,
            };
            if ends {
                break;
            }
            elements.push(element(self)?);
        }
        let height = elements.iter().map(|element| element.height).max().unwrap_or(0);
        Self::over(line, height, || ExpressionKind::Tuple(elements))
    }

    pub(super) fn expression(&mut self) -> Result<Expression, TemplateError> {
        self.nested(Self::conditional)
    }

    fn conditional(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        let mut then = self.or_expression()?;
        while self.skip_name("if") {
            let test = Box::new(self.or_expression()?);
            let otherwise = if self.skip_name("else") { Some(Box::new(self.expression()?)) } else { None };
            let height = then.height.max(test.height).max(otherwise.as_ref().map_or(0, |other| other.height));
            then = Self::over(line, height, || ExpressionKind::Conditional { test, then: Box::new(then), otherwise })?;
        }
        Ok(then)
    }

    fn or_expression(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        let mut left = self.and_expression()?;
        while self.skip_name("or") {
            let right = self.and_expression()?;
            let height = left.height.max(right.height);
            left = Self::over(line, height, || ExpressionKind::Or(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn and_expression(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        let mut left = self.not_expression()?;
        while self.skip_name("and") {
            let right = self.not_expression()?;
            let height = left.height.max(right.height);
            left = Self::over(line, height, || ExpressionKind::And(Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn not_expression(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        if !self.skip_name("not") {
            return self.comparison();
        }
        let operand = self.nested(Self::not_expression)?;
        Self::over(line, operand.height, || ExpressionKind::Not(Box::new(operand)))
    }

    fn comparison_operator(&mut self) -> Option<Comparison> {
        let comparison = match self.peek()? {
            Token::Operator("==") => Comparison::Equal,
            Token::Operator("!=") => Comparison::NotEqual,
            Token::Operator("<") => Comparison::Less,
            Token::Operator("<=") => Comparison::LessOrEqual,
            Token::Operator(">") => Comparison::Greater,
            Token::Operator(">=") => Comparison::GreaterOrEqual,
            Token::Name(name) if name == "in" => Comparison::In,
            Token::Name(name) if name == "not" => {
                if !matches!(self.peek_second(), Some(Token::Name(second)) if second == "in") {
                    return None;
                }
                self.advance();
                Comparison::NotIn
            }
            _ => return None,
        };
        self.advance();
        Some(comparison)
    }

    fn comparison(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        let first = self.arithmetic(0)?;
        let mut rest = Vec::new();
        let mut height = first.height;
        while let Some(comparison) = self.comparison_operator() {
            let right = self.arithmetic(0)?;
            height = height.max(right.height);
            rest.push((comparison, right));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Self::over(line, height, || ExpressionKind::Comparison { first: Box::new(first), rest })
    }

    /// Binary operators from `level` on: 0 `+ -`, 1 `~`, 2 `* / // %`, 3 `**`. All are left associative, as in Jinja.
    fn arithmetic(&mut self, level: u8) -> Result<Expression, TemplateError> {
        if level == 1 {
            return self.concatenation();
        }
        if level > 3 {
            return self.unary(true);
        }
        let line = self.line();
        let mut left = self.arithmetic(level + 1)?;
        while let Some(operator) = self.operator_of(level) {
            let right = self.arithmetic(level + 1)?;
            let height = left.height.max(right.height);
            let (boxed_left, right) = (Box::new(left), Box::new(right));
            left = Self::over(line, height, || ExpressionKind::Arithmetic { operator, left: boxed_left, right })?;
        }
        Ok(left)
    }

    fn operator_of(&mut self, level: u8) -> Option<Operator> {
        let Some(Token::Operator(symbol)) = self.peek() else { return None };
        let (operator, operator_level) = match *symbol {
            "+" => (Operator::Add, 0),
            "-" => (Operator::Subtract, 0),
            "*" => (Operator::Multiply, 2),
            "/" => (Operator::Divide, 2),
            "//" => (Operator::FloorDivide, 2),
            "%" => (Operator::Remainder, 2),
            "**" => (Operator::Power, 3),
            _ => return None,
        };
        (operator_level == level).then(|| {
            self.advance();
            operator
        })
    }

    fn concatenation(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        let first = self.arithmetic(2)?;
        if !self.is_operator("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_operator("~") {
            parts.push(self.arithmetic(2)?);
        }
        let height = parts.iter().map(|part| part.height).max().unwrap_or(0);
        Self::over(line, height, || ExpressionKind::Concatenation(parts))
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expression, TemplateError> {
        let line = self.line();
        let signed = if self.skip_operator("-") {
            let operand = self.nested(|parser| parser.unary(false))?;
            Self::over(line, operand.height, || ExpressionKind::Negative(Box::new(operand)))?
        } else if self.skip_operator("+") {
            let operand = self.nested(|parser| parser.unary(false))?;
            Self::over(line, operand.height, || ExpressionKind::Positive(Box::new(operand)))?
        } else {
            self.primary()?
        };
        let expression = self.postfix(signed)?;
        if with_filters { self.filters_and_tests(expression) } else { Ok(expression) }
    }

    fn primary(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        let kind = match self.peek() {
            Some(Token::Operator("(")) => return self.nested(Self::parenthesis),
            Some(Token::Operator("[")) => return self.nested(Self::list),
            Some(Token::Operator("{")) => return self.nested(Self::dict),
            Some(Token::Name(_) | Token::Integer(_) | Token::Float(_) | Token::Text(_)) => match self.advance() {
                Some(Token::Name(name)) => match name.as_str() {
                    "true" | "True" => ExpressionKind::Bool(true),
                    "false" | "False" => ExpressionKind::Bool(false),
                    "none" | "None" => ExpressionKind::None,
                    _ => {
                        self.note_name(&name);
                        ExpressionKind::Name(name)
                    }
                },
                Some(Token::Integer(value)) => ExpressionKind::Integer(value),
                Some(Token::Float(value)) => ExpressionKind::Float(value),
                Some(Token::Text(mut text)) => {
                    // Adjacent strings are one string.
                    while let Some(Token::Text(more)) = self.peek() {
                        text.push_str(more);
                        self.advance();
                    }
                    ExpressionKind::Text(text)
                }
                _ => unreachable!("the token was one of the four"),
            },
            _ => return Err(self.unexpected("an expression")),
        };
        Ok(Self::leaf(line, kind))
    }

    fn parenthesis(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        self.expect_operator("(")?;
        if self.skip_operator(")") {
            return Ok(Self::leaf(line, ExpressionKind::Tuple(Vec::new())));
        }
        let expression = self.tuple_or_expression()?;
        self.expect_operator(")")?;
        Ok(expression)
    }

    fn list(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        self.expect_operator("[")?;
        let mut elements = Vec::new();
        while !self.skip_operator("]") {
            if !elements.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator("]") {
                    break;
                }
            }
            elements.push(self.expression()?);
        }
        let height = elements.iter().map(|element| element.height).max().unwrap_or(0);
        Self::over(line, height, || ExpressionKind::List(elements))
    }

    fn dict(&mut self) -> Result<Expression, TemplateError> {
        let line = self.line();
        self.expect_operator("{")?;
        let mut entries = Vec::new();
        while !self.skip_operator("}") {
            if !entries.is_empty() {
                self.expect_operator(",")?;
                if self.skip_operator("}") {
                    break;
                }
            }
            let key = self.expression()?;
            self.expect_operator(":")?;
            entries.push((key, self.expression()?));
        }
        let height = entries.iter().map(|(key, value)| key.height.max(value.height)).max().unwrap_or(0);
        Self::over(line, height, || ExpressionKind::Dict(entries))
    }

    fn postfix(&mut self, mut expression: Expression) -> Result<Expression, TemplateError> {
        loop {
            let line = self.line();
            if self.skip_operator(".") {
                let height = expression.height;
                let object = Box::new(expression);
                expression = if let Some(&Token::Integer(index)) = self.peek() {
                    self.advance();
                    let key = Box::new(Self::leaf(line, ExpressionKind::Integer(index)));
                    Self::over(line, height, || ExpressionKind::Item { object, key })?
                } else {
                    let name = self.expect_name()?;
                    Self::over(line, height, || ExpressionKind::Attribute { object, name })?
                };
            } else if self.is_operator("[") {
                expression = self.nested(|parser| parser.subscript(expression))?;
            } else if self.is_operator("(") {
                expression = self.call(expression)?;
            } else {
                return Ok(expression);
            }
        }
    }

    fn subscript(&mut self, object: Expression) -> Result<Expression, TemplateError> {
        let line = self.line();
        self.expect_operator("[")?;
        let mut bounds = [None, None, None];
        let mut colons = 0;
        loop {
            if self.skip_operator(":") {
                colons += 1;
                if colons > 2 {
                    return Err(self.unexpected("`]`"));
                }
            } else if self.skip_operator("]") {
                break;
            } else if bounds[colons].is_some() {
                return Err(self.unexpected("`]`"));
            } else {
                bounds[colons] = Some(self.tuple_or_expression()?);
            }
        }
        let height = bounds.iter().flatten().map(|bound| bound.height).max().unwrap_or(0).max(object.height);
        let object = Box::new(object);
        match (colons, bounds) {
            (0, [Some(key), ..]) => Self::over(line, height, || ExpressionKind::Item { object, key: Box::new(key) }),
            (0, _) => Err(TemplateFault::syntax(line, "expected an index")),
            (_, bounds) => Self::over(line, height, || ExpressionKind::Slice { object, bounds: Box::new(bounds) }),
        }
    }

    fn call(&mut self, callee: Expression) -> Result<Expression, TemplateError> {
        let line = self.line();
        let arguments = self.nested(Self::arguments)?;
        let height = arguments.expressions().map(|argument| argument.height).max().unwrap_or(0).max(callee.height);
        let callee = Box::new(callee);
        Self::over(line, height, || ExpressionKind::Call { callee, arguments })
    }

    /// `(a, b, name=c, *d, **e)`
    pub(super) fn arguments(&mut self) -> Result<Arguments, TemplateError> {
        self.expect_operator("(")?;
        let mut arguments = Arguments::default();
        let mut is_first = true;
        while !self.skip_operator(")") {
            if !is_first {
                self.expect_operator(",")?;
                if self.skip_operator(")") {
                    break;
                }
            }
            is_first = false;
            if self.skip_operator("*") {
                arguments.spread = Some(Box::new(self.expression()?));
            } else if self.skip_operator("**") {
                arguments.keyword_spread = Some(Box::new(self.expression()?));
            } else if matches!(self.peek(), Some(Token::Name(_)))
                && matches!(self.peek_second(), Some(Token::Operator("=")))
            {
                let name = self.expect_name()?;
                self.expect_operator("=")?;
                arguments.keyword.push((name, self.expression()?));
            } else if !arguments.keyword.is_empty() {
                return Err(self.unexpected("a keyword argument"));
            } else {
                arguments.positional.push(self.expression()?);
            }
        }
        Ok(arguments)
    }

    pub(super) fn dotted_name(&mut self) -> Result<String, TemplateError> {
        let mut name = self.expect_name()?;
        while self.skip_operator(".") {
            name.push('.');
            name.push_str(&self.expect_name()?);
        }
        Ok(name)
    }

    fn filters_and_tests(&mut self, mut expression: Expression) -> Result<Expression, TemplateError> {
        loop {
            let line = self.line();
            if self.skip_operator("|") {
                let name = self.dotted_name()?;
                let arguments =
                    if self.is_operator("(") { self.nested(Self::arguments)? } else { Arguments::default() };
                let operands = arguments.expressions().map(|argument| argument.height);
                let height = operands.max().unwrap_or(0).max(expression.height);
                let operand = Box::new(expression);
                expression = Self::over(line, height, || ExpressionKind::Filter { operand, name, arguments })?;
            } else if self.skip_name("is") {
                expression = self.test(expression, line)?;
            } else if self.is_operator("(") {
                expression = self.call(expression)?;
            } else {
                return Ok(expression);
            }
        }
    }

    fn test(&mut self, operand: Expression, line: u32) -> Result<Expression, TemplateError> {
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        let mut arguments = Arguments::default();
        let takes_argument = match self.peek() {
            Some(Token::Operator(operator)) => matches!(*operator, "[" | "{"),
            Some(Token::Name(name)) => !matches!(name.as_str(), "else" | "or" | "and" | "if" | "in" | "not" | "is"),
            Some(Token::Text(_) | Token::Integer(_) | Token::Float(_)) => true,
            _ => false,
        };
        if self.is_operator("(") {
            arguments = self.nested(Self::arguments)?;
        } else if takes_argument {
            let argument = self.nested(|parser| {
                let primary = parser.primary()?;
                parser.postfix(primary)
            })?;
            arguments.positional.push(argument);
        }
        let height = arguments.expressions().map(|argument| argument.height).max().unwrap_or(0).max(operand.height);
        let operand = Box::new(operand);
        Self::over(line, height, || ExpressionKind::Test { operand, name, arguments, negated })
    }
}
