//! Tokens to syntax.

use std::collections::HashMap;

use super::functions::Function;
use super::lexer::{Placed, Token, tokenize};
use super::syntax::{Command, List, Node, NodeKind, Operand, Pipeline, Program};
use crate::template::TemplateError;
use crate::template::error::TemplateFault;

/// Blocks and parentheses in each other; published templates have seven.
const NESTING_MAX: usize = 100;

pub(super) fn parse(source: &str) -> Result<Program, TemplateError> {
    let tokens = tokenize(source)?;
    let variables = vec![String::new()];
    let mut parser = Parser { tokens, position: 0, variables, definitions: HashMap::new(), depth: 0, range_depth: 0 };
    let (main, end) = parser.list()?;
    match end {
        End::Source => {}
        End::Word(word, line) => return Err(TemplateFault::syntax(line, format!("`{word}` without a block"))),
    }
    Ok(Program { main, definitions: parser.definitions })
}

struct Parser {
    tokens: Vec<Placed>,
    position: usize,
    /// The variables in scope, without `$`.
    variables: Vec<String>,
    definitions: HashMap<String, List>,
    depth: usize,
    range_depth: usize,
}

/// What ended a list: the source, or `end` or `else`, whose action is read up to the word.
enum End {
    Source,
    Word(&'static str, u32),
}

impl Parser {
    /// Nodes up to the end of a block.
    fn list(&mut self) -> Result<(List, End), TemplateError> {
        self.deeper()?;
        let mut nodes = List::new();
        let end = loop {
            let Some((token, line)) = self.next() else { break End::Source };
            match token {
                Token::Text(text) => nodes.push(Node { line, kind: NodeKind::Text(text) }),
                _ => match self.action(line)? {
                    Item::Node(kind) => nodes.push(Node { line, kind }),
                    Item::Nothing => {}
                    Item::End(word) => break End::Word(word, line),
                },
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    /// Behind `{{`.
    fn action(&mut self, line: u32) -> Result<Item, TemplateError> {
        self.skip_blanks();
        let keyword = match self.peek() {
            Some(Token::Word(word)) => word.clone(),
            _ => String::new(),
        };
        let start = self.position;
        self.position += usize::from(!keyword.is_empty());
        let node = match keyword.as_str() {
            "if" => self.choice(false, line)?,
            "with" => self.choice(true, line)?,
            "range" => self.range(line)?,
            "end" => {
                self.close("end")?;
                return Ok(Item::End("end"));
            }
            "else" => return Ok(Item::End("else")),
            "define" => return self.define(line).map(|()| Item::Nothing),
            "block" => self.block(line)?,
            "template" => self.template()?,
            "break" | "continue" => {
                self.close(&keyword)?;
                if self.range_depth == 0 {
                    return Err(TemplateFault::syntax(line, format!("`{keyword}` outside of `range`")));
                }
                if keyword == "break" { NodeKind::Break } else { NodeKind::Continue }
            }
            _ => {
                self.position = start;
                NodeKind::Action(self.pipeline(Some(Token::Close))?)
            }
        };
        Ok(Item::Node(node))
    }

    fn choice(&mut self, sets_dot: bool, line: u32) -> Result<NodeKind, TemplateError> {
        let scope = self.variables.len();
        let keyword = if sets_dot { "with" } else { "if" };
        let mut branches = Vec::new();
        let mut otherwise = None;
        loop {
            let condition = self.pipeline(Some(Token::Close))?;
            let (body, end) = self.scoped_list()?;
            branches.push((condition, body));
            if self.ends(&end, line)? {
                break;
            }
            self.skip_blanks();
            if self.peek() == Some(&Token::Word(keyword.to_string())) {
                self.position += 1;
                continue;
            }
            otherwise = Some(self.else_list(line)?);
            break;
        }
        self.variables.truncate(scope);
        Ok(NodeKind::Choice { sets_dot, branches, otherwise })
    }

    fn range(&mut self, line: u32) -> Result<NodeKind, TemplateError> {
        let scope = self.variables.len();
        let pipeline = self.pipeline_in_range()?;
        self.range_depth += 1;
        let (body, end) = self.scoped_list()?;
        self.range_depth -= 1;
        let otherwise = if self.ends(&end, line)? { None } else { Some(self.else_list(line)?) };
        self.variables.truncate(scope);
        Ok(NodeKind::Range { pipeline, body, otherwise })
    }

    /// A list whose variables end with it.
    fn scoped_list(&mut self) -> Result<(List, End), TemplateError> {
        let scope = self.variables.len();
        let list = self.list()?;
        self.variables.truncate(scope);
        Ok(list)
    }

    /// Behind `else`: the list up to `end`.
    fn else_list(&mut self, line: u32) -> Result<List, TemplateError> {
        self.close("else")?;
        let (list, end) = self.scoped_list()?;
        if self.ends(&end, line)? { Ok(list) } else { Err(TemplateFault::syntax(line, "a second `else`")) }
    }

    /// Whether a block ended with `end`; it may end with `else` otherwise, never with the source.
    fn ends(&self, end: &End, line: u32) -> Result<bool, TemplateError> {
        match end {
            End::Word(word, _) => Ok(*word == "end"),
            End::Source => Err(TemplateFault::syntax(line, "block has no `{{end}}`")),
        }
    }

    fn define(&mut self, line: u32) -> Result<(), TemplateError> {
        let name = self.template_name("define")?;
        self.close("define")?;
        if self.depth > 1 {
            return Err(TemplateFault::syntax(line, "`define` inside of a block"));
        }
        self.add_definition(name, line)
    }

    /// The body up to `end`, under its name. A second one is refused, unless one of the two is blank.
    fn add_definition(&mut self, name: String, line: u32) -> Result<(), TemplateError> {
        let list = self.definition(line)?;
        match self.definitions.get(&name) {
            Some(known) if !is_blank(known) => {
                if is_blank(&list) {
                    return Ok(());
                }
                Err(TemplateFault::syntax(line, format!("a second definition of template \"{name}\"")))
            }
            _ => {
                self.definitions.insert(name, list);
                Ok(())
            }
        }
    }

    fn block(&mut self, line: u32) -> Result<NodeKind, TemplateError> {
        let name = self.template_name("block")?;
        let argument = self.pipeline(Some(Token::Close))?;
        self.add_definition(name.clone(), line)?;
        Ok(NodeKind::Template { name, argument: Some(argument) })
    }

    /// The body of a template of its own: it sees no variables, and no range to break.
    fn definition(&mut self, line: u32) -> Result<List, TemplateError> {
        let variables = std::mem::replace(&mut self.variables, vec![String::new()]);
        let range_depth = std::mem::take(&mut self.range_depth);
        let (list, end) = self.list()?;
        self.variables = variables;
        self.range_depth = range_depth;
        if self.ends(&end, line)? { Ok(list) } else { Err(TemplateFault::syntax(line, "`else` without a block")) }
    }

    fn template(&mut self) -> Result<NodeKind, TemplateError> {
        let name = self.template_name("template")?;
        self.skip_blanks();
        if self.peek() == Some(&Token::Close) {
            self.position += 1;
            return Ok(NodeKind::Template { name, argument: None });
        }
        Ok(NodeKind::Template { name, argument: Some(self.pipeline(Some(Token::Close))?) })
    }

    fn template_name(&mut self, keyword: &str) -> Result<String, TemplateError> {
        self.skip_blanks();
        match self.next() {
            Some((Token::Quoted(name), _)) => Ok(name),
            _ => Err(self.error(format!("`{keyword}` needs a name in quotes"))),
        }
    }

    fn pipeline_in_range(&mut self) -> Result<Pipeline, TemplateError> {
        self.pipeline_of(Some(Token::Close), 2)
    }

    fn pipeline(&mut self, end: Option<Token>) -> Result<Pipeline, TemplateError> {
        self.pipeline_of(end, 1)
    }

    /// A pipeline up to `end`, which is read too, with at most `variables_max` variables in front.
    fn pipeline_of(&mut self, end: Option<Token>, variables_max: usize) -> Result<Pipeline, TemplateError> {
        self.deeper()?;
        self.skip_blanks();
        let line = self.line();
        let (variables, is_assignment) = self.declaration(variables_max)?;
        let mut commands = Vec::new();
        loop {
            let operands = self.operands()?;
            // Go lets a pipeline end with `|`.
            match operands.first() {
                None if commands.is_empty() || self.peek() == Some(&Token::Pipe) => {
                    return Err(self.error("a value is missing"));
                }
                Some(first) if !commands.is_empty() && is_constant(first) => {
                    return Err(self.error("a constant cannot take what stands in front of `|`"));
                }
                None => {}
                Some(_) => commands.push(Command { operands }),
            }
            match self.next() {
                Some((Token::Pipe, _)) => {}
                Some((token, _)) if Some(&token) == end.as_ref() => break,
                Some((token, line)) => return Err(TemplateFault::syntax(line, format!("unexpected {}", name(&token)))),
                None => return Err(self.error("action is not closed by `}}`")),
            }
        }
        if !is_assignment {
            self.variables.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipeline { line, variables, is_assignment, commands })
    }

    /// `$a :=`, `$a, $b :=`, `$a =`, or nothing.
    fn declaration(&mut self, variables_max: usize) -> Result<(Vec<String>, bool), TemplateError> {
        let start = self.position;
        let mut variables = Vec::new();
        while let Some(Token::Variable(variable)) = self.peek().cloned() {
            self.position += 1;
            self.skip_blanks();
            variables.push(variable);
            let token = self.peek().cloned();
            match token {
                Some(Token::Comma) if variables.len() < variables_max => {
                    self.position += 1;
                    self.skip_blanks();
                }
                Some(Token::Comma) => return Err(self.error("too many variables")),
                Some(Token::Declare) => {
                    self.position += 1;
                    return Ok((variables, false));
                }
                Some(Token::Assign) => {
                    self.position += 1;
                    for variable in &variables {
                        self.check_variable(variable)?;
                    }
                    return Ok((variables, true));
                }
                _ => break,
            }
        }
        if variables.len() > 1 {
            return Err(self.error("variables need `:=` or `=`"));
        }
        self.position = start;
        Ok((Vec::new(), false))
    }

    /// The operands of one command.
    fn operands(&mut self) -> Result<Vec<Operand>, TemplateError> {
        let mut operands = Vec::new();
        loop {
            self.skip_blanks();
            let Some(operand) = self.operand()? else { return Ok(operands) };
            operands.push(operand);
            match self.peek() {
                Some(Token::Blank | Token::Pipe | Token::Close | Token::CloseParenthesis) | None => {}
                Some(token) => return Err(self.error(format!("unexpected {} in an operand", name(token)))),
            }
        }
    }

    /// An operand with the fields behind it.
    fn operand(&mut self) -> Result<Option<Operand>, TemplateError> {
        let Some((token, line)) = self.tokens.get(self.position).cloned() else { return Ok(None) };
        let operand = match token {
            Token::Dot => Operand::Dot,
            Token::Field(name) => Operand::Field(vec![name]),
            Token::Variable(name) => {
                self.check_variable(&name)?;
                Operand::Variable(name, Vec::new())
            }
            Token::Int(value) => Operand::Int(value),
            Token::Float(value) => Operand::Float(value),
            Token::Quoted(text) => Operand::Text(text),
            Token::Word(word) => match word.as_str() {
                "true" | "false" => Operand::Bool(word == "true"),
                "nil" => Operand::Nil,
                _ if Function::find(&word).is_some() => Operand::Function(word),
                _ => return Err(TemplateFault::syntax(line, format!("function `{word}` does not exist"))),
            },
            Token::OpenParenthesis => {
                self.position += 1;
                let pipeline = self.pipeline(Some(Token::CloseParenthesis))?;
                // The loop below steps over one token.
                self.position -= 1;
                Operand::Pipeline(Box::new(pipeline))
            }
            _ => return Ok(None),
        };
        self.position += 1;
        let mut fields = Vec::new();
        while let Some(Token::Field(name)) = self.peek().cloned() {
            self.position += 1;
            fields.push(name);
        }
        if fields.is_empty() {
            return Ok(Some(operand));
        }
        Ok(Some(match operand {
            Operand::Field(mut names) => {
                names.extend(fields);
                Operand::Field(names)
            }
            Operand::Variable(name, _) => Operand::Variable(name, fields),
            operand if is_constant(&operand) => {
                return Err(TemplateFault::syntax(line, format!("unexpected `.{}` behind a constant", fields[0])));
            }
            Operand::Dot => {
                return Err(TemplateFault::syntax(line, format!("unexpected `.{}` behind a dot", fields[0])));
            }
            operand => Operand::Chain(Box::new(operand), fields),
        }))
    }

    fn check_variable(&self, name: &str) -> Result<(), TemplateError> {
        if self.variables.iter().any(|variable| variable == name) {
            return Ok(());
        }
        Err(self.error(format!("variable `${name}` does not exist")))
    }

    /// `}}` behind a keyword.
    fn close(&mut self, keyword: &str) -> Result<(), TemplateError> {
        self.skip_blanks();
        match self.next() {
            Some((Token::Close, _)) => Ok(()),
            Some((token, line)) => {
                Err(TemplateFault::syntax(line, format!("unexpected {} behind `{keyword}`", name(&token))))
            }
            None => Err(self.error("action is not closed by `}}`")),
        }
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(TemplateError::from(TemplateFault::NestedTooDeep { limit: NESTING_MAX }).at(self.line()));
        }
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while self.peek() == Some(&Token::Blank) {
            self.position += 1;
        }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position).map(|(token, _)| token)
    }

    fn next(&mut self) -> Option<Placed> {
        let placed = self.tokens.get(self.position).cloned();
        self.position += usize::from(placed.is_some());
        placed
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.position).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    fn error(&self, message: impl Into<String>) -> TemplateError {
        TemplateFault::syntax(self.line(), message)
    }
}

enum Item {
    Node(NodeKind),
    Nothing,
    End(&'static str),
}

fn is_blank(list: &List) -> bool {
    list.iter().all(|node| matches!(&node.kind, NodeKind::Text(text) if text.trim().is_empty()))
}

fn is_constant(operand: &Operand) -> bool {
    matches!(operand, Operand::Nil | Operand::Bool(_) | Operand::Int(_) | Operand::Float(_) | Operand::Text(_))
}

fn name(token: &Token) -> String {
    match token {
        Token::Text(_) => "text".to_string(),
        Token::Open => "`{{`".to_string(),
        Token::Close => "`}}`".to_string(),
        Token::Blank => "blank".to_string(),
        Token::Word(word) => format!("`{word}`"),
        Token::Field(field) => format!("`.{field}`"),
        Token::Dot => "`.`".to_string(),
        Token::Variable(variable) => format!("`${variable}`"),
        Token::Int(_) | Token::Float(_) => "number".to_string(),
        Token::Quoted(_) => "quoted text".to_string(),
        Token::Declare => "`:=`".to_string(),
        Token::Assign => "`=`".to_string(),
        Token::Pipe => "`|`".to_string(),
        Token::Comma => "`,`".to_string(),
        Token::OpenParenthesis => "`(`".to_string(),
        Token::CloseParenthesis => "`)`".to_string(),
    }
}
