//! The tasks: one file for each format, one list of all.

mod arc;
mod gsm8k;
mod hellaswag;
mod mmlu;
mod winogrande;

use std::fmt;
use std::str::FromStr;

use crate::{EvalError, Verdict};

/// A kind of task.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// What its known figures are made by.
    pub measure: Measure,
    read: fn(&str, &Shots) -> Result<Vec<Item>, EvalError>,
}

/// Every task there is.
const TASKS: [Task; 5] = [hellaswag::TASK, mmlu::TASK, arc::TASK, winogrande::TASK, gsm8k::TASK];

/// Among scores of answers, which way of choosing a task's known figures use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The log-probability of the whole answer.
    Plain,
    /// For each byte of the answer (`acc_norm` of lm-evaluation-harness).
    ByByte,
    /// For each token of the answer (llama-perplexity's HellaSwag score).
    ByToken,
    /// The answer is generated and compared.
    Generated,
}

impl Measure {
    /// What it is called in reports.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Plain => "log-probability",
            Measure::ByByte => "log-probability a byte",
            Measure::ByToken => "log-probability a token",
            Measure::Generated => "generated answers",
        }
    }
}

/// Solved tasks that are shown before each one: the text of a file of the same format, and how many of it.
#[derive(Clone, Debug, Default)]
pub struct Shots {
    /// The file's text.
    pub text: String,
    /// How many are shown.
    pub count: usize,
}

/// One question to a model.
#[derive(Clone, Debug)]
pub enum Item {
    /// One of several answers is to be the likeliest.
    Choices(Choices),
    /// The answer is to be generated.
    Generation(Generation),
}

/// A question with answers to choose from.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices {
    /// The answers.
    pub options: Vec<Candidate>,
    /// Index of the right one.
    pub answer: usize,
}

/// One answer: how likely is `continuation` after `context`?
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// What is given.
    pub context: String,
    /// What is scored.
    pub continuation: String,
}

/// A question whose answer is generated.
#[derive(Clone, Debug)]
pub struct Generation {
    /// What is continued.
    pub prompt: String,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Tokens the answer may have.
    pub tokens_max: usize,
    /// The right answer.
    pub answer: String,
    is_right: fn(&str, &str) -> bool,
}

impl Generation {
    /// Whether a generated text has the right answer.
    pub fn is_right(&self, text: &str) -> bool {
        (self.is_right)(text, &self.answer)
    }
}

impl Choices {
    /// Which answers are chosen, given each option's log-probability and number of tokens. Of equal scores the first wins.
    ///
    /// # Panics
    /// If there are not as many scores as options.
    pub fn verdict(&self, scores: &[(f64, usize)]) -> Verdict {
        assert_eq!(scores.len(), self.options.len(), "every option has a score");
        let best = |score: &dyn Fn(usize) -> f64| {
            let mut best = 0;
            for index in 1..scores.len() {
                if score(index) > score(best) {
                    best = index;
                }
            }
            best == self.answer
        };
        let bytes = |index: usize| self.options[index].continuation.trim_start().len().max(1) as f64;
        Verdict {
            plain: best(&|index| scores[index].0),
            by_byte: best(&|index| scores[index].0 / bytes(index)),
            by_token: best(&|index| scores[index].0 / scores[index].1.max(1) as f64),
        }
    }
}

impl Task {
    /// All tasks.
    pub fn all() -> &'static [Task] {
        &TASKS
    }

    /// Reads a file of this task's format. Every task is preceded by `shots`.
    ///
    /// # Errors
    /// [`EvalError`] names the line that is not as it should be.
    pub fn read(&self, text: &str, shots: &Shots) -> Result<Vec<Item>, EvalError> {
        let items = (self.read)(text, shots)?;
        if items.is_empty() { Err(EvalError::Empty) } else { Ok(items) }
    }

    /// The text of a file's bytes.
    ///
    /// # Errors
    /// If they are compressed, or no UTF-8.
    pub fn text(bytes: Vec<u8>) -> Result<String, EvalError> {
        for (magic, kind) in
            [(&[0x1F, 0x8B][..], "gzip"), (&b"BZh"[..], "bzip2"), (&[0x28, 0xB5, 0x2F, 0xFD][..], "zstd")]
        {
            if bytes.starts_with(magic) {
                return Err(EvalError::Compressed { kind });
            }
        }
        String::from_utf8(bytes).map_err(|error| EvalError::NotText { offset: error.utf8_error().valid_up_to() })
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(name: &str) -> Result<Task, String> {
        let names = || TASKS.map(|task| task.name).join(", ");
        TASKS
            .into_iter()
            .find(|task| task.name == name)
            .ok_or_else(|| format!("`{name}` is no task, one of {} expected", names()))
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The objects of a file with one on each line; empty lines count for nothing.
fn json_lines<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<(usize, T)>, EvalError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            let parsed = serde_json::from_str(line).map_err(|error| EvalError::line(index, error.to_string()))?;
            Ok((index, parsed))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_tasks() {
        for task in Task::all() {
            assert_eq!(task.name.parse::<Task>().map(|found| found.name), Ok(task.name));
        }
        assert!("mlu".parse::<Task>().expect_err("no task").contains("mmlu"));
    }

    #[test]
    fn compressed_files_are_told_apart() {
        assert_eq!(Task::text(b"BZh91AY".to_vec()), Err(EvalError::Compressed { kind: "bzip2" }));
        assert_eq!(Task::text(vec![b'a', 0xFF]), Err(EvalError::NotText { offset: 1 }));
        assert_eq!(Task::text(b"text".to_vec()).as_deref(), Ok("text"));
    }

    #[test]
    fn long_answers_win_by_length_only_where_length_counts() {
        let option = |text: &str| Candidate { context: "Q".into(), continuation: text.into() };
        let choices = Choices { options: vec![option(" no"), option(" a long answer")], answer: 1 };
        let verdict = choices.verdict(&[(-2.0, 1), (-6.0, 4)]);
        assert_eq!(verdict, Verdict { plain: false, by_byte: true, by_token: true });
        // Of equal scores the first wins.
        assert!(!choices.verdict(&[(-2.0, 1), (-2.0, 1)]).plain);
    }
}
