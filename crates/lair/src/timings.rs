//! The figures of an answer, for people: Ollama's lines first, in its words, then what it does not say.

use std::time::Duration;

use lair_engine::Usage;

use crate::commands::show::bytes_text;
use crate::machine;
use crate::session::Answer;

/// What `--verbose` prints; `load` is how long loading the model took, where it was loaded for this answer.
pub fn timings(answer: &Answer, load: Duration) -> String {
    let usage = &answer.usage;
    let mut lines = vec![
        ("total duration", duration_text(answer.total + load)),
        ("load duration", duration_text(load)),
        ("prompt eval count", format!("{} token(s)", usage.prompt_tokens)),
        ("prompt eval duration", duration_text(answer.prefill)),
        ("prompt eval rate", format!("{:.2} tokens/s", answer.prefill_tokens_per_second)),
        ("eval count", format!("{} token(s)", usage.completion_tokens)),
        ("eval duration", duration_text(answer.decode)),
        ("eval rate", format!("{:.2} tokens/s", answer.decode_tokens_per_second)),
        ("ended by", answer.finish_reason.to_owned()),
    ];
    if usage.cached_tokens > 0 {
        lines.push(("prefix cache", format!("{} token(s) of the prompt", usage.cached_tokens)));
    }
    if let Some(rate) = acceptance_rate(answer) {
        let Usage { guessed_tokens, accepted_tokens, .. } = usage;
        lines.push(("guessed tokens", format!("{guessed_tokens}, {accepted_tokens} accepted ({:.0} %)", rate * 100.0)));
    }
    let peak = machine::peak_memory_bytes().map_or_else(|| "not known".to_owned(), bytes_text);
    lines.push(("peak memory", peak));
    let lines = lines.into_iter().map(|(name, value)| format!("{:<21} {value}", format!("{name}:")));
    lines.collect::<Vec<_>>().join("\n")
}

/// The part of the guessed tokens that were right, if any were guessed.
pub fn acceptance_rate(answer: &Answer) -> Option<f64> {
    let guessed = answer.usage.guessed_tokens;
    (guessed > 0).then(|| answer.usage.accepted_tokens as f64 / guessed as f64)
}

/// A duration as Go writes it, `1m2.5s`, `130.079ms`: what reads Ollama's lines reads these.
fn duration_text(duration: Duration) -> String {
    let shortest = |value: u128, digits: usize, unit: &str| {
        let (whole, rest) = (value / 10u128.pow(digits as u32), value % 10u128.pow(digits as u32));
        let fraction = format!("{rest:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { format!("{whole}{unit}") } else { format!("{whole}.{fraction}{unit}") }
    };
    let nanoseconds = duration.as_nanos();
    match nanoseconds {
        0 => "0s".to_owned(),
        ..1_000 => format!("{nanoseconds}ns"),
        ..1_000_000 => shortest(nanoseconds, 3, "µs"),
        ..1_000_000_000 => shortest(nanoseconds, 6, "ms"),
        _ => {
            let seconds = duration.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = shortest(nanoseconds - u128::from(seconds / 60 * 60) * 1_000_000_000, 9, "s");
            match (hours, minutes) {
                (0, 0) => rest,
                (0, _) => format!("{minutes}m{rest}"),
                _ => format!("{hours}h{minutes}m{rest}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (130_079_000, "130.079ms"),
            (1_000_000_000, "1s"),
            (4_232_710_583, "4.232710583s"),
            (62_500_000_000, "1m2.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration_text(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
