//! HellaSwag (Zellers et al., "HellaSwag: Can a Machine Really Finish Your Sentence?"): which of four endings follows.
//!
//! The layout is that of llama-perplexity's `--hellaswag`: six lines a task, the beginning, the index of the right ending,
//! four endings.

use super::{Candidate, Choices, Item, Measure, Shots, Task};
use crate::EvalError;

pub(super) const TASK: Task = Task { name: "hellaswag", source: "six lines a task", measure: Measure::ByToken, read };

const LINES: usize = 6;

fn read(text: &str, shots: &Shots) -> Result<Vec<Item>, EvalError> {
    let preface = preface(&shots.text, shots.count)?;
    let tasks = tasks(text)?.into_iter().map(|(context, endings, answer)| {
        let context = format!("{preface}{context}");
        let option = |ending: &String| Candidate { context: context.clone(), continuation: format!(" {ending}") };
        Item::Choices(Choices { options: endings.iter().map(option).collect(), answer })
    });
    Ok(tasks.collect())
}

fn preface(text: &str, count: usize) -> Result<String, EvalError> {
    let solved = tasks(text)?.into_iter().take(count);
    Ok(solved.map(|(context, endings, answer)| format!("{context} {}\n\n", endings[answer])).collect())
}

type Parts = (String, Vec<String>, usize);

fn tasks(text: &str) -> Result<Vec<Parts>, EvalError> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let filled = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    let mut tasks = Vec::new();
    for (number, lines) in lines[..filled].chunks(LINES).enumerate() {
        let first = number * LINES;
        if lines.len() < LINES {
            let cause = format!("the last task has {} lines, {LINES} expected", lines.len());
            return Err(EvalError::line(first, cause));
        }
        let answer = lines[1].parse().ok().filter(|answer: &usize| *answer < LINES - 2);
        let cause = || format!("`{}` is no index of an ending, 0 to 3 expected", lines[1]);
        let answer = answer.ok_or_else(|| EvalError::line(first + 1, cause()))?;
        tasks.push((lines[0].to_owned(), lines[2..].iter().map(|line| (*line).to_owned()).collect(), answer));
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "A man sits. he\n3\nruns.\nflies.\nsings.\nstands.\nA dog barks. it\n0\na\nb\nc\nd\n";

    #[test]
    fn six_lines_are_a_task() {
        let items = TASK.read(TWO, &Shots::default()).expect("two tasks");
        assert_eq!(items.len(), 2);
        let Item::Choices(first) = &items[0] else { panic!("choices") };
        assert_eq!(first.answer, 3);
        assert_eq!(first.options[1], Candidate { context: "A man sits. he".into(), continuation: " flies.".into() });
        let shots = Shots { text: TWO.into(), count: 1 };
        let Item::Choices(second) = &TASK.read(TWO, &shots).expect("two tasks")[1] else { panic!("choices") };
        assert_eq!(second.options[0].context, "A man sits. he stands.\n\nA dog barks. it");
    }

    #[test]
    fn wrong_lines_are_named() {
        let error = |text| TASK.read(text, &Shots::default()).expect_err("wrong").to_string();
        assert_eq!(error("a\n4\nb\nc\nd\ne\n"), "line 2: `4` is no index of an ending, 0 to 3 expected");
        assert_eq!(error("a\n1\nb\n"), "line 1: the last task has 3 lines, 6 expected");
        assert_eq!(error("\n\n"), "the file has no tasks");
    }
}
