//! MMLU (Hendrycks et al., "Measuring Massive Multitask Language Understanding"): which letter answers a question.
//!
//! One object a line: `subject`, `question`, `choices`, `answer` (an index). The prompt is that of the paper's evaluation.

use serde::Deserialize;

use super::{Candidate, Choices, Item, Measure, Shots, Task, json_lines};
use crate::EvalError;

pub(super) const TASK: Task =
    Task { name: "mmlu", source: "JSON lines: subject, question, choices, answer", measure: Measure::Plain, read };

const LETTERS: &str = "ABCDEFGHIJ";

#[derive(Deserialize)]
struct Line {
    subject: String,
    question: String,
    choices: Vec<String>,
    answer: usize,
}

fn lines(text: &str) -> Result<Vec<Line>, EvalError> {
    json_lines::<Line>(text)?
        .into_iter()
        .map(|(index, line)| {
            let count = line.choices.len();
            if !(2..=LETTERS.len()).contains(&count) || line.answer >= count {
                let cause =
                    format!("answer {} of {count} choices, an index of 2 to {} expected", line.answer, LETTERS.len());
                return Err(EvalError::line(index, cause));
            }
            Ok(line)
        })
        .collect()
}

fn letter(index: usize) -> &'static str {
    &LETTERS[index..=index]
}

fn asked(line: &Line) -> String {
    let choices: String =
        line.choices.iter().enumerate().map(|(index, text)| format!("{}. {text}\n", letter(index))).collect();
    format!("{}\n{choices}Answer:", line.question.trim())
}

fn read(text: &str, shots: &Shots) -> Result<Vec<Item>, EvalError> {
    let solved = lines(&shots.text)?;
    let item = |line: &Line| {
        let subject = line.subject.replace('_', " ");
        let mut context = format!("The following are multiple choice questions (with answers) about {subject}.\n\n");
        for shot in solved.iter().filter(|shot| shot.subject == line.subject).take(shots.count) {
            context += &format!("{} {}\n\n", asked(shot), letter(shot.answer));
        }
        context += &asked(line);
        let option = |index| Candidate { context: context.clone(), continuation: format!(" {}", letter(index)) };
        Item::Choices(Choices { options: (0..line.choices.len()).map(option).collect(), answer: line.answer })
    };
    Ok(lines(text)?.iter().map(item).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shots_are_of_the_same_subject() {
        let text = r#"{"subject": "high_school_biology", "question": "Q?", "choices": ["x", "y"], "answer": 1}"#;
        let other = r#"{"subject": "law", "question": "L?", "choices": ["x", "y"], "answer": 0}"#;
        let shots = Shots { text: format!("{other}\n{text}"), count: 5 };
        let Item::Choices(choices) = &TASK.read(text, &shots).expect("a task")[0] else { panic!("choices") };
        let expected = "The following are multiple choice questions (with answers) about high school biology.\n\n\
            Q?\nA. x\nB. y\nAnswer: B\n\nQ?\nA. x\nB. y\nAnswer:";
        assert_eq!(choices.options[1], Candidate { context: expected.into(), continuation: " B".into() });
        assert_eq!(choices.answer, 1);
    }

    #[test]
    fn wrong_answers_are_named() {
        let text = r#"{"subject": "a", "question": "Q?", "choices": ["x", "y"], "answer": 2}"#;
        let error = TASK.read(text, &Shots::default()).expect_err("wrong").to_string();
        assert_eq!(error, "line 1: answer 2 of 2 choices, an index of 2 to 10 expected");
        assert!(
            TASK.read("{}", &Shots::default()).expect_err("wrong").to_string().starts_with("line 1: missing field")
        );
    }
}
