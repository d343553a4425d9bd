//! What this machine can do, measured once and kept.
//!
//! Measuring takes some seconds; the result is kept in Lair's folder for the processor, threads and instruction set it was
//! measured with.

use std::path::Path;

use lair_compute::cpu::CpuOptions;
use lair_compute::cpu::probe::{self, Peaks};
use lair_sizing::{Hardware, Machine};
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
    /// Whether it was measured now, not before.
    pub is_new: bool,
}

/// It as hardware without GPUs, with so much memory.
pub fn hardware(name: String, machine: Machine, available_bytes: Option<u64>) -> Hardware {
    let mut hardware = Hardware::of_system(name, machine, available_bytes);
    hardware.system.efficiency.widens_halves = !multiplies_halves();
    hardware
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
    let known = std::fs::read(&path).ok().filter(|_| !again).and_then(|bytes| read(&bytes, &name));
    if let Some(machine) = known {
        return Ok(MeasuredMachine { name, machine, is_new: false });
    }
    let peaks = measure(options)?;
    let machine = machine_of(&peaks);
    let _ = keep(folder, &path, &name, &machine);
    Ok(MeasuredMachine { name, machine, is_new: true })
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

/// The machine of this name, if the file has it with numbers that a machine can have.
fn read(bytes: &[u8], name: &str) -> Option<Machine> {
    let json: Json = serde_json::from_slice(bytes).ok()?;
    if json["name"].as_str() != Some(name) {
        return None;
    }
    let rate = |key: &str| json[key].as_f64().filter(|rate| rate.is_finite() && *rate > 0.0);
    let [read, f32, i16, i8, code] = RATES.map(rate);
    Some(Machine {
        read_bytes_per_second: read?,
        f32_macs_per_second: f32?,
        i16_macs_per_second: i16?,
        i8_macs_per_second: i8?,
        code_macs_per_second: code?,
    })
}

fn keep(folder: &Path, path: &Path, name: &str, machine: &Machine) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut json = json!({ "name": name });
    let rates = [
        machine.read_bytes_per_second,
        machine.f32_macs_per_second,
        machine.i16_macs_per_second,
        machine.i8_macs_per_second,
        machine.code_macs_per_second,
    ];
    RATES.iter().zip(rates).for_each(|(key, rate)| json[*key] = rate.into());
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
        keep(folder.path(), &path, "this one", &MACHINE).expect("kept");
        let bytes = std::fs::read(&path).expect("it is there");
        assert_eq!(read(&bytes, "this one"), Some(MACHINE));
        assert_eq!(read(&bytes, "another"), None);
        for damaged in ["", "{}", r#"{"name": "this one", "read_bytes_per_second": -1}"#] {
            assert_eq!(read(damaged.as_bytes(), "this one"), None, "{damaged}");
        }
    }
}
