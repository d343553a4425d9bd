//! Whether a model can be used, with the reasons.

use crate::estimate::{MemoryNeeds, Use, room};
use crate::hardware::{Hardware, Sharing};
use crate::placement::{GPU_RESERVE_BYTES, Placement};
use crate::speed::Speeds;
use crate::subject::Subject;

/// The part of the memory that is there of which nothing else should need any.
const COMFORTABLE_SHARE: f64 = 0.9;
/// A context in which a conversation can be held.
const USEFUL_CONTEXT_LENGTH: usize = 2048;

/// Whether a model can be used, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// With memory to spare, and fast enough.
    WorksWell,
    /// It fits, but hardly anything else does.
    Tight,
    /// Some of it must lie in the system's memory beside the GPUs'.
    OffloadNeeded,
    /// It fits and is too slow for what it is for.
    Slow,
    /// Only with a shorter context.
    ShorterContext,
    /// Not even with a short one.
    DoesNotFit,
}

impl Verdict {
    /// The words for it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::WorksWell => "works well",
            Verdict::Tight => "tight",
            Verdict::OffloadNeeded => "offload needed",
            Verdict::Slow => "fits, but slow",
            Verdict::ShorterContext => "fits with a shorter context",
            Verdict::DoesNotFit => "does not fit",
        }
    }

    /// Whether it runs as it was asked for.
    pub fn runs(self) -> bool {
        self <= Verdict::Slow
    }
}

/// What is judged.
pub(crate) struct Question<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) hardware: &'a Hardware,
    pub(crate) wanted: &'a Use,
    pub(crate) memory: &'a MemoryNeeds,
    pub(crate) placement: Option<&'a Placement>,
    pub(crate) context_length: usize,
    pub(crate) context_length_max: usize,
    pub(crate) speeds: &'a Speeds,
}

/// `12.3 GiB`, `512 MiB`.
fn text(size_bytes: u64) -> String {
    let mib = size_bytes >> 20;
    if mib >= 10_240 { format!("{:.1} GiB", mib as f64 / 1024.0) } else { format!("{mib} MiB") }
}

impl Question<'_> {
    pub(crate) fn judge(&self) -> (Verdict, Vec<String>) {
        let (memory_verdict, mut reasons) = self.by_memory();
        let slow = self.slowness();
        let verdict = if memory_verdict.runs() && !slow.is_empty() { Verdict::Slow } else { memory_verdict };
        reasons.extend(slow);
        let (asked, own) = (self.wanted.context_length, self.subject.context_length);
        if asked > own {
            reasons.push(format!("a context of {asked} is asked for, the model was trained for {own}"));
        }
        (verdict, reasons)
    }

    /// Bytes that models may take in all memories, where that is known.
    fn room(&self) -> Option<u64> {
        let gpus: u64 = self.hardware.gpus.iter().map(|gpu| gpu.memory_bytes.saturating_sub(GPU_RESERVE_BYTES)).sum();
        room(self.hardware).map(|room| room.saturating_add(gpus))
    }

    fn by_memory(&self) -> (Verdict, Vec<String>) {
        let total = self.memory.total_bytes();
        let Some(placement) = self.placement else {
            let numbers = format!("{} of {}", text(total), self.room().map_or("?".to_owned(), text));
            let shorter = self.context_length_max;
            if shorter >= USEFUL_CONTEXT_LENGTH.min(self.context_length) {
                let asked = self.context_length;
                let reason = format!("with a context of {asked} it would take {numbers}; {shorter} positions fit");
                return (Verdict::ShorterContext, vec![reason]);
            }
            return (Verdict::DoesNotFit, vec![format!("it would take {numbers}")]);
        };
        if !self.hardware.gpus.is_empty() {
            return self.by_gpus(placement);
        }
        let Some(room) = self.room() else {
            return (Verdict::WorksWell, vec!["how much memory there is, the system does not say".into()]);
        };
        let numbers = format!("it takes {} of {}", text(total), text(room));
        if total as f64 <= COMFORTABLE_SHARE * room as f64 {
            (Verdict::WorksWell, vec![numbers])
        } else {
            (Verdict::Tight, vec![format!("{numbers}: little is left for anything else")])
        }
    }

    fn by_gpus(&self, placement: &Placement) -> (Verdict, Vec<String>) {
        let on_gpus = placement.gpu_bytes();
        let has: u64 = self.hardware.gpus.iter().map(|gpu| gpu.memory_bytes).sum();
        let mut reasons = Vec::new();
        if on_gpus == 0 {
            reasons.push(format!("not a layer fits into the {} of GPU memory", text(has)));
            return (Verdict::OffloadNeeded, reasons);
        }
        if placement.is_split() {
            let (layers, all) = (placement.gpu_layers(), placement.layer_count);
            let percent = 100.0 * placement.offload_share();
            reasons.push(if placement.has_experts_apart() {
                format!(
                    "the GPU holds all but experts ({} of its {}); {percent:.0} % of the bytes, experts, lie in system memory",
                    text(on_gpus),
                    text(has)
                )
            } else {
                format!(
                    "{layers} of {all} layers lie on the GPU ({} of its {}); {percent:.0} % of the bytes lie in system memory",
                    text(on_gpus),
                    text(has)
                )
            });
            return (Verdict::OffloadNeeded, reasons);
        }
        let used = placement.parts.len();
        let whole: u64 = placement.parts.iter().map(|part| part.size_bytes).sum();
        let of: u64 = placement
            .parts
            .iter()
            .filter_map(|part| match part.place {
                crate::placement::Place::Gpu(index) => Some(self.hardware.gpus[index].memory_bytes),
                crate::placement::Place::System => None,
            })
            .sum();
        let numbers = format!("all of it lies on {}: {} of {}", gpus_text(used), text(whole), text(of));
        reasons.push(numbers);
        if self.hardware.sharing == Sharing::Tensor && placement.sharing != Sharing::Tensor && used > 1 {
            reasons.push("an equal part on each GPU does not fit; layers are shared out instead".to_owned());
        }
        if let Some(efficiency) = self.speeds.gpu_efficiency {
            let percent = 100.0 * efficiency;
            reasons.push(format!(
                "{} of {used} GPUs reach {percent:.0} % of what they would do each for itself",
                placement.sharing.name()
            ));
        }
        let is_comfortable = whole as f64 <= COMFORTABLE_SHARE * of as f64;
        (if is_comfortable { Verdict::WorksWell } else { Verdict::Tight }, reasons)
    }

    /// What is too slow for the purpose.
    fn slowness(&self) -> Vec<String> {
        let purpose = self.wanted.purpose;
        let mut slow = Vec::new();
        let (decode, least) = (self.speeds.decode, purpose.tokens_per_second_min());
        if decode < least {
            let why = if least <= 4.0 { "slower than one reads" } else { "slow for code" };
            slow.push(format!("it writes {decode:.1} tokens a second, {why}"));
        }
        let (seconds, most) = (self.speeds.purpose_first_token_seconds, purpose.first_token_seconds_max());
        if seconds > most {
            let tokens = purpose.prompt_tokens().min(self.context_length);
            slow.push(format!("the answer to a prompt of {tokens} tokens begins after {seconds:.0} seconds"));
        }
        slow
    }
}

fn gpus_text(count: usize) -> String {
    if count == 1 { "the GPU".to_owned() } else { format!("{count} GPUs") }
}
