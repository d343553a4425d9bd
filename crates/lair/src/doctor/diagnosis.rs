//! What slows a generation down, told from what was counted while it ran. The part of the time that each cause explains is estimated
//! from its own account; what no cause explains is the model's work itself.

use lair_sizing::Bound;

use super::finding::Finding;
use super::system::Counters;

/// A cause that explains less of the time than this is not named.
const SHARE_MIN: f64 = 0.05;
/// Below this part of what is estimated something is wrong, even if nobody says what.
const EXPECTED_SHARE_MIN: f64 = 0.6;
/// Bytes of a page.
const PAGE_BYTES: f64 = 4096.0;
/// What a disk reads back of swap in a second, where the system keeps no account of stalls: an SSD's small reads.
const SWAP_BYTES_PER_SECOND: f64 = 200e6;
/// Of a token's reads that miss the caches, what weights explain; more are the cache's fault.
const MISS_BYTES_MAX: f64 = 1.5;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Evidence {
    /// Seconds of the generation.
    pub seconds: f64,
    /// Threads that computed.
    pub threads: usize,
    /// Processors that the machine has.
    pub processors: usize,
    /// Tokens a second of the answer.
    pub decode: f64,
    /// The same as it is estimated.
    pub decode_expected: f64,
    /// What limits it by the estimate.
    pub bound: Bound,
    /// Bytes that a token reads.
    pub bytes_a_token: f64,
    /// Bytes a second that memory was measured to give.
    pub read_bytes_per_second: f64,
    /// Processors' worth of time that a control group allows.
    pub quota_cpus: Option<f64>,
    /// What the counters grew by.
    pub counted: Counters,
    /// Lines of 64 bytes that were not found in caches, where they can be counted, for each token.
    pub missed_lines_a_token: Option<f64>,
}

/// A cause with the part of the time that it explains.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// A word for it, the same from version to version: `cpu-quota`, `swap`, `steal`, `contention`, `cache-misses`, `bandwidth`, `compute`.
    pub id: &'static str,
    /// From 0 to 1.
    pub share: f64,
    /// With its evidence and what helps.
    pub finding: Finding,
}

/// Causes, the greatest first; there is at least one.
pub fn diagnose(evidence: &Evidence) -> Vec<Cause> {
    let mut causes: Vec<Cause> =
        [quota(evidence), swap(evidence), steal(evidence), contention(evidence), misses(evidence)]
            .into_iter()
            .flatten()
            .filter(|cause| cause.share >= SHARE_MIN)
            .collect();
    causes.sort_by(|left, right| right.share.total_cmp(&left.share));
    causes.push(own_work(evidence, causes.iter().map(|cause| cause.share).sum()));
    causes
}

fn cause(id: &'static str, share: f64, text: String, fix: &str) -> Cause {
    Cause { id, share: share.clamp(0.0, 1.0), finding: Finding::warning(id, text, fix) }
}

/// Stopped by the control group: its own account of the time, which counts each processor.
fn quota(evidence: &Evidence) -> Option<Cause> {
    let (cpus, stopped) = (evidence.quota_cpus?, evidence.counted.throttled_seconds);
    let share = stopped / evidence.seconds;
    let text = format!(
        "a control group allows {cpus:.2} processors; it stopped the program for {stopped:.1} s of {:.1} s",
        evidence.seconds
    );
    let fix = if evidence.threads as f64 > cpus.ceil() {
        "raise the quota (`--cpus` of a container, `cpu.max` of a group), or use fewer --threads than it allows"
    } else {
        "raise the quota: `--cpus` of a container, `cpu.max` of a group, CPU limits of a pod"
    };
    Some(cause("cpu-quota", share, text, fix))
}

/// Memory that was moved to disk and back.
fn swap(evidence: &Evidence) -> Option<Cause> {
    let counted = &evidence.counted;
    let pages = counted.swapped_in_pages;
    if pages == 0 {
        return None;
    }
    let bytes = pages as f64 * PAGE_BYTES;
    let stalled = counted.memory_stall_seconds.max(bytes / SWAP_BYTES_PER_SECOND);
    let text = format!(
        "{:.0} MB came back from swap ({} faults waited for a disk); memory was waited for {stalled:.1} s of {:.1} s",
        bytes / 1e6,
        counted.major_faults,
        evidence.seconds
    );
    let fix =
        "close other programs, use a smaller quantization or a shorter --context-length; `lair fit` says what fits";
    Some(cause("swap", stalled / evidence.seconds, text, fix))
}

/// Time that the host gave to other machines, or this machine to other programs.
fn steal(evidence: &Evidence) -> Option<Cause> {
    let counted = &evidence.counted;
    let share = counted.stolen_ticks as f64 / (counted.cpu_ticks.max(1)) as f64;
    let text = format!("the host gave {:.0} % of the processors' time to other machines (steal)", 100.0 * share);
    let fix = "nothing in this machine helps: ask for dedicated processors, or move to another host";
    Some(cause("steal", share, text, fix))
}

/// Threads that were ready to run and waited for a processor.
fn contention(evidence: &Evidence) -> Option<Cause> {
    let counted = &evidence.counted;
    let threads = evidence.threads.max(1) as f64;
    // A step ends with its slowest thread, so the wait of each counts in full, spread over those that wait.
    let waited = counted.waiting_seconds / threads;
    // What a quota or a host made them wait is theirs.
    let others = counted.throttled_seconds / threads
        + counted.stolen_ticks as f64 / counted.cpu_ticks.max(1) as f64 * evidence.seconds;
    let share = (waited - others).max(0.0) / evidence.seconds;
    let busy = counted.cpu_ticks.saturating_sub(counted.idle_ticks + counted.stolen_ticks + counted.own_ticks);
    let others_percent = 100.0 * busy as f64 / counted.cpu_ticks.max(1) as f64;
    let text = format!(
        "threads were ready and waited for a processor {waited:.1} s of {:.1} s each; other programs had {others_percent:.0} % of the processors",
        evidence.seconds
    );
    let fix = if evidence.threads > evidence.processors {
        "there are more threads than processors: leave --threads out"
    } else {
        "end what runs beside it, or use fewer --threads so that none has to wait"
    };
    Some(cause("contention", share, text, fix))
}

/// More lines from memory than the weights have.
fn misses(evidence: &Evidence) -> Option<Cause> {
    let bytes = evidence.missed_lines_a_token? * 64.0;
    let expected = MISS_BYTES_MAX * evidence.bytes_a_token;
    let share = (bytes - expected).max(0.0) / bytes.max(1.0);
    let text = format!(
        "a token read {:.0} MB past the caches, its weights are {:.0} MB",
        bytes / 1e6,
        evidence.bytes_a_token / 1e6
    );
    Some(cause("cache-misses", share, text, "use fewer --threads, or end programs that share the last cache"))
}

/// What is left: reading weights or multiplying them.
fn own_work(evidence: &Evidence, explained: f64) -> Cause {
    let share = (1.0 - explained).clamp(0.0, 1.0);
    let reached = evidence.decode / evidence.decode_expected;
    let (read, most) = (evidence.decode * evidence.bytes_a_token, evidence.read_bytes_per_second);
    let (id, what, fix) = match evidence.bound {
        Bound::Memory => (
            "bandwidth",
            format!(
                "weights are read at {:.1} GB/s of the {:.1} GB/s that memory was measured to give: {:.0} MB a token",
                read / 1e9,
                most / 1e9,
                evidence.bytes_a_token / 1e6
            ),
            "a smaller quantization or model reads less; more threads do not help; faster memory does",
        ),
        Bound::Compute => (
            "compute",
            format!("multiplying limits it, not reading ({:.1} GB/s of {:.1})", read / 1e9, most / 1e9),
            "more --threads up to the number of cores, a quantization with fast kernels (Q4_0, Q4_K, Q8_0), a smaller model",
        ),
    };
    let compared = format!(
        "{:.1} tokens a second, {:.0} % of the {:.1} that this machine should reach",
        evidence.decode,
        100.0 * reached,
        evidence.decode_expected
    );
    if reached < EXPECTED_SHARE_MIN && explained < SHARE_MIN {
        let text = format!("{compared}, and no account says why; {what}");
        let fix = "`lair fit --measure` measures the machine again; other machines on the host may use the memory";
        return Cause { id: "unexplained", share, finding: Finding::warning("unexplained", text, fix) };
    }
    Cause {
        id,
        share,
        finding: Finding { fix: Some(fix.to_owned()), ..Finding::note(id, format!("{what}; {compared}")) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds of two threads on two processors that nobody disturbed.
    const QUIET: Evidence = Evidence {
        seconds: 10.0,
        threads: 2,
        processors: 2,
        decode: 20.0,
        decode_expected: 21.0,
        bound: Bound::Memory,
        bytes_a_token: 1e9,
        read_bytes_per_second: 26e9,
        quota_cpus: None,
        counted: Counters {
            cpu_ticks: 2000,
            idle_ticks: 10,
            stolen_ticks: 4,
            own_ticks: 1970,
            throttled_seconds: 0.0,
            swapped_in_pages: 0,
            swapped_out_pages: 0,
            major_faults: 0,
            memory_stall_seconds: 0.0,
            waiting_seconds: 0.1,
        },
        missed_lines_a_token: Some(16.5e6),
    };

    fn named(evidence: Evidence) -> Vec<&'static str> {
        diagnose(&evidence).iter().map(|cause| cause.id).collect()
    }

    #[test]
    fn a_quiet_machine_is_limited_by_its_memory_or_its_arithmetic() {
        assert_eq!(named(QUIET), ["bandwidth"]);
        assert_eq!(named(Evidence { bound: Bound::Compute, ..QUIET }), ["compute"]);
        assert_eq!(named(Evidence { missed_lines_a_token: None, ..QUIET }), ["bandwidth"]);
        assert!(diagnose(&QUIET)[0].finding.text.contains("95 % of the 21.0"), "{:?}", diagnose(&QUIET));
        assert_eq!(named(Evidence { decode: 5.0, ..QUIET }), ["unexplained"]);
    }

    #[test]
    fn every_injected_cause_is_named_first() {
        let with = |change: fn(&mut Evidence)| {
            let mut evidence = QUIET;
            change(&mut evidence);
            named(evidence)[0]
        };
        assert_eq!(
            with(|evidence| {
                evidence.quota_cpus = Some(0.5);
                evidence.counted.throttled_seconds = 7.0;
                evidence.counted.waiting_seconds = 7.0;
            }),
            "cpu-quota"
        );
        assert_eq!(
            with(|evidence| {
                evidence.counted.swapped_in_pages = 250_000;
                evidence.counted.major_faults = 200_000;
                evidence.counted.memory_stall_seconds = 6.0;
            }),
            "swap"
        );
        assert_eq!(with(|evidence| evidence.counted.stolen_ticks = 800), "steal");
        assert_eq!(with(|evidence| evidence.counted.waiting_seconds = 9.0), "contention");
        assert_eq!(with(|evidence| evidence.missed_lines_a_token = Some(80e6)), "cache-misses");
    }

    #[test]
    fn fixes_follow_the_evidence() {
        let fix = |evidence: Evidence| diagnose(&evidence)[0].finding.fix.clone().unwrap_or_default();
        let waiting = Counters { waiting_seconds: 30.0, ..QUIET.counted };
        assert!(fix(Evidence { threads: 8, counted: waiting, ..QUIET }).contains("more threads than processors"));
        let stopped = Counters { throttled_seconds: 5.0, ..QUIET.counted };
        assert!(fix(Evidence { quota_cpus: Some(1.0), counted: stopped, ..QUIET }).contains("fewer --threads"));
    }
}
