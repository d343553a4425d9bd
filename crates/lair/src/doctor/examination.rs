//! The machine itself: processors and their instructions, memory and how fast it is read, swap, quotas, GPUs, the server's port.

use std::net::{TcpListener, ToSocketAddrs};

use lair_compute::cpu::{Cpu, CpuOptions};
use lair_sizing::Machine;
use lair_sizing::hardware::table;

use super::finding::Finding;
use super::system::System;
use crate::commands::show::bytes_text;

/// Instructions that matter, as the kernel spells them, and whether kernels of Lair use them.
const FEATURES: &[(&str, bool, &str)] = &[
    ("avx2", true, "AVX2"),
    ("avx_vnni", true, "AVX-VNNI"),
    ("avx512f", true, "AVX-512"),
    ("avx512_vnni", true, "AVX-512 VNNI"),
    ("avx512_bf16", false, "AVX-512 BF16"),
    ("amx_int8", false, "AMX"),
    ("asimd", true, "NEON"),
    ("asimddp", true, "dot products"),
    ("i8mm", false, "8-bit matrices"),
    ("sve", false, "SVE"),
];
/// Of what a chip's memory should give, less than this means a module, a channel or a setting is missing.
const BANDWIDTH_SHARE_MIN: f64 = 0.5;
/// Makers of GPUs by the numbers of the PCI bus.
const MAKERS: &[(&str, &str)] = &[("0x10de", "NVIDIA"), ("0x1002", "AMD"), ("0x8086", "Intel")];

/// Everything about the machine. `machine` is what it was measured to do.
pub fn machine(system: &System, machine: Option<&Machine>) -> Vec<Finding> {
    let mut findings = processor(system);
    findings.extend(quota(system));
    findings.extend(memory(system));
    findings.extend(machine.map(|machine| bandwidth(system, machine)));
    findings.extend(gpus(system));
    findings
}

fn processor(system: &System) -> Vec<Finding> {
    let flags = system.processor_flags();
    let has = |name: &str| flags.iter().any(|flag| flag == name);
    let there: Vec<&str> = FEATURES.iter().filter(|(name, ..)| has(name)).map(|(.., word)| *word).collect();
    let unused: Vec<&str> =
        FEATURES.iter().filter(|(name, is_used, _)| has(name) && !is_used).map(|(.., word)| *word).collect();
    let name = system.processor_name().unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let one_thread = CpuOptions { threads: Some(1), ..CpuOptions::default() };
    let used = Cpu::new(one_thread).map_or("none", |cpu| cpu.isa_name());
    let count = system.processor_count();
    let mut findings = vec![Finding::good("processor", format!("{name}, {count} processors; kernels use {used}"))];
    if there.is_empty() && !flags.is_empty() {
        findings.push(Finding::warning(
            "no-vectors",
            "the processor has no instructions that kernels use (AVX2, NEON): everything is several times slower",
            "in a virtual machine, pass the host's processor through (`-cpu host`); else a newer machine",
        ));
    }
    if !unused.is_empty() {
        let text = format!("the processor also has {}, which no kernel uses yet", unused.join(", "));
        findings.push(Finding::note("unused-features", text));
    }
    findings
}

fn quota(system: &System) -> Vec<Finding> {
    let count = system.processor_count() as f64;
    let mut findings = Vec::new();
    match system.cpu_quota() {
        Some(quota) if quota.cpus < count || quota.throttled_count > 0 => findings.push(Finding::warning(
            "cpu-quota",
            format!(
                "a control group allows {:.2} of {count:.0} processors; it was stopped {} times, for {:.1} s in all",
                quota.cpus, quota.throttled_count, quota.throttled_seconds
            ),
            "raise the quota: `--cpus` of a container, `cpu.max` of a group, CPU limits of a pod",
        )),
        Some(quota) => {
            findings.push(Finding::good("cpu-quota", format!("a control group allows {:.2} processors", quota.cpus)));
        }
        None => findings.push(Finding::good("cpu-quota", "no control group bounds the processors")),
    }
    if let (Some(limit), Some(memory)) = (system.memory_limit(), system.memory())
        && limit < memory.total
    {
        let text = format!("a control group allows {} of {} memory", bytes_text(limit), bytes_text(memory.total));
        findings.push(Finding::note("memory-limit", text));
    }
    findings
}

fn memory(system: &System) -> Vec<Finding> {
    let Some(memory) = system.memory() else {
        return vec![Finding::note("memory", "the system does not say how much memory it has")];
    };
    let text = format!("{} of {} memory can be had", bytes_text(memory.available), bytes_text(memory.total));
    let mut findings = vec![if memory.available < memory.total / 10 {
        Finding::warning("memory", text, "close other programs; `lair ps` and `lair stop` free models of the server")
    } else {
        Finding::good("memory", text)
    }];
    // Pages that lie in swap were not needed; that much of them means that memory was short.
    findings.push(if memory.swap_used > memory.total / 20 {
        Finding::warning(
            "swap",
            format!("{} lie in swap: memory was short, and what is swapped comes back at the disk's speed", bytes_text(memory.swap_used)),
            "close other programs or use a smaller model; `lair fit` says what fits, `lair why-slow` whether swap slows it down",
        )
    } else {
        Finding::good("swap", format!("{} of {} swap are in use", bytes_text(memory.swap_used), bytes_text(memory.swap_total)))
    });
    let pages = system.read("sys/kernel/mm/transparent_hugepage/enabled");
    if pages.is_some_and(|text| text.contains("[never]")) {
        findings.push(Finding::warning(
            "huge-pages",
            "large pages of memory are switched off: weights are read through more translations",
            "`echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled`",
        ));
    }
    findings
}

/// What memory gives against what the chip's specification says.
fn bandwidth(system: &System, machine: &Machine) -> Finding {
    let measured = machine.read_bytes_per_second / 1e9;
    let known = system.processor_name().and_then(|name| table().cpu(&name));
    let Some(known) = known else {
        let text = format!("memory is read at {measured:.1} GB/s; what this chip should give is not in the table");
        return Finding::good("bandwidth", text);
    };
    let share = measured / known.bandwidth_gb_s;
    let text = format!(
        "memory is read at {measured:.1} GB/s, {:.0} % of the {:.1} GB/s of {} ({})",
        100.0 * share,
        known.bandwidth_gb_s,
        known.memory,
        known.name
    );
    if share < BANDWIDTH_SHARE_MIN {
        let fix = "fill every channel with a module of the same kind, and switch the memory's profile (XMP, EXPO) on; in a virtual machine, other guests use it too";
        return Finding::warning("bandwidth", text, fix);
    }
    Finding::good("bandwidth", text)
}

fn gpus(system: &System) -> Vec<Finding> {
    let cards = system.list("sys/class/drm");
    // `card0`, not its outputs `card0-HDMI-A-1`.
    let is_card = |name: &&String| name.starts_with("card") && !name.contains('-');
    let mut findings = Vec::new();
    for card in cards.iter().filter(is_card) {
        let number = system.read(&format!("sys/class/drm/{card}/device/vendor")).unwrap_or_default();
        let Some((_, maker)) = MAKERS.iter().find(|(known, _)| *known == number.trim()) else { continue };
        if *maker == "NVIDIA" && !system.has("proc/driver/nvidia/version") {
            findings.push(Finding::note("gpu-driver", "a GPU of NVIDIA is here without NVIDIA's driver"));
            continue;
        }
        findings.push(Finding::note("gpu", format!("a GPU of {maker} is here; Lair computes on the processors")));
    }
    if findings.is_empty() && system.has("proc/driver/nvidia/version") {
        findings.push(Finding::note("gpu", "NVIDIA's driver is loaded; Lair computes on the processors"));
    }
    if findings.is_empty() {
        findings.push(Finding::good("gpu", "no GPU is seen; none is needed"));
    }
    findings
}

/// Whether the server can listen where it would.
pub fn port(host: &str, port: u16, who: impl Fn() -> Option<String>) -> Finding {
    let address = format!("{host}:{port}");
    let addresses: Vec<_> = match (host, port).to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let text = format!("the server's address {address} is none: {error}");
            return Finding::problem("port", text, "set LAIR_HOST or OLLAMA_HOST to an address of this machine");
        }
    };
    match TcpListener::bind(&addresses[..]) {
        Ok(_) => Finding::good("port", format!("`lair serve` can listen at {address}")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => match who() {
            Some(who) => Finding::note("port-in-use", format!("{who} listens at {address}")),
            None => Finding::problem(
                "busy-port",
                format!("{address} is in use by a program that is no such server"),
                "`lair serve --port PORT` takes another port; `ss -ltnp` names the program",
            ),
        },
        Err(error) => Finding::problem(
            "port",
            format!("`lair serve` cannot listen at {address}: {error}"),
            "`lair serve --host HOST --port PORT` takes another address",
        ),
    }
}
