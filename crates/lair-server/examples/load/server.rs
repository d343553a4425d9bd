//! `lair serve` as a process of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A server that ends with its owner.
pub struct Server {
    process: Child,
    pub address: String,
    pub flags: Vec<String>,
}

impl Server {
    /// Starts one on a free port.
    pub fn start(lair: &PathBuf, flags: &[String]) -> Server {
        let mut command = Command::new(lair);
        command.args(["serve", "--port", "0", "--log-level", "warn"]).args(flags).stdin(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
        std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(|line| eprintln!("server: {line}")));
        Server { process, address, flags: flags.to_vec() }
    }

    /// Bytes of it that lie in memory, where the system says.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
    }

    /// Asks it to end, and waits.
    pub fn end(mut self) -> bool {
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        asked.is_ok_and(|status| status.success()) && self.process.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
