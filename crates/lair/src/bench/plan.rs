//! What is to be measured.

use lair_sizing::{Limit, Roofline};

/// One thing that is measured on a loaded model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// A prompt of so many tokens, up to the first token of the answer.
    Prefill {
        /// Tokens of the prompt.
        tokens: usize,
    },
    /// So many tokens one after the other, after a context.
    Decode {
        /// Tokens of the context before.
        depth: usize,
        /// Tokens that are generated.
        tokens: usize,
    },
    /// Sequences at once, each with a prompt of its own and an answer.
    Streams {
        /// Sequences.
        streams: usize,
        /// Tokens of each prompt.
        prompt: usize,
        /// Tokens of each answer.
        answer: usize,
    },
}

impl Test {
    /// Its name, where there is one that of `llama-bench`.
    pub fn name(&self) -> String {
        match *self {
            Test::Prefill { tokens } => format!("pp{tokens}"),
            Test::Decode { depth: 0, tokens } => format!("tg{tokens}"),
            Test::Decode { depth, tokens } => format!("tg{tokens} @ d{depth}"),
            Test::Streams { streams: 1, prompt, answer } => format!("1 stream {prompt}+{answer}"),
            Test::Streams { streams, prompt, answer } => format!("{streams} streams {prompt}+{answer}"),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Test::Prefill { .. } => "prefill",
            Test::Decode { .. } => "decode",
            Test::Streams { .. } => "streams",
        }
    }

    /// Tokens that are counted: of the prompt in prefill, else those that are generated.
    pub fn counted_tokens(&self) -> usize {
        match *self {
            Test::Prefill { tokens } | Test::Decode { tokens, .. } => tokens,
            Test::Streams { streams, answer, .. } => streams * answer,
        }
    }

    /// Tokens of a prompt. An empty context is one token, which makes the first of the answer.
    pub fn prompt_tokens(&self) -> usize {
        match *self {
            Test::Prefill { tokens } => tokens,
            Test::Decode { depth, .. } => depth.max(1),
            Test::Streams { prompt, .. } => prompt,
        }
    }

    /// Tokens that each sequence is asked for. Decoding is measured from the first token on, so it is one more.
    pub fn wanted_tokens(&self) -> usize {
        match *self {
            Test::Prefill { .. } => 1,
            Test::Decode { tokens, .. } => tokens + 1,
            Test::Streams { answer, .. } => answer,
        }
    }

    /// Sequences at once.
    pub fn streams(&self) -> usize {
        if let Test::Streams { streams, .. } = *self { streams } else { 1 }
    }

    /// Tokens a sequence has in the end.
    pub fn sequence_length(&self) -> usize {
        self.prompt_tokens() + self.wanted_tokens()
    }

    /// The same, shorter, to warm up: caches, threads, pages of memory, and the context that decoding begins with.
    pub fn warm_up(&self) -> Test {
        const TOKENS: usize = 8;
        match *self {
            Test::Prefill { .. } => *self,
            Test::Decode { depth, tokens } => Test::Decode { depth, tokens: tokens.min(TOKENS) },
            Test::Streams { streams, prompt, answer } => Test::Streams { streams, prompt, answer: answer.min(TOKENS) },
        }
    }

    /// The least time that it can take.
    pub fn limit(&self, roofline: &Roofline<'_>) -> Limit {
        match *self {
            Test::Prefill { tokens } => roofline.prefill(1, tokens),
            Test::Decode { depth, tokens } => roofline.decode(depth.max(1), tokens),
            Test::Streams { streams, prompt, answer } => roofline.streams(streams, prompt, answer),
        }
    }
}

/// What room the tests need: tokens of one sequence, tokens of all at once, sequences.
pub fn room(tests: &[Test]) -> (usize, usize, usize) {
    let page = |tokens: usize| tokens.next_multiple_of(lair_compute::PAGE_LENGTH);
    let context = tests.iter().map(Test::sequence_length).max().unwrap_or(1);
    // Twice what all tests need: what the prefix cache holds of one round must still be there in the next.
    let memory: usize = tests.iter().map(|test| test.streams() * page(test.sequence_length())).sum();
    let streams = tests.iter().map(Test::streams).max().unwrap_or(1);
    (context, 2 * memory, streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_have_the_names_and_the_room_they_need() {
        let streams = Test::Streams { streams: 4, prompt: 125, answer: 64 };
        let deep = Test::Decode { depth: 2048, tokens: 128 };
        let plain = Test::Decode { depth: 0, tokens: 128 };
        let prefill = Test::Prefill { tokens: 512 };
        let names = [prefill, plain, deep, streams].map(|test| test.name());
        assert_eq!(names, ["pp512", "tg128", "tg128 @ d2048", "4 streams 125+64"]);
        assert_eq!([prefill, plain, deep, streams].map(|test| test.counted_tokens()), [512, 128, 128, 256]);
        assert_eq!([prefill, plain, deep, streams].map(|test| test.sequence_length()), [513, 130, 2177, 189]);
        assert_eq!(room(&[prefill, deep, streams]), (2177, 2 * (528 + 2192 + 4 * 192), 4));
        assert_eq!(room(&[]), (1, 0, 1));
        assert_eq!(deep.warm_up(), Test::Decode { depth: 2048, tokens: 8 });
    }
}
