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
    #[cfg(target_os = "linux")]
    fn the_machine_says_what_it_has() {
        assert!(available_memory_bytes().is_some_and(|size_bytes| size_bytes > 0));
        assert!(peak_memory_bytes().is_some_and(|size_bytes| size_bytes > 0));
    }
}
