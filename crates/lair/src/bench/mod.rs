//! What `lair bench` is made of: what is measured ([`plan`]), how ([`suite`], [`measure`], [`start`]), what disturbs
//! it ([`noise`]), and how it is said ([`report`]).

pub mod measure;
pub mod noise;
pub mod plan;
pub mod report;
pub mod start;
pub mod suite;

use lair_compute::cpu::probe::Peaks;
use lair_sizing::Machine;

use noise::Others;

/// How a measurement is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// More is better.
    TokensPerSecond,
    /// Less is better.
    Milliseconds,
    /// Less is better.
    Bytes,
}

impl Unit {
    /// Its name in JSON and CSV.
    pub fn name(self) -> &'static str {
        match self {
            Unit::TokensPerSecond => "tokens/s",
            Unit::Milliseconds => "ms",
            Unit::Bytes => "bytes",
        }
    }
}

/// What was measured of one test.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name, as `pp512`.
    pub name: String,
    /// Its kind: `prefill`, `decode`, `streams`, `start`, `memory`.
    pub kind: &'static str,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, by each stream.
    pub generated_tokens: usize,
    /// Tokens in the context before what is measured begins.
    pub depth: usize,
    /// Sequences at once.
    pub streams: usize,
    /// Threads that computed.
    pub thread_count: usize,
    /// Name of the instruction set.
    pub isa_name: &'static str,
    /// What samples are.
    pub unit: Unit,
    /// One of each round, in order.
    pub samples: Vec<f64>,
    /// The best that this machine allows, in the same unit.
    pub limit: f64,
    /// What sets the limit.
    pub bound: &'static str,
    /// Who else used the processors meanwhile.
    pub others: Others,
    /// What else is known, by name: the parts of a sum, for example.
    pub details: Vec<(&'static str, f64)>,
}

impl Measured {
    /// The middle sample; of an even number the mean of the two in the middle.
    pub fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            count if count.is_multiple_of(2) => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
            count => sorted[count / 2],
        }
    }

    /// The smallest sample.
    pub fn min(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest sample.
    pub fn max(&self) -> f64 {
        self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// How near the median comes to the limit, in percent.
    pub fn percent_of_limit(&self) -> f64 {
        match self.unit {
            Unit::TokensPerSecond => 100.0 * self.median() / self.limit,
            Unit::Milliseconds | Unit::Bytes => 100.0 * self.limit / self.median(),
        }
    }
}

/// What was measured of the machine, as the formulas take it.
pub fn machine_of(peaks: &Peaks) -> Machine {
    Machine {
        read_bytes_per_second: peaks.read_bytes_per_second,
        f32_macs_per_second: peaks.f32_macs_per_second,
        i16_macs_per_second: peaks.i16_macs_per_second,
        i8_macs_per_second: peaks.i8_macs_per_second,
        code_macs_per_second: peaks.code_macs_per_second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_up_by_their_median() {
        let measured = |samples: &[f64], unit| Measured {
            name: String::new(),
            kind: "prefill",
            prompt_tokens: 0,
            generated_tokens: 0,
            depth: 0,
            streams: 1,
            thread_count: 1,
            isa_name: "",
            unit,
            samples: samples.to_vec(),
            limit: 50.0,
            bound: "compute",
            others: Others::default(),
            details: Vec::new(),
        };
        let odd = measured(&[30.0, 10.0, 25.0], Unit::TokensPerSecond);
        assert_eq!((odd.median(), odd.min(), odd.max()), (25.0, 10.0, 30.0));
        assert_eq!(odd.percent_of_limit(), 50.0);
        assert_eq!(measured(&[1.0, 4.0, 2.0, 3.0], Unit::Bytes).median(), 2.5);
        assert_eq!(measured(&[100.0], Unit::Milliseconds).percent_of_limit(), 50.0);
        assert!(measured(&[], Unit::Bytes).median().is_nan());
    }
}
