//! Reasoning: the part of an answer in which a model thinks aloud, between tags of its own.

use super::overlap;

/// What a piece of an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Thinking aloud.
    Reasoning,
    /// The answer itself.
    Answer,
}

/// The tags of a family of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasoningStyle {
    /// Stands before the reasoning.
    pub open: &'static str,
    /// Stands after it.
    pub close: &'static str,
}

/// Every style, the most telling first: a template that writes the last may mention the ones before only in passing.
///
/// Sources: the chat templates of gpt-oss, Magistral, Seed-OSS, Command A Reasoning, and of DeepSeek-R1, Qwen3 and most
/// others.
const STYLES: [ReasoningStyle; 5] = [
    ReasoningStyle {
        open: "<|channel|>analysis<|message|>",
        close: "<|end|><|start|>assistant<|channel|>final<|message|>",
    },
    ReasoningStyle { open: "[THINK]", close: "[/THINK]" },
    ReasoningStyle { open: "<seed:think>", close: "</seed:think>" },
    ReasoningStyle { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
    ReasoningStyle { open: "<think>", close: "</think>" },
];

impl ReasoningStyle {
    /// The style of the model with this chat template, if it reasons.
    pub fn of_template(source: &str) -> Option<ReasoningStyle> {
        let is_harmony = source.contains("<|channel|>") && source.contains("analysis");
        STYLES.into_iter().enumerate().find_map(|(index, style)| {
            let is_spelled = source.contains(style.open) || source.contains(style.close);
            (is_spelled || (index == 0 && is_harmony)).then_some(style)
        })
    }

    /// Whether a prompt of this text ends inside the reasoning: the template has written the opening tag itself.
    pub fn is_open_at_end_of(&self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Only white space so far: a tag may follow.
    Beginning,
    Reasoning,
    Answer,
}

/// Splits an answer that comes in pieces into reasoning and answer.
///
/// Reasoning stands at the beginning or nowhere: a tag in the midst of an answer is part of the answer. White space
/// around the reasoning belongs to the tags.
#[derive(Clone, Debug)]
pub struct ReasoningSplitter {
    style: ReasoningStyle,
    state: State,
    held: String,
    /// Whether the white space at the beginning of the present part is still to be dropped.
    is_part_empty: bool,
}

impl ReasoningSplitter {
    /// A splitter; `is_open` if the prompt ends with the opening tag.
    pub fn new(style: ReasoningStyle, is_open: bool) -> ReasoningSplitter {
        let state = if is_open { State::Reasoning } else { State::Beginning };
        ReasoningSplitter { style, state, held: String::new(), is_part_empty: true }
    }

    /// Takes the next piece and gives what is certain, in order.
    pub fn push(&mut self, piece: &str) -> Vec<(Channel, String)> {
        let mut parts = Vec::new();
        self.held.push_str(piece);
        if self.state == State::Beginning {
            self.begin();
        }
        if self.state == State::Reasoning {
            self.reason(&mut parts);
        }
        if self.state == State::Answer {
            let text = std::mem::take(&mut self.held);
            self.emit(Channel::Answer, text, &mut parts);
        }
        parts
    }

    /// What was held back when the answer ends.
    pub fn finish(&mut self) -> Vec<(Channel, String)> {
        let channel = if self.state == State::Reasoning { Channel::Reasoning } else { Channel::Answer };
        let (mut parts, text) = (Vec::new(), std::mem::take(&mut self.held));
        let text = if channel == Channel::Reasoning { text.trim_end().to_owned() } else { text };
        self.emit(channel, text, &mut parts);
        parts
    }

    fn begin(&mut self) {
        let text = self.held.trim_start();
        if let Some(rest) = text.strip_prefix(self.style.open) {
            self.held = rest.to_owned();
            self.state = State::Reasoning;
        } else if !self.style.open.starts_with(text) {
            // An answer keeps the white space that a model puts before it.
            self.state = State::Answer;
            self.is_part_empty = false;
        }
    }

    fn reason(&mut self, parts: &mut Vec<(Channel, String)>) {
        if let Some(end) = self.held.find(self.style.close) {
            let rest = self.held.split_off(end + self.style.close.len());
            let reasoning = self.held[..end].trim_end().to_owned();
            self.emit(Channel::Reasoning, reasoning, parts);
            (self.held, self.state, self.is_part_empty) = (rest, State::Answer, true);
            return;
        }
        // White space before the closing tag is not shown either, so it waits as well.
        let certain = self.held[..self.held.len() - overlap(&self.held, self.style.close)].trim_end().len();
        let rest = self.held.split_off(certain);
        let reasoning = std::mem::replace(&mut self.held, rest);
        self.emit(Channel::Reasoning, reasoning, parts);
    }

    fn emit(&mut self, channel: Channel, text: String, parts: &mut Vec<(Channel, String)>) {
        let text = if self.is_part_empty { text.trim_start().to_owned() } else { text };
        if !text.is_empty() {
            self.is_part_empty = false;
            parts.push((channel, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THINK: ReasoningStyle = STYLES[4];

    fn check(style: ReasoningStyle, is_open: bool, text: &str, reasoning: &str, answer: &str) {
        let characters: Vec<char> = text.chars().collect();
        for step in 1..=characters.len().max(1) {
            let mut splitter = ReasoningSplitter::new(style, is_open);
            let mut found = (String::new(), String::new());
            let pieces = characters.chunks(step).map(|piece| piece.iter().collect::<String>());
            let mut parts: Vec<_> = pieces.flat_map(|piece| splitter.push(&piece)).collect();
            parts.extend(splitter.finish());
            for (channel, text) in parts {
                match channel {
                    Channel::Reasoning => found.0.push_str(&text),
                    Channel::Answer => found.1.push_str(&text),
                }
            }
            assert_eq!((found.0.as_str(), found.1.as_str()), (reasoning, answer), "{text} in pieces of {step}");
        }
    }

    #[test]
    fn tells_reasoning_from_answer_however_the_text_is_cut() {
        check(THINK, false, "<think>\nOne, two.\n\nThree.\n</think>\n\nIt is 3.", "One, two.\n\nThree.", "It is 3.");
        check(THINK, true, "\nHm. < \n</think>\n\nYes.", "Hm. <", "Yes.");
        check(THINK, false, "\n\n<think>\n\n</think>\n\nNo.", "", "No.");
        check(THINK, false, " It says <think> here.", "", " It says <think> here.");
        check(THINK, false, "<thin air", "", "<thin air");
        check(THINK, false, "<think>never ends \n", "never ends", "");
        check(THINK, false, "", "", "");
        check(
            STYLES[0],
            false,
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Ja ü.",
            "Hm.",
            "Ja ü.",
        );
    }

    #[test]
    fn a_template_tells_its_style() {
        assert_eq!(ReasoningStyle::of_template("{{ '<think>\n' }}"), Some(THINK));
        assert_eq!(ReasoningStyle::of_template("x.split('</think>')"), Some(THINK));
        assert_eq!(ReasoningStyle::of_template("[THINK]"), Some(STYLES[1]));
        assert_eq!(ReasoningStyle::of_template("<|start|>assistant<|channel|>analysis"), Some(STYLES[0]));
        assert_eq!(ReasoningStyle::of_template("<|im_start|>"), None);
        assert!(THINK.is_open_at_end_of("<|im_start|>assistant\n<think>\n"));
        assert!(!THINK.is_open_at_end_of("<think>\n\n</think>\n\n"));
    }
}
