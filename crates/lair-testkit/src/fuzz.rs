//! Fuzzing on a stable compiler: seeds, mutated again and again, against a parser that must answer whatever it is given.
//!
//! Without instrumentation of the compiler the feedback is the outcome: what a parser says (its error without numbers, or what
//! it found) names a kind of outcome, and an input with a new kind joins the corpus. Everything follows from a seed, so a run
//! can be repeated; a count bounds it, and `LAIR_FUZZ_SECONDS`
//! of the process's processor time make it long instead. An input that fails is written to
//! `fuzz/failed/<target>`; what was mended stays in `fuzz/regressions/<target>` and is tried first, every time.

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Mutated inputs of a run that is not told for how long.
const RUNS: u64 = 2_000;
/// Inputs that are kept for being new.
const CORPUS_MAX: usize = 4_096;
/// Mutations of one input, at most.
const MUTATIONS_MAX: usize = 6;
/// Numbers at which lengths and counts go wrong.
const EDGES: [u64; 14] =
    [0, 1, 2, 7, 8, 127, 128, 255, 256, 65_535, 65_536, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff];

/// What is fuzzed.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name, and that of its folder of regressions.
    pub name: &'static str,
    /// Inputs to begin with; the empty one is added.
    pub seeds: Vec<Vec<u8>>,
    /// Words of the language, put in anywhere.
    pub words: &'static [&'static str],
    /// Longest input that is made.
    pub length_max: usize,
    /// Mutated inputs of a short run, where they cost more or less than usual.
    pub runs: u64,
}

impl Target {
    /// A target with these seeds and words.
    pub fn new(name: &'static str, seeds: impl IntoIterator<Item = Vec<u8>>, words: &'static [&'static str]) -> Target {
        let seeds = seeds.into_iter().chain([Vec::new()]).collect();
        Target { name, seeds, words, length_max: 8 << 10, runs: RUNS }
    }

    /// Runs `parse` on the regressions, on the seeds, and on mutations. What `parse` returns names the kind of outcome.
    ///
    /// # Panics
    /// If `parse` does. The input is written first.
    pub fn run(&self, mut parse: impl FnMut(&[u8]) -> String) {
        let seconds = std::env::var("LAIR_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        let seed = std::env::var("LAIR_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
        let mut run = Run {
            target: self,
            corpus: Vec::new(),
            kinds: HashSet::new(),
            random: Random(seed),
            runs: 0,
            slowest: Duration::ZERO,
            is_long: seconds.is_some(),
        };
        for input in self.regressions().into_iter().chain(self.seeds.iter().cloned()) {
            run.try_one(input, &mut parse);
        }
        let clock = Clock::start();
        let goes_on = |run: &Run<'_>| match seconds {
            Some(seconds) => clock.elapsed() < Duration::from_secs(seconds),
            None => run.runs < self.runs,
        };
        while goes_on(&run) {
            let input = run.mutated();
            run.try_one(input, &mut parse);
        }
        println!(
            "fuzz {}: {} inputs, {} kinds of outcome, {} s, slowest {} ms",
            self.name,
            run.runs,
            run.kinds.len(),
            clock.elapsed().as_secs(),
            run.slowest.as_millis()
        );
    }

    fn regressions(&self) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(root().join("regressions").join(self.name)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read(path).expect("a regression can be read")).collect()
    }
}

/// What a long run has taken: the processor's time of the process, so that a busy machine makes a run longer, not shorter, and
/// what a parser does in threads of its own counts. Of this thread alone, 4 minutes of grammars took half an hour.
struct Clock {
    start: Instant,
    worked_before: Option<Duration>,
}

impl Clock {
    fn start() -> Clock {
        Clock { start: Instant::now(), worked_before: worked() }
    }

    fn elapsed(&self) -> Duration {
        match (worked(), self.worked_before) {
            (Some(now), Some(before)) => now.saturating_sub(before),
            // Where the process's time is not known, the time on the wall.
            _ => self.start.elapsed(),
        }
    }
}

/// The processor's time of all threads of the process, also of those that have ended (`proc_pid_stat(5)`: fields 14 and 15, in
/// ticks of a hundredth of a second).
fn worked() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets, with whatever letters.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11..13)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_millis(10 * ticks))
}

/// `fuzz` of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

struct Run<'t> {
    target: &'t Target,
    corpus: Vec<Vec<u8>>,
    /// Hashes of the kinds of outcome so far.
    kinds: HashSet<u64>,
    random: Random,
    runs: u64,
    slowest: Duration,
    is_long: bool,
}

impl Run<'_> {
    fn try_one(&mut self, input: Vec<u8>, parse: &mut impl FnMut(&[u8]) -> String) {
        self.runs += 1;
        if self.is_long {
            // An overflow of the stack ends the process: what was tried last must lie somewhere.
            self.write("running", &input);
        }
        let start = Instant::now();
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| parse(&input))) else {
            let mut hasher = DefaultHasher::new();
            input.hash(&mut hasher);
            let path = self.write(&format!("{:016x}", hasher.finish()), &input);
            panic!("{}: run {} failed on {}", self.target.name, self.runs, path.display());
        };
        let elapsed = start.elapsed();
        if elapsed > self.slowest {
            self.slowest = elapsed;
            if self.is_long && elapsed > Duration::from_secs(1) {
                self.write("slowest", &input);
            }
        }
        let is_new = self.kinds.insert(kind_of(&outcome));
        if self.corpus.len() < CORPUS_MAX && (is_new || self.runs <= self.target.seeds.len() as u64) {
            self.corpus.push(input);
        }
    }

    fn write(&self, name: &str, input: &[u8]) -> PathBuf {
        let folder = root().join("failed").join(self.target.name);
        let path = folder.join(name);
        fs::create_dir_all(&folder).and_then(|()| fs::write(&path, input)).expect("the input can be kept");
        path
    }

    /// An input of the corpus with a few changes.
    fn mutated(&mut self) -> Vec<u8> {
        let mut input = self.picked();
        for _ in 0..=self.random.below(MUTATIONS_MAX) {
            self.mutate(&mut input);
        }
        input.truncate(self.target.length_max);
        input
    }

    /// One of the corpus; those that came last are likelier.
    fn picked(&mut self) -> Vec<u8> {
        let length = self.corpus.len();
        let place = if self.random.below(3) == 0 {
            length - 1 - self.random.below(length.min(16))
        } else {
            self.random.below(length)
        };
        self.corpus[place].clone()
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let random = &mut self.random;
        let (start, length) = random.range(input.len());
        match random.below(13) {
            0 => input.iter_mut().skip(start).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            1 => input.iter_mut().skip(start).take(1).for_each(|byte| *byte = random.next() as u8),
            2 => drop(input.drain(start..start + length)),
            3 => input.truncate(start),
            4 => {
                let piece = input[start..start + length].to_vec();
                let at = random.below(input.len() + 1);
                input.splice(at..at, piece);
            }
            // Nesting and repetition, the length of the whole at most.
            5 => {
                let piece = input[start..start + length].to_vec();
                let times = self.target.length_max / (4 * piece.len().max(1));
                let times = random.below(times.max(1) + 1);
                input.splice(start..start, piece.repeat(times));
            }
            6 | 7 if !self.target.words.is_empty() => {
                let word = self.target.words[random.below(self.target.words.len())];
                input.splice(start..start + length.min(word.len()), word.bytes());
            }
            8 if !self.target.words.is_empty() => {
                let word = self.target.words[random.below(self.target.words.len())];
                input.splice(start..start, word.repeat(1 + random.below(600)).into_bytes());
            }
            9 => {
                let edge = EDGES[random.below(EDGES.len())].wrapping_sub(random.next() & 1);
                let width = 1 << random.below(4);
                for (place, byte) in input.iter_mut().skip(start).zip(edge.to_le_bytes()).take(width) {
                    *place = byte;
                }
            }
            // A number of the text.
            10 => {
                let digits = input.iter().skip(start).position(u8::is_ascii_digit).map(|place| place + start);
                if let Some(first) = digits {
                    let count = input[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    let edge = EDGES[random.below(EDGES.len())].wrapping_sub(random.next() & 1).to_string();
                    input.splice(first..first + count, edge.into_bytes());
                }
            }
            11 => {
                let other = self.picked();
                let random = &mut self.random;
                let (from, count) = random.range(other.len());
                input.splice(start..start + length, other[from..from + count].iter().copied());
            }
            _ => input.splice(start..start, [random.next() as u8]).for_each(drop),
        }
        input.truncate(2 * self.target.length_max);
    }
}

/// What was said, without the numbers and the quotes, which are different each time.
fn kind_of(outcome: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut is_quoted = false;
    for letter in outcome.chars().take(300) {
        is_quoted ^= letter == '`';
        if !is_quoted && !letter.is_ascii_digit() {
            letter.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// Numbers from a seed: splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators").
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A start and a length within so many bytes; mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length + 1);
        let most = length - start;
        let wanted = if self.below(8) == 0 { self.below(most + 1) } else { self.below(17) };
        (start, wanted.min(most))
    }
}

/// An outcome in words: an error by what it says, anything else by this.
pub fn outcome<T, E: std::fmt::Display>(result: &Result<T, E>) -> String {
    match result {
        Ok(_) => "fine".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_find_what_is_behind_a_few_words() {
        let words = &["open", "sesame"];
        let target = Target { runs: 20_000, ..Target::new("selftest", [b"closed 12".to_vec()], words) };
        let mut found = HashSet::new();
        target.run(|bytes| {
            let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
            let kind = match (has(b"open"), has(b"sesame"), has(b"65536")) {
                (true, true, true) => "all",
                (true, true, false) => "both",
                (false, _, true) => "a number",
                _ => "less",
            };
            found.insert(kind);
            kind.to_owned()
        });
        assert!(["all", "both", "a number"].iter().all(|kind| found.contains(kind)), "{found:?}");
    }

    #[test]
    fn kinds_are_the_same_for_other_numbers_and_quotes() {
        assert_eq!(kind_of("at byte 12, `x` is no key"), kind_of("at byte 9999, `yz` is no key"));
        assert_ne!(kind_of("at byte 12, `x` is no key"), kind_of("at byte 12, `x` is no value"));
    }
}
