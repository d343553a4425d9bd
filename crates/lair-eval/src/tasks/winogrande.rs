//! WinoGrande (Sakaguchi et al., "WinoGrande: An Adversarial Winograd Schema Challenge at Scale"): which of two words fills
//! the gap.
//!
//! One object a line: `sentence` with a `_`, `option1`, `option2`, `answer` ("1" or "2"). What follows the gap is scored after
//! each of the words (Trinh and Le, "A Simple Method for Commonsense Reasoning", partial scoring).

use serde::Deserialize;

use super::{Candidate, Choices, Item, Measure, Shots, Task, json_lines};
use crate::EvalError;

pub(super) const TASK: Task = Task {
    name: "winogrande",
    source: "JSON lines: sentence, option1, option2, answer",
    measure: Measure::Plain,
    read,
};

#[derive(Deserialize)]
struct Line {
    sentence: String,
    option1: String,
    option2: String,
    answer: String,
}

/// Before the gap, behind it, the words, the right one.
type Parts = (String, String, [String; 2], usize);

fn lines(text: &str) -> Result<Vec<Parts>, EvalError> {
    json_lines::<Line>(text)?
        .into_iter()
        .map(|(index, line)| {
            let Some((before, behind)) = line.sentence.split_once('_') else {
                return Err(EvalError::line(index, "the sentence has no `_`"));
            };
            let answer = match line.answer.as_str() {
                "1" => 0,
                "2" => 1,
                other => return Err(EvalError::line(index, format!("the answer is `{other}`, 1 or 2 expected"))),
            };
            Ok((before.to_owned(), behind.to_owned(), [line.option1, line.option2], answer))
        })
        .collect()
}

fn read(text: &str, shots: &Shots) -> Result<Vec<Item>, EvalError> {
    let solved = lines(&shots.text)?.into_iter().take(shots.count);
    let preface: String =
        solved.map(|(before, behind, words, answer)| format!("{before}{}{behind}\n\n", words[answer])).collect();
    let item = |(before, behind, words, answer): Parts| {
        let option =
            |word: &String| Candidate { context: format!("{preface}{before}{word}"), continuation: behind.clone() };
        Item::Choices(Choices { options: words.iter().map(option).collect(), answer })
    };
    Ok(lines(text)?.into_iter().map(item).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_gap_is_scored() {
        let text = r#"{"sentence": "The cup fits not into the box as the _ is too large.", "option1": "cup", "option2": "box", "answer": "1"}"#;
        let Item::Choices(choices) = &TASK.read(text, &Shots::default()).expect("a task")[0] else { panic!("choices") };
        assert_eq!(choices.answer, 0);
        assert_eq!(choices.options[1].context, "The cup fits not into the box as the box");
        assert_eq!(choices.options[1].continuation, " is too large.");
        let error = |text: &str| TASK.read(text, &Shots::default()).expect_err("wrong").to_string();
        assert_eq!(error(&text.replace('_', "cup")), "line 1: the sentence has no `_`");
        assert_eq!(error(&text.replace(r#""1""#, r#""""#)), "line 1: the answer is ``, 1 or 2 expected");
    }
}
