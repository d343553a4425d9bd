//! What the machine has left for a model, and what this process has used.

/// Bytes of memory that a new allocation can have without swapping: what the system says is available, and no more than
/// the control group allows. `None` where the system does not say.
pub fn available_memory_bytes() -> Option<u64> {
    let system = meminfo_bytes("MemAvailable:");
    match (system, control_group_bytes()) {
        (Some(system), Some(group)) => Some(system.min(group)),
        (system, group) => system.or(group),
    }
}

/// The most memory this process has had in use, in bytes (pages of mapped files included).
pub fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    field_bytes(&status, "VmHWM:")
}

/// What of this process lies in memory now, in bytes: pages of its own, and pages of mapped files. Files in memory (shared
/// memory) count as files.
pub fn resident_bytes() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let file = field_bytes(&status, "RssFile:")? + field_bytes(&status, "RssShmem:").unwrap_or(0);
    Some((field_bytes(&status, "RssAnon:")?, file))
}

/// Bytes that this process has had read from disks.
pub fn disk_read_bytes() -> Option<u64> {
    let counts = std::fs::read_to_string("/proc/self/io").ok()?;
    counts.lines().find_map(|line| line.strip_prefix("read_bytes:"))?.trim().parse().ok()
}

/// Files that this process may have open, where the system says.
pub fn open_files_max() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the processor calls itself.
pub fn processor_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Bytes of the largest cache.
pub fn largest_cache_bytes() -> Option<u64> {
    let caches = std::fs::read_dir("/sys/devices/system/cpu/cpu0/cache").ok()?;
    caches.filter_map(|cache| cache_bytes(&std::fs::read_to_string(cache.ok()?.path().join("size")).ok()?)).max()
}

/// The bytes of `32768K`.
fn cache_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, factor) = match text.strip_suffix('K') {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Drops the pages of a file from the page cache, as far as no process has them mapped. Whether they are gone the system
/// does not say.
pub fn forget_pages(path: &std::path::Path) -> std::io::Result<()> {
    let file = std::fs::File::open(path)?;
    #[cfg(target_os = "linux")]
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    drop(file);
    Ok(())
}

fn meminfo_bytes(field: &str) -> Option<u64> {
    field_bytes(&std::fs::read_to_string("/proc/meminfo").ok()?, field)
}

/// The value of a line such as `MemAvailable:   123 kB`.
fn field_bytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(field))?;
    let kilobytes: u64 = line[field.len()..].trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// What is left under the memory limit of the control group (version 2, then version 1). Pages of files that the kernel
/// can drop count as free.
fn control_group_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str| read(path).and_then(|text| text.trim().parse::<u64>().ok());
    for (root, limit, usage, cache) in [
        (control_group_path("")?, "memory.max", "memory.current", "inactive_file "),
        (control_group_path("memory")?, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
    ] {
        let Some(limit) = number(&format!("{root}/{limit}")) else { continue };
        let used = number(&format!("{root}/{usage}")).unwrap_or(0);
        let droppable = read(&format!("{root}/memory.stat"))
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with(cache))?;
                line[cache.len()..].trim().parse::<u64>().ok()
            })
            .unwrap_or(0);
        return Some(limit.saturating_sub(used.saturating_sub(droppable)));
    }
    None
}

/// Where this process's control group lies: the unified hierarchy for an empty name, else that controller's.
fn control_group_path(controller: &str) -> Option<String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    });
    let mount =
        if controller.is_empty() { "/sys/fs/cgroup".to_owned() } else { format!("/sys/fs/cgroup/{controller}") };
    Some(format!("{mount}{}", own.unwrap_or("").trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_field_of_a_listing() {
        let text = "MemTotal:       100 kB\nMemAvailable:    42 kB\n";
        assert_eq!(field_bytes(text, "MemAvailable:"), Some(42 * 1024));
        assert_eq!(field_bytes(text, "SwapFree:"), None);
        assert_eq!(field_bytes("MemAvailable: x kB", "MemAvailable:"), None);
    }

    #[test]
    fn reads_the_size_of_a_cache() {
        assert_eq!(["48K\n", "32M", "512", "K"].map(cache_bytes), [Some(48 << 10), Some(32 << 20), Some(512), None]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_machine_says_what_it_has() {
        assert!(resident_bytes().is_some_and(|(own, _)| own > 0));
        assert!(open_files_max().is_some_and(|count| count > 0));
        assert!(available_memory_bytes().is_some_and(|size_bytes| size_bytes > 0));
        assert!(peak_memory_bytes().is_some_and(|size_bytes| size_bytes > 0));
    }
}
