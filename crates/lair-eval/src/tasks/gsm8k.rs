//! GSM8K (Cobbe et al., "Training Verifiers to Solve Math Word Problems"): the number that solves a problem.
//!
//! One object a line: `question`, `answer`, whose last line is `#### NUMBER`. The answer is generated, and the number behind
//! `####` in it, or the last one, is compared.

use serde::Deserialize;

use super::{Generation, Item, Measure, Shots, Task, json_lines};
use crate::EvalError;

pub(super) const TASK: Task =
    Task { name: "gsm8k", source: "JSON lines: question, answer", measure: Measure::Generated, read };

/// Tokens that a solution may have.
const TOKENS_MAX: usize = 320;

#[derive(Deserialize)]
struct Line {
    question: String,
    answer: String,
}

/// A problem, its solution, the number.
type Parts = (String, String, String);

fn lines(text: &str) -> Result<Vec<Parts>, EvalError> {
    json_lines::<Line>(text)?
        .into_iter()
        .map(|(index, line)| {
            let number = line.answer.rsplit_once("####").map(|(_, number)| plain_number(number.trim()));
            let number = number.filter(|number| number.parse::<f64>().is_ok());
            let number = number.ok_or_else(|| EvalError::line(index, "the answer does not end in `#### NUMBER`"))?;
            Ok((line.question, line.answer, number))
        })
        .collect()
}

fn read(text: &str, shots: &Shots) -> Result<Vec<Item>, EvalError> {
    let solved = lines(&shots.text)?.into_iter().take(shots.count);
    let preface: String =
        solved.map(|(question, answer, _)| format!("Question: {question}\nAnswer: {answer}\n\n")).collect();
    let item = |(question, _, number): Parts| {
        Item::Generation(Generation {
            prompt: format!("{preface}Question: {question}\nAnswer:"),
            stop: vec!["Question:".into(), "\n\n\n".into()],
            tokens_max: TOKENS_MAX,
            answer: number,
            is_right,
        })
    };
    Ok(lines(text)?.into_iter().map(item).collect())
}

/// Without what groups digits or names a unit.
fn plain_number(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_digit() || matches!(c, '.' | '-'))
        .collect::<String>()
        .trim_end_matches('.')
        .to_owned()
}

/// The number that a text gives as its answer.
fn answer_of(text: &str) -> Option<f64> {
    let text = match text.split_once("####") {
        Some((_, behind)) => behind.lines().next().unwrap_or_default(),
        None => text,
    };
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '-');
    let words = text.split(|c: char| !is_part(c)).filter(|word| word.contains(|c: char| c.is_ascii_digit()));
    let mut numbers = words.filter_map(|word| plain_number(word.trim_matches(',')).parse().ok());
    // Behind the mark stands the number; without one the last is meant.
    numbers.next_back()
}

fn is_right(text: &str, answer: &str) -> bool {
    let Ok(expected) = answer.parse::<f64>() else { return false };
    answer_of(text).is_some_and(|found| (found - expected).abs() <= 1e-6 * expected.abs().max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_where_they_stand() {
        for (text, number, expected) in [
            ("She has 3 eggs.\n#### 18", "18", true),
            ("so 9 * 2 = $18.", "18", true),
            ("The total is $1,080.00 a year", "1080", true),
            ("first 18, then 20", "18", false),
            ("#### 1,000,000\nQuestion", "1000000", true),
            ("it is -5", "-5", true),
            ("nothing", "18", false),
            ("--", "1", false),
        ] {
            assert_eq!(is_right(text, number), expected, "{text}");
        }
    }

    #[test]
    fn solutions_are_shots() {
        let text = r#"{"question": "2 + 2?", "answer": "2 + 2 = 4\n#### 4"}"#;
        let shots = Shots { text: text.into(), count: 1 };
        let Item::Generation(item) = &TASK.read(text, &shots).expect("a task")[0] else { panic!("generated") };
        assert_eq!(item.prompt, "Question: 2 + 2?\nAnswer: 2 + 2 = 4\n#### 4\n\nQuestion: 2 + 2?\nAnswer:");
        assert!(item.is_right("= 4") && !item.is_right("= 5"));
        let error = TASK.read(r#"{"question": "", "answer": "4"}"#, &Shots::default()).expect_err("wrong").to_string();
        assert_eq!(error, "line 1: the answer does not end in `#### NUMBER`");
    }
}
