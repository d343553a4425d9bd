//! `lair fit`: whether a model runs here, how fast, and with how much context, before it is loaded.

use std::io::Write;

use clap::Args;
use lair_compute::cpu::{ActivationType, CpuOptions};
use lair_compute::{KvLayerLayout, KvLayout, PAGE_LENGTH};
use lair_sizing::{Estimate, Use};
use serde_json::json;

use crate::commands::run::KvChoice;
use crate::commands::show::bytes_text;
use crate::failure::{ExitCode, Failure, Outcome};
use crate::locate;
use crate::machine;
use crate::measured_machine::{self, MeasuredMachine};
use crate::session::activations_of;

/// Which model, for what.
#[derive(Args, Debug)]
pub struct FitArgs {
    /// A GGUF file or the short name of a model that is here [default: smollm2]
    model: Option<String>,
    /// Positions of a conversation [default: 4096, or as many as the model has]
    #[arg(long, value_name = "COUNT")]
    context: Option<usize>,
    /// Conversations at once
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    users: usize,
    /// How keys and values are kept
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = KvChoice::Q8_0)]
    kv_type: KvChoice,
    /// Threads to compute with [default: as many as this process may use]
    #[arg(long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Memory to plan with, in GiB [default: what is free now]
    #[arg(long, value_name = "GIB")]
    ram: Option<f64>,
    /// Measure the machine again
    #[arg(long)]
    measure: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

/// A context in which most conversations can be held.
const CONTEXT_DEFAULT: usize = 4096;

/// Runs the command.
pub fn fit(args: &FitArgs) -> Outcome {
    if args.users == 0 || args.context == Some(0) {
        return Err(Failure::new(ExitCode::Usage, "--users and --context are 1 or more"));
    }
    let available_bytes = match args.ram {
        Some(gibibytes) if gibibytes.is_finite() && gibibytes > 0.0 => Some((gibibytes * (1u64 << 30) as f64) as u64),
        Some(other) => {
            return Err(Failure::new(ExitCode::Usage, format!("--ram is {other}, a number above 0 expected")));
        }
        None => machine::available_memory_bytes(),
    };
    let located = locate::locate(args.model.as_deref(), args.json)?;
    let file = crate::weights::open(&located.path)?;
    let options = CpuOptions { threads: args.threads, ..CpuOptions::default() };
    let folder = locate::store()?.settings().root.clone();
    let measured = measured_machine::this_machine(&folder, &options, args.measure)?;
    let wanted = Use {
        context_length: args.context.unwrap_or(CONTEXT_DEFAULT),
        users: args.users,
        kv_element_bytes: element_bytes(args.kv_type),
        activation_bytes: if activations_of(&file) == ActivationType::Words { 2 } else { 1 },
        available_bytes,
    };
    let tensors_bytes: u64 = file.tensors().iter().map(|tensor| tensor.size_bytes).sum();
    let metadata_bytes = file.size_bytes().saturating_sub(tensors_bytes);
    let estimate = Estimate::of(file.metadata(), file.tensors(), metadata_bytes, measured.machine, wanted)
        .map_err(|error| Failure::new(ExitCode::BadModel, &error).with_hint(error.hint()))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        return Ok(writeln!(out, "{}", json_of(args, &located.name, &measured, wanted, &estimate))?);
    }
    print(&mut out, &located.name, &measured, wanted, &estimate)?;
    Ok(())
}

/// Bytes of an element of keys and values with its share of scales, as a page of one head of 128 elements has them.
fn element_bytes(kv: KvChoice) -> f64 {
    let (head_dim, layer) = (128, |dim| KvLayerLayout { kv_head_count: 1, key_dim: dim, value_dim: dim });
    let page = KvLayout { layers: vec![layer(head_dim)], element: kv.element(), page_count: 1 };
    page.page_bytes() as f64 / (2 * head_dim * PAGE_LENGTH) as f64
}

fn print(
    out: &mut impl Write,
    model: &str,
    measured: &MeasuredMachine,
    wanted: Use,
    estimate: &Estimate,
) -> std::io::Result<()> {
    let (memory, speeds) = (&estimate.memory, &estimate.speeds);
    writeln!(out, "{model}: {}", estimate.verdict.name())?;
    for reason in &estimate.reasons {
        writeln!(out, "  {reason}")?;
    }
    writeln!(out, "\nMemory")?;
    let context = wanted.context_length;
    let users = if wanted.users == 1 { String::new() } else { format!(" for each of {} users", wanted.users) };
    for (name, size_bytes, what) in [
        ("weights", memory.weights_bytes, String::new()),
        (
            "keys and values",
            memory.kv_bytes,
            format!("{context} positions{users}, {} each", bytes_text(estimate.kv_position_bytes as u64)),
        ),
        ("recurrent state", memory.state_bytes, String::new()),
        ("buffers", memory.step_bytes, String::new()),
        ("vocabulary and such", memory.other_bytes, String::new()),
        ("in all", memory.total_bytes(), String::new()),
    ] {
        if size_bytes > 0 {
            writeln!(out, "{}", format!("  {name:<22}{:>10}  {what}", bytes_text(size_bytes)).trim_end())?;
        }
    }
    writeln!(out, "  {:<22}{:>10}  positions fit", "longest context", estimate.context_length_max)?;
    writeln!(out, "\nSpeed, as estimated from what this machine does ({})", measured.name)?;
    writeln!(out, "  {:<22}{:>10.1}  tokens a second of a prompt", "prefill", speeds.prefill)?;
    writeln!(out, "  {:<22}{:>10.1}  tokens a second", "decode", speeds.decode)?;
    writeln!(out, "  {:<22}{:>10.1}  behind {context} positions", "", speeds.decode_at_context)?;
    if wanted.users > 1 {
        writeln!(out, "  {:<22}{:>10.1}  of all users together", "", speeds.all_users)?;
    }
    writeln!(
        out,
        "  {:<22}{:>10.2}  seconds, of a prompt of {} tokens",
        "first token",
        speeds.first_token_seconds,
        context.min(2000)
    )?;
    let gigabytes = measured.machine.read_bytes_per_second / 1e9;
    let said = if measured.is_new { "measured now" } else { "measured before; --measure does it again" };
    writeln!(out, "  memory is read at {gigabytes:.1} GB/s ({said})")
}

fn json_of(
    args: &FitArgs,
    model: &str,
    measured: &MeasuredMachine,
    wanted: Use,
    estimate: &Estimate,
) -> serde_json::Value {
    let (memory, speeds, machine) = (&estimate.memory, &estimate.speeds, &measured.machine);
    json!({
        "model": model, "verdict": estimate.verdict.name(), "reasons": estimate.reasons,
        "context_length": wanted.context_length, "users": wanted.users,
        "available_bytes": wanted.available_bytes, "context_length_max": estimate.context_length_max,
        "memory": {
            "weights_bytes": memory.weights_bytes, "kv_bytes": memory.kv_bytes, "state_bytes": memory.state_bytes,
            "step_bytes": memory.step_bytes, "other_bytes": memory.other_bytes, "total_bytes": memory.total_bytes(),
            "kv_position_bytes": estimate.kv_position_bytes,
        },
        "speed": {
            "prefill_tokens_per_second": speeds.prefill, "decode_tokens_per_second": speeds.decode,
            "decode_at_context_tokens_per_second": speeds.decode_at_context,
            "all_users_tokens_per_second": speeds.all_users, "first_token_seconds": speeds.first_token_seconds,
        },
        "machine": {
            "name": measured.name, "threads": args.threads, "read_bytes_per_second": machine.read_bytes_per_second,
            "f32_macs_per_second": machine.f32_macs_per_second, "i16_macs_per_second": machine.i16_macs_per_second,
            "i8_macs_per_second": machine.i8_macs_per_second, "code_macs_per_second": machine.code_macs_per_second,
        },
    })
}
