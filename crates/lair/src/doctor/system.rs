//! The system's own accounts of processors, memory and pressure: files below `/proc` and `/sys`. Which folder stands for the root can be
//! chosen, so that tests have a machine of their own.
//!
//! Source: proc(5), cgroups(7), the kernel's `Documentation/accounting/psi.rst`.

use std::fs;
use std::path::PathBuf;

/// Files of the kernel are short; what is longer is cut.
const TEXT_BYTES_MAX: u64 = 1 << 20;
/// Threads whose accounts are read.
const THREADS_MAX: usize = 4096;

/// Where the accounts are read.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

/// Bytes of memory and swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAccount {
    /// All there is.
    pub total: u64,
    /// What can be had without swapping.
    pub available: u64,
    /// Swap there is.
    pub swap_total: u64,
    /// Swap in use.
    pub swap_used: u64,
}

/// What a control group allows of the processors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CpuQuota {
    /// Processors' worth of time.
    pub cpus: f64,
    /// Periods in which the group used all of it and was stopped.
    pub throttled_count: u64,
    /// Seconds for which it was stopped.
    pub throttled_seconds: f64,
}

/// Counters that grow, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Processor time of all kinds, in ticks.
    pub cpu_ticks: u64,
    /// Of it, nothing to do.
    pub idle_ticks: u64,
    /// Of it, taken by the host for others.
    pub stolen_ticks: u64,
    /// Of it, this process's.
    pub own_ticks: u64,
    /// Seconds for which a control group was stopped.
    pub throttled_seconds: f64,
    /// Pages read back from swap.
    pub swapped_in_pages: u64,
    /// Pages written to swap.
    pub swapped_out_pages: u64,
    /// Faults of this process that waited for a disk.
    pub major_faults: u64,
    /// Seconds in which something waited for memory.
    pub memory_stall_seconds: f64,
    /// Seconds that threads of this process were ready and waited for a processor.
    pub waiting_seconds: f64,
}

impl System {
    /// This machine.
    pub fn real() -> System {
        System { root: PathBuf::from("/") }
    }

    /// A machine whose files lie below this folder.
    pub fn below(root: PathBuf) -> System {
        System { root }
    }

    /// The text of a file, or its beginning.
    pub fn read(&self, path: &str) -> Option<String> {
        use std::io::Read;
        let mut text = Vec::new();
        let file = fs::File::open(self.root.join(path)).ok()?;
        file.take(TEXT_BYTES_MAX).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Names in a folder.
    pub fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).take(THREADS_MAX).collect();
        names.sort();
        names
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// What the processor calls itself.
    pub fn processor_name(&self) -> Option<String> {
        field(&self.read("proc/cpuinfo")?, "model name").map(str::to_owned)
    }

    /// Features of the processor, as the kernel spells them.
    pub fn processor_flags(&self) -> Vec<String> {
        let text = self.read("proc/cpuinfo").unwrap_or_default();
        let flags = field(&text, "flags").or_else(|| field(&text, "Features")).unwrap_or_default();
        flags.split_whitespace().map(str::to_owned).collect()
    }

    /// Processors that are on.
    pub fn processor_count(&self) -> usize {
        let text = self.read("proc/cpuinfo").unwrap_or_default();
        text.lines().filter(|line| line.starts_with("processor")).count()
    }

    /// Memory and swap.
    pub fn memory(&self) -> Option<MemoryAccount> {
        let text = self.read("proc/meminfo")?;
        let bytes = |name: &str| -> Option<u64> {
            let value = field(&text, name)?.strip_suffix("kB")?.trim();
            value.parse::<u64>().ok()?.checked_mul(1024)
        };
        let swap_total = bytes("SwapTotal").unwrap_or(0);
        Some(MemoryAccount {
            total: bytes("MemTotal")?,
            available: bytes("MemAvailable")?,
            swap_total,
            swap_used: swap_total.saturating_sub(bytes("SwapFree").unwrap_or(swap_total)),
        })
    }

    /// The folders of this process's control group and of those around it, from the inside out; the second version's hierarchy, else
    /// that of this controller.
    fn group_folders(&self, controller: &str) -> Vec<String> {
        let text = self.read("proc/self/cgroup").unwrap_or_default();
        let own = |wanted: &str| {
            text.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|name| name == wanted).then(|| path.trim_matches('/').to_owned())
            })
        };
        let mut folders = Vec::new();
        for (mount, path) in
            [("sys/fs/cgroup".to_owned(), own("")), (format!("sys/fs/cgroup/{controller}"), own(controller))]
        {
            let mut path = path.unwrap_or_default();
            loop {
                let folder = if path.is_empty() { mount.clone() } else { format!("{mount}/{path}") };
                folders.push(folder);
                match path.rsplit_once('/') {
                    Some((outer, _)) => path = outer.to_owned(),
                    None if path.is_empty() => break,
                    None => path.clear(),
                }
            }
        }
        folders
    }

    /// The tightest bound on processor time; `None` where there is none.
    pub fn cpu_quota(&self) -> Option<CpuQuota> {
        let of = |folder: &String| -> Option<CpuQuota> {
            let number = |text: String| text.trim().parse::<f64>().ok();
            let (quota, period) = match self.read(&format!("{folder}/cpu.max")) {
                Some(text) => {
                    let mut words = text.split_whitespace().map(str::to_owned);
                    (number(words.next()?)?, number(words.next()?)?)
                }
                None => (
                    number(self.read(&format!("{folder}/cpu.cfs_quota_us"))?)?,
                    number(self.read(&format!("{folder}/cpu.cfs_period_us"))?)?,
                ),
            };
            let stat = self.read(&format!("{folder}/cpu.stat")).unwrap_or_default();
            let count = |name: &str| word_after(&stat, name).and_then(|word| word.parse::<u64>().ok());
            let seconds = count("throttled_usec").map(|micros| micros as f64 / 1e6);
            let seconds = seconds.or_else(|| count("throttled_time").map(|nanos| nanos as f64 / 1e9));
            (quota > 0.0 && period > 0.0).then(|| CpuQuota {
                cpus: quota / period,
                throttled_count: count("nr_throttled").unwrap_or(0),
                throttled_seconds: seconds.unwrap_or(0.0),
            })
        };
        let quotas = self.group_folders("cpu").into_iter().filter_map(|folder| of(&folder));
        quotas.min_by(|left, right| left.cpus.total_cmp(&right.cpus))
    }

    /// The tightest bound on memory, in bytes.
    pub fn memory_limit(&self) -> Option<u64> {
        let of = |folder: &String| -> Option<u64> {
            let text = self
                .read(&format!("{folder}/memory.max"))
                .or_else(|| self.read(&format!("{folder}/memory.limit_in_bytes")))?;
            // Without a bound the first version says a number near 2^63.
            text.trim().parse::<u64>().ok().filter(|bytes| *bytes < 1 << 60)
        };
        self.group_folders("memory").iter().filter_map(of).min()
    }

    /// All counters; those that the system does not keep are 0.
    pub fn counters(&self) -> Counters {
        let text = |path: &str| self.read(path).unwrap_or_default();
        let (stat, vmstat, own) = (text("proc/stat"), text("proc/vmstat"), text("proc/self/stat"));
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("cpu "))
            .map(|line| line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect())
            .unwrap_or_default();
        let tick = |index: usize| ticks.get(index).copied().unwrap_or(0);
        // Behind the name, which may hold anything: state, then numbers from the fourth field on.
        let behind = own.rfind(')').map_or("", |end| &own[end + 1..]);
        let own = |index: usize| {
            behind.split_whitespace().nth(index - 3).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
        };
        let of_vm = |name: &str| word_after(&vmstat, name).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let waiting = self.list("proc/self/task").into_iter().filter_map(|thread| {
            let account = self.read(&format!("proc/self/task/{thread}/schedstat"))?;
            account.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        Counters {
            cpu_ticks: ticks.iter().sum(),
            idle_ticks: tick(3) + tick(4),
            stolen_ticks: tick(7),
            own_ticks: own(14) + own(15),
            throttled_seconds: self.cpu_quota().map_or(0.0, |quota| quota.throttled_seconds),
            swapped_in_pages: of_vm("pswpin"),
            swapped_out_pages: of_vm("pswpout"),
            major_faults: own(12),
            memory_stall_seconds: self.stall_seconds("proc/pressure/memory"),
            waiting_seconds: waiting.sum::<u64>() as f64 / 1e9,
        }
    }

    /// Seconds of `some avg10=0.00 ... total=123` (microseconds).
    fn stall_seconds(&self, path: &str) -> f64 {
        let text = self.read(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("some")).unwrap_or_default();
        let total = line.split_whitespace().find_map(|word| word.strip_prefix("total="));
        total.and_then(|micros| micros.parse::<u64>().ok()).map_or(0.0, |micros| micros as f64 / 1e6)
    }
}

impl Counters {
    /// What was added since `before`.
    pub fn since(&self, before: &Counters) -> Counters {
        let ticks = |of: fn(&Counters) -> u64| of(self).saturating_sub(of(before));
        let seconds = |of: fn(&Counters) -> f64| (of(self) - of(before)).max(0.0);
        Counters {
            cpu_ticks: ticks(|counters| counters.cpu_ticks),
            idle_ticks: ticks(|counters| counters.idle_ticks),
            stolen_ticks: ticks(|counters| counters.stolen_ticks),
            own_ticks: ticks(|counters| counters.own_ticks),
            throttled_seconds: seconds(|counters| counters.throttled_seconds),
            swapped_in_pages: ticks(|counters| counters.swapped_in_pages),
            swapped_out_pages: ticks(|counters| counters.swapped_out_pages),
            major_faults: ticks(|counters| counters.major_faults),
            memory_stall_seconds: seconds(|counters| counters.memory_stall_seconds),
            waiting_seconds: seconds(|counters| counters.waiting_seconds),
        }
    }
}

/// The value of a line `name : value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// The second word of the line whose first is `name`.
fn word_after<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of these files.
    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let system = System::below(folder.path().to_owned());
        (folder, system)
    }

    #[test]
    fn the_tightest_quota_of_the_groups_around_counts() {
        let (_folder, system) = machine(&[
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/outer/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/outer/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 2500000\n"),
            ("sys/fs/cgroup/outer/memory.max", "1073741824\n"),
        ]);
        let expected = CpuQuota { cpus: 1.5, throttled_count: 4, throttled_seconds: 2.5 };
        assert_eq!(system.cpu_quota(), Some(expected));
        assert_eq!(system.memory_limit(), Some(1 << 30));
        let (_folder, old) = machine(&[
            ("proc/self/cgroup", "4:cpu,cpuacct:/box\n7:memory:/box\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.stat", "nr_throttled 3\nthrottled_time 1000000000\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(old.cpu_quota().map(|quota| (quota.cpus, quota.throttled_seconds)), Some((0.5, 1.0)));
        assert_eq!(old.memory_limit(), None);
        let (_folder, free) = machine(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cpu.max", "max 100000")]);
        assert_eq!((free.cpu_quota(), free.memory_limit()), (None, None));
    }

    #[test]
    fn counters_are_read_and_subtracted() {
        let stat = "77 (a b) c) R 1 2 3 4 5 6 7 8 30 10 100 20 0 0 20 0";
        let (_folder, system) = machine(&[
            ("proc/stat", "cpu  100 0 50 800 10 0 0 40 0 0\n"),
            ("proc/self/stat", stat),
            ("proc/vmstat", "nr_free_pages 5\npswpin 700\npswpout 9\n"),
            ("proc/pressure/memory", "some avg10=1.00 avg60=0 avg300=0 total=3000000\nfull avg10=0 total=1\n"),
            ("proc/self/task/77/schedstat", "5 2000000000 7\n"),
            ("proc/self/task/78/schedstat", "5 1000000000 7\n"),
        ]);
        let counters = system.counters();
        assert_eq!((counters.cpu_ticks, counters.idle_ticks, counters.stolen_ticks), (1000, 810, 40));
        assert_eq!((counters.own_ticks, counters.major_faults), (120, 30));
        assert_eq!((counters.swapped_in_pages, counters.swapped_out_pages), (700, 9));
        assert_eq!((counters.memory_stall_seconds, counters.waiting_seconds), (3.0, 3.0));
        let before = Counters { swapped_in_pages: 500, own_ticks: 200, ..Counters::default() };
        let since = counters.since(&before);
        assert_eq!((since.swapped_in_pages, since.own_ticks), (200, 0));
        let (_folder, nothing) = machine(&[]);
        assert_eq!((nothing.counters(), nothing.memory()), (Counters::default(), None));
    }

    #[test]
    fn processors_and_memory_are_read() {
        let (_folder, system) = machine(&[
            ("proc/cpuinfo", "processor\t: 0\nmodel name\t: A chip\nflags\t\t: fpu avx2\n\nprocessor\t: 1\n"),
            ("proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 40 kB\nSwapTotal: 50 kB\nSwapFree: 20 kB\n"),
        ]);
        assert_eq!((system.processor_name().as_deref(), system.processor_count()), (Some("A chip"), 2));
        assert_eq!(system.processor_flags(), ["fpu", "avx2"]);
        let memory = system.memory().expect("it is there");
        assert_eq!((memory.total, memory.available, memory.swap_used), (102_400, 40_960, 30_720));
    }
}
