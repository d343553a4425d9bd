//! What can go wrong with a chat template, and what the user can do about it.

use thiserror::Error;

/// A template that could not be parsed or rendered: the line of the template (1-based, if known) and the fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{fault}", line.map(|line| format!("template line {line}: ")).unwrap_or_default())]
pub struct TemplateError {
    /// Line of the template source, from 1; `None` if the fault lies in the input, not in the template.
    pub line: Option<u32>,
    /// What is wrong.
    pub fault: TemplateFault,
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateFault {
    /// The source is longer than the limit.
    #[error("template source of {found_bytes} bytes is longer than {limit_bytes} bytes")]
    SourceTooLarge {
        /// Length of the source.
        found_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// The source is not a template.
    #[error("syntax error: {message}")]
    Syntax {
        /// What was found and what was expected.
        message: String,
    },
    /// Statements or expressions are nested deeper than the limit.
    #[error("template is nested deeper than {limit} levels")]
    NestedTooDeep {
        /// The limit.
        limit: usize,
    },
    /// The template itself refused the conversation, through `raise_exception`.
    #[error("{message}")]
    Raised {
        /// The template's own message.
        message: String,
    },
    /// A value that does not exist was used.
    #[error("{message}")]
    Undefined {
        /// Which value, in the words of the template language.
        message: String,
    },
    /// An operation that its operands do not have.
    #[error("{message}")]
    Type {
        /// What was tried, in the words of the template language.
        message: String,
    },
    /// A feature of Jinja that chat templates are not given.
    #[error("{what} is not available to chat templates")]
    Unsupported {
        /// The feature.
        what: String,
    },
    /// Macros or recursive loops call each other deeper than the limit.
    #[error("template calls are nested deeper than {limit} levels")]
    CallsTooDeep {
        /// The limit.
        limit: usize,
    },
    /// A list in a list in a list ... deeper than the limit.
    #[error("values are nested deeper than {limit} levels")]
    ValueTooDeep {
        /// The limit.
        limit: usize,
    },
    /// The work allowed for one rendering is used up.
    #[error("template did not finish within {limit} units of work")]
    OutOfFuel {
        /// The limit.
        limit: u64,
    },
    /// The values alive at one time take more memory than the limit.
    #[error("template needs more than {limit_bytes} bytes of memory")]
    OutOfMemory {
        /// The limit.
        limit_bytes: usize,
    },
    /// The rendered text, or one string on the way to it, is longer than the limit.
    #[error("rendered text is longer than {limit_bytes} bytes")]
    OutputTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// An extra variable that a request may not set.
    #[error("template variable `{name}` cannot be set: {reason}")]
    VariableRefused {
        /// The variable.
        name: String,
        /// Why.
        reason: &'static str,
    },
}

impl TemplateFault {
    pub(crate) fn type_error(message: impl Into<String>) -> TemplateError {
        TemplateFault::Type { message: message.into() }.into()
    }

    pub(crate) fn undefined(message: impl Into<String>) -> TemplateError {
        TemplateFault::Undefined { message: message.into() }.into()
    }

    pub(crate) fn syntax(line: u32, message: impl Into<String>) -> TemplateError {
        TemplateError { line: Some(line), fault: TemplateFault::Syntax { message: message.into() } }
    }
}

impl From<TemplateFault> for TemplateError {
    fn from(fault: TemplateFault) -> TemplateError {
        TemplateError { line: None, fault }
    }
}

impl TemplateError {
    /// The same error with a line, unless it has one already: the innermost place wins.
    pub(crate) fn at(mut self, line: u32) -> TemplateError {
        self.line.get_or_insert(line);
        self
    }

    /// What to do about it, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        let hint = match &self.fault {
            TemplateFault::SourceTooLarge { .. }
            | TemplateFault::NestedTooDeep { .. }
            | TemplateFault::CallsTooDeep { .. }
            | TemplateFault::ValueTooDeep { .. }
            | TemplateFault::OutOfFuel { .. }
            | TemplateFault::OutOfMemory { .. } => {
                "no known chat template comes near this limit: the model file may be damaged or hostile; \
                 give another template or use the completion endpoint"
            }
            TemplateFault::Syntax { .. } | TemplateFault::Unsupported { .. } => {
                "the model's chat template cannot be used: give another template or use the completion endpoint"
            }
            TemplateFault::Raised { .. } => {
                "the model's chat template does not accept this conversation: check the order and the roles of the messages"
            }
            TemplateFault::Undefined { .. } | TemplateFault::Type { .. } => {
                "the model's chat template does not expect messages of this form: check contents, tool calls and their arguments"
            }
            TemplateFault::OutputTooLarge { .. } => "shorten the conversation or load the model with a longer context",
            TemplateFault::VariableRefused { .. } => "remove the variable from the request",
        };
        Some(hint.to_owned())
    }
}
