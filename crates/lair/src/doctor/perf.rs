//! Misses of the last cache, counted by the program `perf` where it is installed and the system lets it: it is started beside this
//! process and told to stop when what is measured ends.

use std::process::{Child, Command, Stdio};

/// A count that runs.
pub struct CacheMisses {
    process: Child,
}

impl CacheMisses {
    /// Begins to count for this process; `None` where there is no `perf`.
    pub fn begin() -> Option<CacheMisses> {
        let process = Command::new("perf")
            .args(["stat", "-x", ",", "-e", "cache-misses", "-p", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        Some(CacheMisses { process })
    }

    /// Ends it: how many lines were not found, if the processor counts that.
    pub fn end(mut self) -> Option<u64> {
        // On an interrupt `perf` prints what it has; by its own number, so that nobody else is meant.
        let told = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().ok()?;
        if !told.success() {
            let _ = self.process.kill();
        }
        let output = self.process.wait_with_output().ok()?;
        parse(&String::from_utf8_lossy(&output.stderr))
    }
}

/// The count of `123456,,cache-misses,...`; none of `<not supported>,,cache-misses,...`.
fn parse(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("cache-misses"))?;
    line.split(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_prints_is_read() {
        assert_eq!(parse("# started\n1234567,,cache-misses,5004,100.00,,\n"), Some(1_234_567));
        assert_eq!(parse("<not supported>,,cache-misses,0,100.00,,\n"), None);
        assert_eq!(parse("Error: no permission"), None);
    }
}
