//! ARC (Clark et al., "Think you have Solved Question Answering? Try ARC"): which answer follows a question.
//!
//! One object a line: `question`, `options` (each a `label` and a `text`), `answer` (a label). The prompt is that of
//! lm-evaluation-harness.

use serde::Deserialize;

use super::{Candidate, Choices, Item, Measure, Shots, Task, json_lines};
use crate::EvalError;

pub(super) const TASK: Task =
    Task { name: "arc", source: "JSON lines: question, options, answer", measure: Measure::ByByte, read };

#[derive(Deserialize)]
struct Line {
    question: String,
    options: Vec<Labelled>,
    answer: String,
}

#[derive(Deserialize)]
struct Labelled {
    label: String,
    text: String,
}

fn lines(text: &str) -> Result<Vec<(Line, usize)>, EvalError> {
    json_lines::<Line>(text)?
        .into_iter()
        .map(|(index, line)| {
            let answer = line.options.iter().position(|option| option.label == line.answer);
            let cause = || format!("the answer `{}` is the label of no option", line.answer);
            let answer = answer.ok_or_else(|| EvalError::line(index, cause()))?;
            Ok((line, answer))
        })
        .collect()
}

fn read(text: &str, shots: &Shots) -> Result<Vec<Item>, EvalError> {
    let solved = lines(&shots.text)?.into_iter().take(shots.count);
    let preface: String = solved
        .map(|(line, answer)| format!("Question: {}\nAnswer: {}\n\n", line.question, line.options[answer].text))
        .collect();
    let item = |(line, answer): (Line, usize)| {
        let context = format!("{preface}Question: {}\nAnswer:", line.question);
        let option =
            |option: &Labelled| Candidate { context: context.clone(), continuation: format!(" {}", option.text) };
        Item::Choices(Choices { options: line.options.iter().map(option).collect(), answer })
    };
    Ok(lines(text)?.into_iter().map(item).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_the_answer() {
        let text = r#"{"question": "Why?", "options": [{"label": "1", "text": "so"}, {"label": "2", "text": "no"}], "answer": "2"}"#;
        let shots = Shots { text: text.into(), count: 1 };
        let Item::Choices(choices) = &TASK.read(text, &shots).expect("a task")[0] else { panic!("choices") };
        assert_eq!(choices.answer, 1);
        assert_eq!(choices.options[0].context, "Question: Why?\nAnswer: no\n\nQuestion: Why?\nAnswer:");
        let wrong = text.replace(r#""answer": "2""#, r#""answer": "D""#);
        let error = TASK.read(&wrong, &Shots::default()).expect_err("wrong").to_string();
        assert_eq!(error, "line 1: the answer `D` is the label of no option");
    }
}
