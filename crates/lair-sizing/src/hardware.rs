//! Machines: the one that was measured, and such that are described, by names of known parts or by their figures.

use std::sync::LazyLock;

use lair_gguf::TensorType;
use lair_model::ModelCost;
use serde::Deserialize;

use crate::estimate::{STEP_ROWS, Use};
use crate::figures::{Figures, GpuParts};
use crate::roofline::{Machine, Reached, Roofline};

/// A file of a few hundred parts; longer texts are no names of any.
const NAME_LENGTH_MAX: usize = 200;
/// Seconds until a message over a link begins: a launch and a synchronisation on each side.
pub const LINK_LATENCY_SECONDS: f64 = 10e-6;

/// What a device makes of what it could do at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Efficiency {
    /// Of reading weights of 16 and 32 bits, and keys and values.
    pub read_wide: f64,
    /// Of reading weights in blocks of codes.
    pub read_codes: f64,
    /// Of multiplying numbers of 16 and 32 bits.
    pub float: f64,
    /// Of multiplying bytes of all 8 bits.
    pub byte: f64,
    /// Of multiplying codes.
    pub code: f64,
    /// Whether numbers of 16 bits are multiplied at the rate of those of 32: what they become first.
    pub widens_halves: bool,
    /// Whether narrow models multiply words where others multiply bytes, and numbers of 32 bits where others multiply 16.
    pub narrow_models_take_more: bool,
    /// What a step costs besides; nothing where the shares above have it in them.
    pub beside: Beside,
}

/// What a step costs beside reading weights and multiplying with them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beside {
    /// Of an element that goes into a matrix or comes out of one: what norms, rotations, codes of activations and gates take,
    /// as multiply-adds of f32 by one thread.
    pub element_macs: f64,
    /// Of an element of recurrent state, for each token of a prompt, in the same measure.
    pub state_macs: f64,
    /// Seconds of a layer of each step: threads that wait for each other.
    pub layer_seconds: f64,
    /// How far reading and multiplying go on at once: their times `a` and `b` become `(a^overlap + b^overlap)^(1 / overlap)`, which is
    /// the sum for 1 and the longer one for infinity.
    pub overlap: f64,
}

impl Efficiency {
    /// Lair's steps on a CPU (`bench/results/2026-11-22-fit.md`): of reading, what its products reach of a plain read that takes
    /// turns with them, where they have nothing to do but wait; of multiplying, what the kernels reach with scales and minima
    /// taken in, for a machine on which they were not measured.
    pub const CPU: Efficiency = Efficiency {
        read_wide: 0.98,
        read_codes: 0.98,
        float: 0.7,
        byte: 0.6,
        code: 0.55,
        widens_halves: true,
        narrow_models_take_more: true,
        beside: Beside { element_macs: 110.0, state_macs: 23.0, layer_seconds: 25e-6, overlap: 1.5 },
    };
    /// GPUs with matrix units, as llama.cpp reaches it on Llama 3 8B (XiongjieDai, "GPU-Benchmarks-on-LLM-Inference", May 2024;
    /// llama.cpp's pull request 7676 for products of bytes).
    pub const GPU: Efficiency = Efficiency {
        read_wide: 0.8,
        read_codes: 0.63,
        float: 0.85,
        byte: 0.21,
        code: 0.21,
        widens_halves: false,
        narrow_models_take_more: false,
        beside: Beside { element_macs: 0.0, state_macs: 0.0, layer_seconds: 0.0, overlap: f64::INFINITY },
    };
    /// Apple's GPUs, from the same tables.
    pub const APPLE: Efficiency = Efficiency {
        read_wide: 0.72,
        read_codes: 0.5,
        float: 0.58,
        byte: 0.56,
        code: 0.56,
        widens_halves: false,
        narrow_models_take_more: false,
        beside: Beside { element_macs: 0.0, state_macs: 0.0, layer_seconds: 0.0, overlap: f64::INFINITY },
    };
}

/// Multiply-adds a second of whole products with weights of each type, as measured with the kernels themselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProductRates(Vec<(TensorType, f64)>);

impl ProductRates {
    /// These rates.
    pub fn new(rates: Vec<(TensorType, f64)>) -> ProductRates {
        ProductRates(rates)
    }

    /// The rate of a type, if it was measured.
    pub fn of(&self, tensor_type: TensorType) -> Option<f64> {
        self.0.iter().find(|(known, _)| *known == tensor_type).map(|(_, rate)| *rate)
    }

    /// The higher of both rates of each type.
    pub fn better_of(&self, other: &ProductRates) -> ProductRates {
        let best = |(tensor_type, rate)| (tensor_type, other.of(tensor_type).map_or(rate, |known| known.max(rate)));
        ProductRates(self.iter().map(best).collect())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (TensorType, f64)> {
        self.0.iter().copied()
    }
}

/// Something that computes, with what it reaches of its peaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// What it is called.
    pub name: String,
    /// What it can do at most.
    pub machine: Machine,
    /// What of that is reached.
    pub efficiency: Efficiency,
    /// Threads that share its work; 1 where that is nobody's business.
    pub threads: usize,
    /// Measured rates of whole products: of models that multiply bytes, and of narrow ones, which multiply words.
    pub products: [ProductRates; 2],
    /// Where its figures are from, if it is a part of the table.
    pub figures: Option<Figures>,
}

impl Device {
    /// The roofline of a model that lies here, with what this device costs besides.
    pub fn roofline<'a>(
        &'a self,
        cost: &'a ModelCost,
        coded_share: f64,
        wanted: &Use,
        layer_count: usize,
    ) -> Roofline<'a> {
        let beside = self.efficiency.beside;
        let thread_rate = self.machine.f32_macs_per_second / self.threads.max(1) as f64;
        let products = &self.products[usize::from(wanted.activation_bytes > 1)];
        Roofline {
            cost,
            machine: self.as_used(coded_share, wanted.activation_bytes),
            kv_element_bytes: wanted.kv_element_bytes,
            step_tokens_max: STEP_ROWS,
            reached: Some(Reached {
                products,
                threads: self.threads,
                element_seconds: beside.element_macs / thread_rate,
                state_element_seconds: beside.state_macs / self.machine.f32_macs_per_second,
                step_seconds: layer_count as f64 * beside.layer_seconds,
                overlap: beside.overlap,
            }),
        }
    }

    /// The machine as steps find it. `coded_share` is the part of the weights' bytes that lies in blocks of codes;
    /// `activation_bytes` is 2 where activations are multiplied as words, which halves the rates of codes.
    pub fn as_used(&self, coded_share: f64, activation_bytes: usize) -> Machine {
        let (machine, efficiency) = (&self.machine, &self.efficiency);
        let takes_more = efficiency.narrow_models_take_more && activation_bytes > 1;
        let rows = if takes_more { activation_bytes as f64 } else { 1.0 };
        // Bytes are read one after the other, so it is times that add up.
        let read_time = coded_share / efficiency.read_codes + (1.0 - coded_share) / efficiency.read_wide;
        let is_widened = efficiency.widens_halves || takes_more;
        let halves = if is_widened { machine.f32_macs_per_second } else { machine.i16_macs_per_second };
        Machine {
            read_bytes_per_second: machine.read_bytes_per_second / read_time,
            f32_macs_per_second: efficiency.float * machine.f32_macs_per_second,
            i16_macs_per_second: efficiency.float * halves,
            i8_macs_per_second: efficiency.byte * machine.i8_macs_per_second / rows,
            code_macs_per_second: efficiency.code * machine.code_macs_per_second / rows,
        }
    }
}

/// A GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// What computes.
    pub device: Device,
    /// Its memory in bytes: what models can have of it where it is shared with the system.
    pub memory_bytes: u64,
    /// Bytes a second between it and the system's memory, one way; none where they are one.
    pub link_bytes_per_second: Option<f64>,
    /// Bytes a second to another of its kind, one way.
    pub peer_bytes_per_second: f64,
}

/// How several GPUs share a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Each has some of the layers; a token goes through one after the other.
    #[default]
    Pipeline,
    /// Each has a part of every layer; all work on a token at once and exchange sums twice a layer.
    Tensor,
}

impl Sharing {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Sharing::Pipeline => "pipeline",
            Sharing::Tensor => "tensor",
        }
    }
}

/// All of a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    /// The processors with the system's memory.
    pub system: Device,
    /// Bytes of memory that can be had; `None` if the system does not say.
    pub available_bytes: Option<u64>,
    /// Its GPUs.
    pub gpus: Vec<Gpu>,
    /// How these share a model.
    pub sharing: Sharing,
}

impl Hardware {
    /// A machine without GPUs.
    pub fn of_system(name: String, machine: Machine, available_bytes: Option<u64>) -> Hardware {
        let products = Default::default();
        let system = Device { name, machine, efficiency: Efficiency::CPU, threads: 1, products, figures: None };
        Hardware { system, available_bytes, gpus: Vec::new(), sharing: Sharing::default() }
    }

    /// What computes, each kind once.
    pub fn devices(&self) -> Vec<&Device> {
        let mut devices = vec![&self.system];
        for gpu in &self.gpus {
            if devices.iter().all(|device| device.name != gpu.device.name) {
                devices.push(&gpu.device);
            }
        }
        devices
    }

    /// What it is, in a line.
    pub fn name(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        let mut counts: Vec<(&str, usize)> = Vec::new();
        for gpu in &self.gpus {
            match counts.iter_mut().find(|(name, _)| *name == gpu.device.name) {
                Some((_, count)) => *count += 1,
                None => counts.push((&gpu.device.name, 1)),
            }
        }
        names.extend(counts.iter().map(
            |(name, count)| {
                if *count == 1 { (*name).to_owned() } else { format!("{count} x {name}") }
            },
        ));
        names.push(self.system.name.clone());
        names.join(" + ")
    }
}

/// What is known of GPUs and processors: the file `data/hardware.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// What the figures are.
    pub about: String,
    /// GPUs, those of Apple's chips among them.
    pub gpus: Vec<KnownGpu>,
    /// Processors.
    pub cpus: Vec<KnownCpu>,
}

/// How a GPU is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuKind {
    /// With a memory of its own.
    #[default]
    Gpu,
    /// In the system's memory.
    Unified,
    /// In the system's memory, one of Apple's.
    Apple,
}

/// A GPU of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownGpu {
    /// Its name.
    pub name: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Memory; of a chip that shares the system's, the most it is sold with.
    pub memory_gib: f64,
    /// Of its memory.
    pub bandwidth_gb_s: f64,
    /// Numbers of 32 bits.
    pub f32_tflops: f64,
    /// Numbers of 16 bits with sums of 32, dense.
    pub f16_tflops: f64,
    /// Bytes, dense.
    pub i8_tops: f64,
    /// To the system's memory, one way; 0 where they are one.
    pub link_gb_s: f64,
    /// To another one, one way, where there is a link for that.
    #[serde(default)]
    pub peer_gb_s: Option<f64>,
    /// How it is connected.
    #[serde(default)]
    pub kind: GpuKind,
    /// Month it was announced or sold first.
    pub released: String,
    /// What the figures follow from.
    pub parts: GpuParts,
    /// Where the figures are from.
    pub figures: Figures,
}

/// Cores of one kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cores {
    /// How many.
    pub count: u32,
    /// Their base clock.
    pub ghz: f64,
    /// Additions and multiplications of f32 in a cycle of each.
    pub f32_flops_a_cycle: f64,
}

/// A processor of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownCpu {
    /// Its name, as it stands in what the processor calls itself.
    pub name: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its cores.
    pub cores: Vec<Cores>,
    /// The fastest memory it is specified for.
    pub memory: String,
    /// Width of the bus to it.
    pub bus_bits: u32,
    /// Transfers a second of that bus, in units of 10^6.
    pub mega_transfers_s: u32,
    /// What that gives.
    pub bandwidth_gb_s: f64,
    /// The instructions its kernels would use.
    pub isa: String,
    /// Month it was announced or sold first.
    pub released: String,
    /// Where the figures are from.
    pub figures: Figures,
}

/// The table that comes with the program.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../data/hardware.json"))
            .expect("the test `the_table_is_sound` parses this very text")
    });
    &TABLE
}

/// Letters and digits of a name, in lower case: `RTX 4090` and `rtx-4090` are one.
fn key(name: &str) -> String {
    name.chars().filter(|symbol| symbol.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

impl Table {
    /// The GPU of this name, with or without its maker's.
    pub fn gpu(&self, name: &str) -> Option<&KnownGpu> {
        let wanted = bare(name)?;
        self.gpus.iter().find(|gpu| {
            std::iter::once(&gpu.name).chain(&gpu.aliases).any(|name| bare(name).is_some_and(|name| name == wanted))
        })
    }

    /// The processor whose name stands in this text, as `AMD Ryzen 9 7950X 16-Core Processor`; the longest name counts.
    pub fn cpu(&self, text: &str) -> Option<&KnownCpu> {
        if text.len() > NAME_LENGTH_MAX {
            return None;
        }
        let text = key(&text.replace("(R)", "").replace("(TM)", ""));
        let stands =
            |cpu: &&KnownCpu| std::iter::once(&cpu.name).chain(&cpu.aliases).any(|name| text.contains(&key(name)));
        self.cpus.iter().filter(stands).max_by_key(|cpu| cpu.name.len())
    }

    /// Names of GPUs that have letters of this one, for hints.
    pub fn gpus_like(&self, name: &str) -> Vec<&str> {
        let wanted = bare(name).unwrap_or_default();
        let digits: String = wanted.chars().filter(char::is_ascii_digit).collect();
        let is_like = |gpu: &&KnownGpu| {
            let known = bare(&gpu.name).unwrap_or_default();
            known.contains(&wanted) || digits.len() >= 2 && known.contains(&digits)
        };
        self.gpus.iter().filter(is_like).map(|gpu| gpu.name.as_str()).take(6).collect()
    }
}

/// The key of a name without what its maker calls all its parts.
fn bare(name: &str) -> Option<String> {
    if name.len() > NAME_LENGTH_MAX {
        return None;
    }
    let mut key = key(name);
    for word in ["nvidia", "geforce", "amd", "radeon", "instinct", "intel", "apple"] {
        key = key.strip_prefix(word).map_or(key.clone(), str::to_owned);
    }
    (!key.is_empty()).then_some(key)
}

/// Of memory that a GPU shares with the system, what models may have: the system takes the rest (Apple's "recommended working set",
/// two thirds to three quarters).
const UNIFIED_SHARE: f64 = 0.75;

impl KnownGpu {
    /// It as hardware. `unified_bytes` is the machine's memory, where that is said and is the GPU's too.
    pub fn gpu(&self, unified_bytes: Option<u64>) -> Gpu {
        let macs = |tera_operations: f64| tera_operations * 1e12 / 2.0;
        let is_shared = self.kind != GpuKind::Gpu;
        let whole = (self.memory_gib * f64::from(1u32 << 30)) as u64;
        let memory_bytes = match unified_bytes {
            Some(bytes) if is_shared => (bytes as f64 * UNIFIED_SHARE) as u64,
            _ if is_shared => (whole as f64 * UNIFIED_SHARE) as u64,
            _ => whole,
        };
        let link = (self.link_gb_s > 0.0 && !is_shared).then_some(self.link_gb_s * 1e9);
        Gpu {
            device: Device {
                name: self.name.clone(),
                machine: Machine {
                    read_bytes_per_second: self.bandwidth_gb_s * 1e9,
                    f32_macs_per_second: macs(self.f32_tflops),
                    i16_macs_per_second: macs(self.f16_tflops),
                    i8_macs_per_second: macs(self.i8_tops),
                    code_macs_per_second: macs(self.i8_tops),
                },
                efficiency: if self.kind == GpuKind::Apple { Efficiency::APPLE } else { Efficiency::GPU },
                threads: 1,
                products: Default::default(),
                figures: Some(self.figures.clone()),
            },
            memory_bytes,
            link_bytes_per_second: link,
            // Without a link of their own, through the system's memory: there and back.
            peer_bytes_per_second: self.peer_gb_s.map_or(link.unwrap_or(1e10) / 2.0, |rate| rate * 1e9),
        }
    }
}

impl KnownCpu {
    /// Threads that would share its work: one a core.
    pub fn threads(&self) -> usize {
        self.cores.iter().map(|cores| cores.count as usize).sum()
    }

    /// What it can do with the memory it is specified for. Rates of narrow numbers are so many times those of f32.
    pub fn machine(&self) -> Machine {
        let flops: f64 =
            self.cores.iter().map(|cores| f64::from(cores.count) * cores.ghz * 1e9 * cores.f32_flops_a_cycle).sum();
        // Products of words pairwise, of bytes by four in one instruction where there is one, else in two or three.
        let (words, bytes, codes) = match self.isa.as_str() {
            "avx512-vnni" | "avx-vnni" | "neon-dot" => (2.0, 4.0, 4.0),
            "neon" => (1.0, 2.0, 2.0),
            _ => (1.6, 1.9, 3.2),
        };
        let macs = flops / 2.0;
        Machine {
            read_bytes_per_second: self.bandwidth_gb_s * 1e9,
            f32_macs_per_second: macs,
            i16_macs_per_second: words * macs,
            i8_macs_per_second: bytes * macs,
            code_macs_per_second: codes * macs,
        }
    }
}

/// Whether weights of this type lie in blocks of codes.
pub fn is_coded(tensor_type: TensorType) -> bool {
    !matches!(tensor_type, TensorType::F64 | TensorType::F32 | TensorType::F16 | TensorType::BF16)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        let table = table();
        assert!(table.gpus.len() >= 60 && table.cpus.len() >= 20);
        let mut names = HashSet::new();
        let is_month = |text: &str| {
            let (year, month) = text.split_once('-').expect("year and month");
            (2015..=2026).contains(&year.parse::<u32>().expect("a year"))
                && (1..=12).contains(&month.parse::<u32>().expect("a month"))
        };
        for gpu in &table.gpus {
            for name in std::iter::once(&gpu.name).chain(&gpu.aliases) {
                assert!(names.insert(bare(name).expect("a name")), "{name} twice");
            }
            assert!(is_month(&gpu.released), "{}", gpu.name);
            assert!((4.0..=512.0).contains(&gpu.memory_gib) && (60.0..=8000.0).contains(&gpu.bandwidth_gb_s));
            assert!(gpu.f32_tflops > 1.0 && gpu.f16_tflops >= gpu.f32_tflops && gpu.i8_tops >= gpu.f16_tflops * 0.5);
            assert_eq!(gpu.link_gb_s == 0.0, gpu.kind != GpuKind::Gpu, "{}", gpu.name);
        }
        for cpu in &table.cpus {
            assert!(is_month(&cpu.released) && !cpu.memory.is_empty(), "{}", cpu.name);
            let machine = cpu.machine();
            assert!((1e10..2e13).contains(&machine.f32_macs_per_second), "{}: {machine:?}", cpu.name);
            assert!((10.0..700.0).contains(&cpu.bandwidth_gb_s), "{}", cpu.name);
        }
    }

    #[test]
    fn parts_are_found_by_what_they_are_called() {
        let gpu = |name| table().gpu(name).map(|gpu| gpu.name.as_str());
        for (name, found) in [
            ("RTX 4090", Some("RTX 4090")),
            ("NVIDIA GeForce RTX 4090", Some("RTX 4090")),
            ("rtx4090", Some("RTX 4090")),
            ("M2 Ultra", Some("Apple M2 Ultra")),
            ("Strix Halo", Some("Radeon 8060S")),
            ("H100", Some("H100 SXM")),
            ("RTX 4091", None),
            ("", None),
        ] {
            assert_eq!(gpu(name), found, "{name}");
        }
        let cpu = |text| table().cpu(text).map(|cpu| cpu.name.as_str());
        assert_eq!(cpu("AMD Ryzen 9 7950X 16-Core Processor"), Some("Ryzen 9 7950X"));
        assert_eq!(cpu("Intel(R) Core(TM) i9-14900K"), Some("Core i9-14900K"));
        assert_eq!(cpu("AMD EPYC"), None);
        assert!(table().gpus_like("RTX 4091").is_empty() && table().gpus_like("4090").contains(&"RTX 4090"));
    }

    #[test]
    fn a_shared_memory_is_not_all_the_gpu_s() {
        let known = table().gpu("Apple M2 Ultra").expect("it is in the table");
        assert_eq!(known.gpu(None).memory_bytes, 144 << 30);
        assert_eq!(known.gpu(Some(64 << 30)).memory_bytes, 48 << 30);
        assert_eq!(known.gpu(None).link_bytes_per_second, None);
        assert_eq!(table().gpu("RTX 3090").expect("known").gpu(Some(64 << 30)).memory_bytes, 24 << 30);
    }

    #[test]
    fn what_is_read_in_codes_and_in_numbers_takes_the_sum_of_its_times() {
        let device = table().gpu("RTX 3090").expect("known").gpu(None).device;
        let rate = |share| device.as_used(share, 1).read_bytes_per_second / 936e9;
        assert!((rate(1.0) - 0.63).abs() < 1e-9 && (rate(0.0) - 0.8).abs() < 1e-9);
        assert!(rate(0.5) > 0.63 && rate(0.5) < 0.8);
        // Narrow models cost more on processors alone; halves are widened there unless the machine multiplies them.
        assert_eq!(device.as_used(1.0, 2), device.as_used(1.0, 1));
        let known = table().cpu("Ryzen 9 7950X").expect("known");
        let mut processor = Hardware::of_system(known.name.clone(), known.machine(), None).system;
        let (wide, narrow) = (processor.as_used(1.0, 1), processor.as_used(1.0, 2));
        assert_eq!(narrow.code_macs_per_second * 2.0, wide.code_macs_per_second);
        assert_eq!(wide.i16_macs_per_second, wide.f32_macs_per_second);
        processor.efficiency.widens_halves = false;
        assert_eq!(processor.as_used(1.0, 1).i16_macs_per_second, 2.0 * wide.f32_macs_per_second);
        assert_eq!(processor.as_used(1.0, 2).i16_macs_per_second, wide.f32_macs_per_second);
    }
}
