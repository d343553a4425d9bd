//! What this machine can do, measured once and kept.
//!
//! Measuring takes some seconds; the result is kept in Lair's folder for the processor, threads and instruction set it was
//! measured with.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use lair_compute::cpu::probe::{self, Peaks};
use lair_compute::cpu::{ActivationType, CpuOptions, product_probe};
use lair_gguf::TensorType;
use lair_sizing::{Hardware, Machine, ProductRates};
use serde_json::{Value as Json, json};

use crate::bench::machine_of;
use crate::failure::{ExitCode, Failure};
use crate::machine;

/// Where it is kept, in Lair's folder.
const FILE: &str = "machine.json";

/// A measured machine.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredMachine {
    /// Processor, threads and instruction set.
    pub name: String,
    /// What it can do.
    pub machine: Machine,
    /// What products reach of that: of models that multiply bytes, and of such that multiply words.
    pub products: [ProductRates; 2],
    /// Threads that were measured.
    pub threads: usize,
    /// Whether it was measured now, not before.
    pub is_new: bool,
}

impl MeasuredMachine {
    /// It as hardware without GPUs, with so much memory.
    pub fn hardware(&self, available_bytes: Option<u64>) -> Hardware {
        let mut hardware = Hardware::of_system(self.name.clone(), self.machine, available_bytes);
        hardware.system.efficiency.widens_halves = !multiplies_halves();
        hardware.system.threads = self.threads;
        hardware.system.products = self.products.clone();
        hardware
    }
}

/// Whether kernels multiply numbers of 16 bits as they are (`docs/decisions/0040`).
fn multiplies_halves() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// What was measured before with these options; measured now if nothing was, or if it is to be done again.
///
/// # Errors
/// If measuring fails. A file that cannot be written costs the next call the same time, no more.
pub fn this_machine(folder: &Path, options: &CpuOptions, again: bool) -> Result<MeasuredMachine, Failure> {
    let path = folder.join(FILE);
    let name = name_of(options);
    let threads = options.thread_count();
    // Two that measure at once would each find half a machine: whoever comes second waits, and takes what the first has found.
    static MEASURING: Mutex<()> = Mutex::new(());
    let known = || {
        let (machine, products) = std::fs::read(&path).ok().filter(|_| !again).and_then(|bytes| read(&bytes, &name))?;
        Some(MeasuredMachine { name: name.clone(), machine, products, threads, is_new: false })
    };
    if let Some(known) = known() {
        return Ok(known);
    }
    let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known() {
        return Ok(known);
    }
    let machine = machine_of(&measure(options)?);
    let products = measure_products(options)?;
    let measured = MeasuredMachine { name, machine, products, threads, is_new: true };
    let _ = keep(folder, &path, &measured);
    Ok(measured)
}

/// Rates of whole products, of bytes and of words.
///
/// # Errors
/// If threads or memory cannot be had.
pub fn measure_products(options: &CpuOptions) -> Result<[ProductRates; 2], Failure> {
    let of = |activations| {
        let rates = product_probe::measure(options, activations);
        rates.map(ProductRates::new).map_err(|error| Failure::new(ExitCode::Engine, error))
    };
    Ok([of(ActivationType::Bytes)?, of(ActivationType::Words)?])
}

/// The read bandwidth and the rates of multiply-adds.
///
/// # Errors
/// If threads or memory cannot be had.
pub fn measure(options: &CpuOptions) -> Result<Peaks, Failure> {
    // Four times the largest cache, so that hardly anything is found there; no more than a quarter of what is free.
    let wanted = probe::BUFFER_BYTES.max(4 * machine::largest_cache_bytes().unwrap_or(0) as usize);
    let most = machine::available_memory_bytes().map_or(usize::MAX, |bytes| (bytes / 4) as usize);
    probe::measure(options, wanted.min(most)).map_err(|error| Failure::new(ExitCode::Engine, error))
}

fn name_of(options: &CpuOptions) -> String {
    let processor = machine::processor_name().unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let threads = options.thread_count();
    format!("{processor}, {threads} threads, {:?}, {}", options.isa, env!("CARGO_PKG_VERSION"))
}

const RATES: [&str; 5] = [
    "read_bytes_per_second",
    "f32_macs_per_second",
    "i16_macs_per_second",
    "i8_macs_per_second",
    "code_macs_per_second",
];

/// How the two kinds of products are called in the file.
const PRODUCTS: [&str; 2] = ["products_of_bytes_macs_per_second", "products_of_words_macs_per_second"];

/// The machine of this name, if the file has it with numbers that a machine can have.
fn read(bytes: &[u8], name: &str) -> Option<(Machine, [ProductRates; 2])> {
    let json: Json = serde_json::from_slice(bytes).ok()?;
    if json["name"].as_str() != Some(name) {
        return None;
    }
    let positive = |value: &Json| value.as_f64().filter(|rate| rate.is_finite() && *rate > 0.0);
    let [read, f32, i16, i8, code] = RATES.map(|key| positive(&json[key]));
    let mut products: [ProductRates; 2] = Default::default();
    for (rates, key) in products.iter_mut().zip(PRODUCTS) {
        let types = json[key].as_object()?.iter();
        let known = types.map(|(name, rate)| Some((TensorType::from_name(name)?, positive(rate)?)));
        *rates = ProductRates::new(known.collect::<Option<Vec<_>>>()?);
    }
    let machine = Machine {
        read_bytes_per_second: read?,
        f32_macs_per_second: f32?,
        i16_macs_per_second: i16?,
        i8_macs_per_second: i8?,
        code_macs_per_second: code?,
    };
    Some((machine, products))
}

fn keep(folder: &Path, path: &Path, measured: &MeasuredMachine) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let machine = &measured.machine;
    let mut json = json!({ "name": measured.name });
    let rates = [
        machine.read_bytes_per_second,
        machine.f32_macs_per_second,
        machine.i16_macs_per_second,
        machine.i8_macs_per_second,
        machine.code_macs_per_second,
    ];
    RATES.iter().zip(rates).for_each(|(key, rate)| json[*key] = rate.into());
    for (rates, key) in measured.products.iter().zip(PRODUCTS) {
        let rates = rates.iter().map(|(tensor_type, rate)| (tensor_type.name().to_owned(), rate.into()));
        json[key] = Json::Object(rates.collect());
    }
    let file = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(file.path(), format!("{json:#}\n"))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        read_bytes_per_second: 3e10,
        f32_macs_per_second: 1e11,
        i16_macs_per_second: 2e11,
        i8_macs_per_second: 3e11,
        code_macs_per_second: 4e11,
    };

    #[test]
    fn what_is_kept_is_read_for_the_same_machine_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let products = [(TensorType::Q4_K, 5e11), (TensorType::F16, 1e11)].map(|rate| ProductRates::new(vec![rate]));
        let name = "this one".to_owned();
        let measured = MeasuredMachine { name, machine: MACHINE, products, threads: 2, is_new: true };
        keep(folder.path(), &path, &measured).expect("kept");
        let bytes = std::fs::read(&path).expect("it is there");
        assert_eq!(read(&bytes, "this one"), Some((MACHINE, measured.products)));
        assert_eq!(read(&bytes, "another"), None);
        for damaged in ["", "{}", r#"{"name": "this one", "read_bytes_per_second": -1}"#] {
            assert_eq!(read(damaged.as_bytes(), "this one"), None, "{damaged}");
        }
    }
}
