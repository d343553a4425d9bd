//! From wishes to an answer: the use, the machine, and an estimate for each model that is meant.

use lair_compute::cpu::{ActivationType, ActivationTypes, CpuOptions};
use lair_compute::{KvLayerLayout, KvLayout, PAGE_LENGTH};
use lair_sizing::describe::{self, DescribeError, Ram};
use lair_sizing::{Estimate, Hardware, Purpose, Sharing, Subject, Use};

use super::subjects::Named;
use crate::commands::run::KvChoice;
use crate::failure::{ExitCode, Failure};
use crate::measured_machine::{self, MeasuredMachine};
use crate::{locate, machine};

/// More conversations than this are no wish.
pub const USERS_MAX: usize = 1 << 16;

/// What is asked, for what and on which machine.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// What the model is for.
    pub purpose: Purpose,
    /// Positions of a conversation; what the purpose needs if not given.
    pub context_length: Option<usize>,
    /// Conversations at once.
    pub users: usize,
    /// How keys and values are kept.
    pub kv: KvChoice,
    /// Threads to compute with.
    pub threads: Option<usize>,
    /// Another memory: `64GB@80GB/s`.
    pub ram: Option<String>,
    /// Another processor, by its name.
    pub cpu: Option<String>,
    /// GPUs, by names or figures.
    pub gpus: Vec<String>,
    /// How GPUs share a model.
    pub sharing: Sharing,
    /// Whether the machine is measured again.
    pub measures: bool,
}

impl Default for Wishes {
    fn default() -> Wishes {
        Wishes {
            purpose: Purpose::Chat,
            context_length: None,
            users: 1,
            kv: KvChoice::Q8_0,
            threads: None,
            ram: None,
            cpu: None,
            gpus: Vec::new(),
            sharing: Sharing::Pipeline,
            measures: false,
        }
    }
}

/// A model with what is said of it.
#[derive(Clone, Debug)]
pub struct Row {
    /// What to call it.
    pub name: String,
    /// The model.
    pub subject: Subject,
    /// What was asked of it.
    pub wanted: Use,
    /// What it takes and gives.
    pub estimate: Estimate,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked for.
    pub model: String,
    /// A row for each quantization or model that is meant.
    pub rows: Vec<Row>,
    /// The machine.
    pub hardware: Hardware,
    /// What of it was measured; nothing where all is described.
    pub measured: Option<MeasuredMachine>,
    /// How keys and values are kept.
    pub kv: KvChoice,
    /// Bytes that came from the network for it.
    pub fetched_bytes: u64,
}

impl From<DescribeError> for Failure {
    fn from(error: DescribeError) -> Failure {
        Failure::new(ExitCode::Usage, &error).with_hint(error.hint())
    }
}

impl Wishes {
    /// Checks what can be wrong without looking at anything.
    ///
    /// # Errors
    /// A count out of its range.
    pub fn check(&self) -> Result<(), Failure> {
        if self.context_length == Some(0) {
            return Err(Failure::new(ExitCode::Usage, "--context is 0, at least 1 expected"));
        }
        if !(1..=USERS_MAX).contains(&self.users) {
            let cause = format!("--users is {}, 1 to {USERS_MAX} expected", self.users);
            return Err(Failure::new(ExitCode::Usage, cause));
        }
        Ok(())
    }

    /// Answers for these models.
    ///
    /// # Errors
    /// A machine that cannot be described or measured.
    pub fn answer(&self, model: String, subjects: Vec<Named>, fetched_bytes: u64) -> Result<Answer, Failure> {
        self.check()?;
        let (hardware, measured) = self.hardware()?;
        let row = |named: Named| {
            let wanted = self.use_of(&named.subject);
            let estimate = Estimate::of(&named.subject, &hardware, &wanted);
            Row { name: named.name, subject: named.subject, wanted, estimate }
        };
        let rows = subjects.into_iter().map(row).collect();
        Ok(Answer { model, rows, hardware, measured, kv: self.kv, fetched_bytes })
    }

    /// What is asked of a model.
    pub fn use_of(&self, subject: &Subject) -> Use {
        let is_narrow = ActivationTypes::for_hidden_size(subject.hidden_size).others == ActivationType::Words;
        Use {
            purpose: self.purpose,
            context_length: self.context_length.unwrap_or(self.purpose.context_length().min(subject.context_length)),
            users: self.users,
            kv_element_bytes: element_bytes(self.kv),
            activation_bytes: if is_narrow { 2 } else { 1 },
        }
    }

    /// The machine that is meant, and what of it was measured.
    ///
    /// # Errors
    /// A part that is not known, or that measuring fails.
    pub fn hardware(&self) -> Result<(Hardware, Option<MeasuredMachine>), Failure> {
        let ram = self.ram.as_deref().map(describe::parse_ram).transpose()?;
        let (mut hardware, measured) = match &self.cpu {
            Some(name) => (describe::parse_cpu(name)?, None),
            None => {
                let options = CpuOptions { threads: self.threads, ..CpuOptions::default() };
                let folder = locate::store()?.settings().root.clone();
                let measured = measured_machine::this_machine(&folder, &options, self.measures)?;
                let available = machine::available_memory_bytes();
                (measured.hardware(available), Some(measured))
            }
        };
        if let Some(ram) = ram {
            set_ram(&mut hardware, ram);
        }
        for text in &self.gpus {
            hardware.gpus.extend(describe::parse_gpus(text, ram.map(|ram| ram.size_bytes))?);
        }
        // Of a memory that is the GPU's too, what the GPU has is not there a second time.
        if let Some(shared) = hardware.gpus.iter().find(|gpu| gpu.link_bytes_per_second.is_none()) {
            let whole = hardware.available_bytes.filter(|_| ram.is_some()).unwrap_or(shared.memory_bytes / 3 * 4);
            hardware.available_bytes = Some(whole.saturating_sub(shared.memory_bytes));
        }
        hardware.sharing = self.sharing;
        Ok((hardware, measured))
    }
}

fn set_ram(hardware: &mut Hardware, ram: Ram) {
    hardware.available_bytes = Some(ram.size_bytes);
    if let Some(rate) = ram.bytes_per_second {
        hardware.system.machine.read_bytes_per_second = rate;
        hardware.system.name = format!("{}, its memory read at {:.0} GB/s", hardware.system.name, rate / 1e9);
    }
}

/// Bytes of an element of keys and values with its share of scales, as a page of one head of 128 elements has them.
pub fn element_bytes(kv: KvChoice) -> f64 {
    let (head_dim, layer) = (128, |dim| KvLayerLayout { kv_head_count: 1, key_dim: dim, value_dim: dim });
    let page = KvLayout { layers: vec![layer(head_dim)], element: kv.element(), page_count: 1 };
    page.page_bytes() as f64 / (2 * head_dim * PAGE_LENGTH) as f64
}
