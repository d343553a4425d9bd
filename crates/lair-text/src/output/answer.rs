//! An answer, taken apart while it comes: reasoning, content, calls of tools.

use super::{Channel, ReasoningSplitter};

/// A piece of what an answer says. The pieces of one kind that follow each other belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Thinking aloud.
    Reasoning(String),
    /// The answer itself.
    Content(String),
    /// A tool is called.
    CallBegin {
        /// Which call of the answer, from 0.
        index: usize,
        /// The name that the model gave the call; empty if it gave none.
        id: String,
        /// The tool.
        name: String,
    },
    /// More of the JSON text of a call's arguments.
    CallArguments {
        /// Which call.
        index: usize,
        /// The text.
        text: String,
    },
    /// A call is complete: its arguments are the JSON text of an object.
    CallEnd {
        /// Which call.
        index: usize,
    },
    /// What began as a call is none: it is malformed, or the answer ended in the midst of it.
    CallBroken {
        /// Which call.
        index: usize,
        /// All that the model wrote of it.
        text: String,
    },
}

/// Takes an answer apart.
#[derive(Debug, Default)]
pub struct AnswerReader {
    reasoning: Option<ReasoningSplitter>,
}

impl AnswerReader {
    /// A reader of an answer whose reasoning this splits off; without it all is content.
    pub fn new(reasoning: Option<ReasoningSplitter>) -> AnswerReader {
        AnswerReader { reasoning }
    }

    /// Takes the next piece of text and gives what is certain, in order.
    pub fn push(&mut self, piece: &str) -> Vec<Part> {
        match &mut self.reasoning {
            Some(splitter) => splitter.push(piece).into_iter().map(part).collect(),
            None if piece.is_empty() => Vec::new(),
            None => vec![Part::Content(piece.to_owned())],
        }
    }

    /// What was held back when the answer ends.
    pub fn finish(&mut self) -> Vec<Part> {
        self.reasoning.iter_mut().flat_map(ReasoningSplitter::finish).map(part).collect()
    }
}

fn part((channel, text): (Channel, String)) -> Part {
    match channel {
        Channel::Reasoning => Part::Reasoning(text),
        Channel::Answer => Part::Content(text),
    }
}
