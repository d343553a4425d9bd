//! Scores the answers of tasks: what stands before them is computed once, and all of them in one step behind it.
//!
//! For four answers of 25 tokens behind a context of 80 that leaves 180 rows of 420, and logits of 100. What a context has
//! in common with the one before, as examples that every task shows first, is not computed again either.

use std::sync::Arc;

use lair_compute::cpu::{Cpu, CpuOptions};
use lair_compute::{Batch, PAGE_LENGTH, PageId, SequenceRows, StateSlot};
use lair_engine::{MemoryOptions, ModelRunner, Runner};
use lair_eval::{Choices, log_sum_exp};
use lair_gguf::GgufFile;
use lair_model::{LoadOptions, Model};
use lair_text::prompt::tokens_of_text;
use lair_text::tokenizer::{Special, Tokenizer};

use crate::commands::perplexity::not_finite;
use crate::failure::{ExitCode, Failure};
use crate::predictor::{Precision, logits_rows_max};
use crate::session::{check_weights_fit, model_failure};

/// An answer as the model reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizedOption {
    /// What stands before it, and the answer.
    tokens: Vec<u32>,
    /// Index of the answer's first token.
    first: usize,
}

impl TokenizedOption {
    /// Tokens that are computed: the last one predicts nothing.
    fn computed(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }

    /// Tokens whose log-probabilities count.
    fn scored(&self) -> usize {
        self.tokens.len().saturating_sub(self.first)
    }
}

/// A task's answers as the model reads them.
#[derive(Clone, Debug)]
pub struct TokenizedChoices {
    options: Vec<TokenizedOption>,
    /// Tokens that all of them begin with. The last token of none is among them: it predicts nothing.
    shared: usize,
}

impl TokenizedChoices {
    /// Each answer is tokenised together with what stands before it, as the model would have read them. Its tokens are those
    /// behind what the context alone has in common with the whole, so that a token across the border counts for the
    /// answer.
    pub fn new(tokenizer: &Tokenizer, choices: &Choices) -> TokenizedChoices {
        let tokens_of = |text: &str| tokens_of_text(tokenizer, text, Special::AsText);
        let mut contexts: Option<(&str, Vec<u32>)> = None;
        let mut options = Vec::with_capacity(choices.options.len());
        for candidate in &choices.options {
            let tokens = tokens_of(&format!("{}{}", candidate.context, candidate.continuation));
            let context = match &mut contexts {
                Some((text, tokens)) if *text == candidate.context => tokens,
                place => &mut place.insert((candidate.context.as_str(), tokens_of(&candidate.context))).1,
            };
            // The first token has nothing before it.
            let first = common(&tokens, context).min(tokens.len().saturating_sub(1)).max(1);
            options.push(TokenizedOption { tokens, first });
        }
        let first = options.first().map_or(&[][..], |option| &option.tokens);
        let alike = options.iter().map(|option| common(&option.tokens, first).min(option.computed()));
        let shared = alike.min().unwrap_or(0);
        TokenizedChoices { options, shared }
    }

    /// Tokens of the longest answer with what stands before it.
    pub fn length(&self) -> usize {
        self.options.iter().map(|option| option.tokens.len()).max().unwrap_or(0)
    }

    /// Pages that the answers need beside those of what they share.
    fn branch_pages(&self) -> usize {
        self.options.iter().map(|option| own_pages(option.computed(), self.shared)).sum()
    }

    /// The first place whose logits count for some answer.
    fn first_place(&self) -> usize {
        self.options.iter().map(|option| option.first - 1).min().unwrap_or(0)
    }
}

/// Pages of `length` positions that do not lie whole in the first `shared` positions.
fn own_pages(length: usize, shared: usize) -> usize {
    length.div_ceil(PAGE_LENGTH) - (shared / PAGE_LENGTH).min(length.div_ceil(PAGE_LENGTH))
}

/// How many tokens two texts begin with alike.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A loaded model with memory for the tasks it was made for.
pub struct ChoiceScorer {
    runner: ModelRunner<Cpu>,
    rows_max: usize,
    logits: Vec<f32>,
    /// Tokens whose keys and values lie in the first pages.
    held: Vec<u32>,
    held_pages: Vec<PageId>,
    branch_pages: Vec<PageId>,
    /// Rows that were computed.
    pub rows_computed: usize,
}

impl ChoiceScorer {
    /// Loads a model and makes room for these tasks.
    ///
    /// # Errors
    /// If the model cannot be loaded, a task is longer than its context, or there is no memory.
    pub fn load(
        file: &GgufFile,
        precision: Precision,
        (threads, context_length): (Option<usize>, Option<usize>),
        tasks: &[TokenizedChoices],
    ) -> Result<ChoiceScorer, Failure> {
        check_weights_fit(file, crate::machine::available_memory_bytes())?;
        let backend = Cpu::new(CpuOptions { threads, ..CpuOptions::default() })
            .map_err(|error| Failure::new(ExitCode::Engine, error))?
            .with_activations(precision.activations);
        let length = tasks.iter().map(TokenizedChoices::length).max().unwrap_or(0);
        let most = |part: fn(&TokenizedChoices) -> usize| tasks.iter().map(part).max().unwrap_or(0);
        let model = Model::load(file, &backend, LoadOptions { context_length }).map_err(model_failure)?;
        if !model.has_logits() {
            return Err(Failure::new(ExitCode::BadModel, "an embedding model predicts no answers"));
        }
        if !model.generates_one_by_one() {
            let cause = "answers cannot be scored with a model that does not predict token by token";
            return Err(Failure::new(ExitCode::BadModel, cause));
        }
        file.check_unchanged()?;
        if length > model.context_length() {
            let cause = format!("a task has {length} tokens, the context {}", model.context_length());
            return Err(
                Failure::new(ExitCode::DoesNotFit, cause).with_hint("show fewer solved tasks with --shots".to_owned())
            );
        }
        let vocabulary_size = model.vocabulary_size();
        let rows_max = logits_rows_max(vocabulary_size);
        let shared_pages = most(|task| task.shared.div_ceil(PAGE_LENGTH));
        let page_count = shared_pages + most(TokenizedChoices::branch_pages);
        let branches = most(|task| task.options.len());
        let memory = MemoryOptions { kv_element: precision.kv, page_count, state_slot_count: 1 + branches, rows_max };
        let runner = ModelRunner::new(Arc::new(model), backend, length.max(1), memory)
            .map_err(|error| Failure::new(ExitCode::DoesNotFit, error))?;
        let pages = |range: std::ops::Range<usize>| range.map(|page| PageId(page as u32)).collect();
        Ok(ChoiceScorer {
            runner,
            rows_max,
            logits: vec![0.0; rows_max * vocabulary_size],
            held: Vec::new(),
            held_pages: pages(0..shared_pages),
            branch_pages: pages(shared_pages..page_count),
            rows_computed: 0,
        })
    }

    /// Log-probability of each answer, and how many tokens it has.
    ///
    /// # Errors
    /// If a logit is not finite.
    ///
    /// # Panics
    /// If the task is not one of those it was made for.
    pub fn score(&mut self, task: &TokenizedChoices) -> Result<Vec<(f64, usize)>, Failure> {
        // An answer without a token that has something before it cannot be scored.
        let mut scores: Vec<(f64, usize)> = task
            .options
            .iter()
            .map(|option| if option.tokens.len() < 2 { (f64::NEG_INFINITY, 1) } else { (0.0, option.scored()) })
            .collect();
        self.hold(task, &mut scores)?;
        let mut next = 0;
        while next < task.options.len() {
            let mut end = next;
            let mut rows = 0;
            while end < task.options.len() {
                let more = task.options[end].computed().saturating_sub(task.shared);
                if end > next && rows + more > self.rows_max {
                    break;
                }
                rows += more;
                end += 1;
            }
            if rows > self.rows_max {
                self.run_long(task, next, &mut scores)?;
            } else if rows > 0 {
                self.run_together(task, next..end, &mut scores)?;
            }
            next = end;
        }
        Ok(scores)
    }

    /// Computes what all answers share, as far as it is not held from the task before.
    fn hold(&mut self, task: &TokenizedChoices, scores: &mut [(f64, usize)]) -> Result<(), Failure> {
        let shared = &task.options[0].tokens[..task.shared];
        let known = common(&self.held, shared);
        // A recurrent state is that behind the last token held, and no other.
        let is_recurrent = self.runner.state_slot_count() > 0;
        let known = if is_recurrent && known < self.held.len() { 0 } else { known };
        // Places that count are computed again: their logits are not held.
        let start = if is_recurrent && task.first_place() < known { 0 } else { known.min(task.first_place()) };
        self.held.truncate(start);
        if start == 0 && is_recurrent {
            self.runner.clear_state(StateSlot(0));
        }
        let pages = self.held_pages.clone();
        let all: Vec<usize> = (0..task.options.len()).collect();
        let slot = is_recurrent.then_some(StateSlot(0));
        self.run(task, (start, task.shared), (&pages, slot), (&all, scores))?;
        self.held.extend_from_slice(&shared[start..]);
        Ok(())
    }

    /// The answers of a range, each behind what is held, in one step.
    fn run_together(
        &mut self,
        task: &TokenizedChoices,
        range: std::ops::Range<usize>,
        scores: &mut [(f64, usize)],
    ) -> Result<(), Failure> {
        let tables = self.branch_tables(task, range.clone());
        let is_recurrent = self.runner.state_slot_count() > 0;
        let (mut tokens, mut sequences, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        // Of each row that is wanted: which answer, and the token that comes.
        let mut awaited = Vec::new();
        for (index, table) in range.zip(&tables) {
            let option = &task.options[index];
            let rows = &option.tokens[task.shared.min(option.computed())..option.computed()];
            if rows.is_empty() {
                continue;
            }
            for row in 0..rows.len() {
                let place = task.shared + row;
                if place + 1 >= option.first {
                    wanted.push(tokens.len() + row);
                    awaited.push((index, option.tokens[place + 1]));
                }
            }
            sequences.push(SequenceRows {
                first_row: tokens.len(),
                row_count: rows.len(),
                first_position: task.shared,
                page_table: table,
                state_slot: is_recurrent.then_some(StateSlot(1 + index as u32)),
                adapter_scales: &[],
            });
            tokens.extend_from_slice(rows);
        }
        let logits = self.step(&Batch { tokens: &tokens, sequences: &sequences }, &wanted);
        add_all(logits, &awaited, scores)
    }

    /// One answer that is longer than a step.
    fn run_long(&mut self, task: &TokenizedChoices, index: usize, scores: &mut [(f64, usize)]) -> Result<(), Failure> {
        let tables = self.branch_tables(task, index..index + 1);
        let slot = (self.runner.state_slot_count() > 0).then_some(StateSlot(1 + index as u32));
        let end = task.options[index].computed();
        self.run(task, (task.shared, end), (&tables[0], slot), (&[index], scores))
    }

    /// Pages for the answers of a range: those that are held whole, then copies of the one that is held in part, then new
    /// ones. States are copied as well.
    fn branch_tables(&mut self, task: &TokenizedChoices, range: std::ops::Range<usize>) -> Vec<Vec<PageId>> {
        let whole = task.shared / PAGE_LENGTH;
        let has_part = !task.shared.is_multiple_of(PAGE_LENGTH);
        let mut free = self.branch_pages.iter().copied();
        let mut tables = Vec::new();
        for index in range {
            let own = own_pages(task.options[index].computed(), task.shared);
            let mut table = self.held_pages[..whole].to_vec();
            table.extend(free.by_ref().take(own));
            if has_part && own > 0 {
                self.runner.copy_page(self.held_pages[whole], table[whole]);
            }
            if self.runner.state_slot_count() > 0 {
                self.runner.copy_state(StateSlot(0), StateSlot(1 + index as u32));
            }
            tables.push(table);
        }
        tables
    }

    /// Computes places `start..end` of the first of some answers, which agree there, and adds what counts to all of them.
    fn run(
        &mut self,
        task: &TokenizedChoices,
        (start, end): (usize, usize),
        (pages, slot): (&[PageId], Option<StateSlot>),
        (indices, scores): (&[usize], &mut [(f64, usize)]),
    ) -> Result<(), Failure> {
        let tokens = &task.options[indices[0]].tokens;
        for position in (start..end).step_by(self.rows_max) {
            let step = &tokens[position..end.min(position + self.rows_max)];
            let counts = |place: usize, index: usize| {
                let option = &task.options[index];
                place + 1 >= option.first && place + 1 < option.tokens.len()
            };
            let is_wanted = |row: &usize| indices.iter().any(|index| counts(position + row, *index));
            let wanted: Vec<usize> = (0..step.len()).filter(is_wanted).collect();
            let rows = SequenceRows {
                first_row: 0,
                row_count: step.len(),
                first_position: position,
                page_table: pages,
                state_slot: slot,
                adapter_scales: &[],
            };
            let vocabulary = self.runner.vocabulary_size();
            let logits = self.step(&Batch { tokens: step, sequences: &[rows] }, &wanted);
            for (row, logits) in wanted.iter().zip(logits.chunks_exact(vocabulary)) {
                let place = position + row;
                let total = log_sum_exp(logits).map_err(not_finite)?;
                for &index in indices.iter().filter(|index| counts(place, **index)) {
                    scores[index].0 += f64::from(logits[task.options[index].tokens[place + 1] as usize]) - total;
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, batch: &Batch<'_>, wanted: &[usize]) -> &[f32] {
        self.rows_computed += batch.tokens.len();
        let logits = &mut self.logits[..wanted.len() * self.runner.vocabulary_size()];
        self.runner.step(batch, wanted, logits);
        logits
    }
}

/// Adds the log-probability of each awaited token to its answer.
fn add_all(logits: &[f32], awaited: &[(usize, u32)], scores: &mut [(f64, usize)]) -> Result<(), Failure> {
    let vocabulary = logits.len() / awaited.len().max(1);
    for (&(index, token), logits) in awaited.iter().zip(logits.chunks_exact(vocabulary.max(1))) {
        let total = log_sum_exp(logits).map_err(not_finite)?;
        scores[index].0 += f64::from(logits[token as usize]) - total;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lair_compute::KvElement;
    use lair_compute::cpu::{ActivationType, ActivationTypes};
    use lair_eval::Candidate;
    use lair_testkit::shared_data;

    use super::*;
    use crate::predictor::{Predictor, PredictorOptions};

    const PRECISION: Precision =
        Precision { activations: ActivationTypes::all(ActivationType::F32), kv: KvElement::F32 };

    fn choices(context: &str, answers: &[&str]) -> Choices {
        let option = |answer: &&str| Candidate { context: context.to_owned(), continuation: (*answer).to_owned() };
        Choices { options: answers.iter().map(option).collect(), answer: 0 }
    }

    /// Each answer by itself, from the beginning.
    fn alone(model: &mut Predictor, option: &TokenizedOption) -> f64 {
        let vocabulary = model.vocabulary_size();
        let mut score = 0.0;
        model
            .predict(&option.tokens, option.first - 1, |place, logits| {
                for (logits, token) in logits.chunks_exact(vocabulary).zip(&option.tokens[place + 1..]) {
                    score += f64::from(logits[*token as usize]) - log_sum_exp(logits).map_err(not_finite)?;
                }
                Ok(())
            })
            .expect("finite");
        score
    }

    #[test]
    fn answers_scored_together_have_the_scores_they_have_alone() {
        let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
        let file = GgufFile::open(path).expect("a model");
        let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a vocabulary");
        let long = "Once upon a time there was a little girl. She had a red ball and a dog. ".repeat(3);
        let tasks = [
            choices("Once upon a time there was a", &[" dog.", " little dog who ran away.", " little girl.", " x"]),
            // Begins as the one before; the answers have nothing in common.
            choices("Once upon a time there was", &[" a", "n old man", ", far away, a very small house in a wood."]),
            choices(&long, &[" The dog ran.", " The dog sat.", " They ate."]),
            choices(&format!("{long} Tom"), &[" ran.", &" ran and ran".repeat(9)]),
            // Whole answers that others begin with, and contexts that differ.
            choices("Tom", &[" ran", " ran away", " ran away"]),
            Choices {
                options: vec![
                    choices("He", &[" ran."]).options[0].clone(),
                    choices("A she", &[" ran."]).options[0].clone(),
                ],
                answer: 0,
            },
        ];
        let tasks: Vec<TokenizedChoices> =
            tasks.iter().map(|choices| TokenizedChoices::new(&tokenizer, choices)).collect();
        let mut scorer = ChoiceScorer::load(&file, PRECISION, (Some(2), None), &tasks).expect("it fits");
        let options = PredictorOptions { length: 256, threads: Some(1), precision: PRECISION, taps: None };
        let mut model = Predictor::load(&file, &options).expect("it fits");
        // Twice, so that what is held is that of another task, and of the same.
        for task in tasks.iter().chain(tasks.iter().rev()) {
            let found = scorer.score(task).expect("finite");
            for (option, (score, count)) in task.options.iter().zip(found) {
                assert_eq!(count, option.scored());
                let expected = alone(&mut model, option);
                assert!((score - expected).abs() < 1e-9 * expected.abs().max(1.0), "{score}, alone {expected}");
            }
        }
    }

    #[test]
    fn what_tasks_share_is_computed_once() {
        let Some(path) = shared_data("models/stories260K-f32.gguf") else { return };
        let file = GgufFile::open(path).expect("a model");
        let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("a vocabulary");
        let preface = "Once upon a time there was a little girl. She had a red ball. ".repeat(4);
        let task = |name: &str| {
            TokenizedChoices::new(&tokenizer, &choices(&format!("{preface}{name}"), &[" ran.", " sat down."]))
        };
        let tasks = [task("Tom"), task("Lily")];
        let mut scorer = ChoiceScorer::load(&file, PRECISION, (Some(1), None), &tasks).expect("it fits");
        scorer.score(&tasks[0]).expect("finite");
        let first = scorer.rows_computed;
        scorer.score(&tasks[1]).expect("finite");
        let second = scorer.rows_computed - first;
        assert!(first > 80 && second < 30, "{first} rows, then {second}");
    }
}
