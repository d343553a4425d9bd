//! A pseudo terminal with the program in it: what a user sees and types.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use lair_testkit::skipped;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The program on a terminal.
pub struct Terminal {
    /// The terminal's other end.
    end: File,
    child: Child,
    /// What was shown and not yet looked at.
    unread: String,
    /// Everything that was shown.
    pub shown: String,
    /// Bytes of a character that is not whole yet.
    partial: Vec<u8>,
}

impl Terminal {
    /// Starts the program with these arguments on a terminal of 60 columns, with this folder as home. `None`, with a loud
    /// line, where `setsid` is missing, which makes the terminal the program's own.
    pub fn start(arguments: &[&str], home: &Path) -> Option<Terminal> {
        let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pseudo terminal");
        grantpt(&end).expect("granted");
        unlockpt(&end).expect("unlocked");
        let name = ptsname(&end, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let size = Winsize { ws_row: 40, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&end, size).expect("a size");
        let other = File::options().read(true).write(true).open(name).expect("the other end");
        let end_for_child = || Stdio::from(other.try_clone().expect("another handle"));
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_lair")]).args(arguments);
        command.stdin(end_for_child()).stdout(end_for_child()).stderr(end_for_child());
        command.env("HOME", home).env("LAIR_HOME", home.join("lair")).env("OLLAMA_MODELS", home.join("models"));
        command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("OLLAMA_NOHISTORY");
        match command.spawn() {
            Ok(child) => {
                let end = File::from(end);
                Some(Terminal { end, child, unread: String::new(), shown: String::new(), partial: Vec::new() })
            }
            Err(error) => {
                skipped(&format!("the terminal cannot be handed over: setsid: {error}"));
                None
            }
        }
    }

    /// Types a line and ends it.
    pub fn line(&mut self, text: &str) {
        self.keys(&format!("{text}\r"));
    }

    /// Presses these keys.
    pub fn keys(&mut self, keys: &str) {
        self.end.write_all(keys.as_bytes()).expect("the terminal takes it");
    }

    /// Waits until `text` is shown, and gives what stood before it since the last wait.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            if let Some(found) = self.unread.find(text) {
                let rest = self.unread.split_off(found + text.len());
                let before = std::mem::replace(&mut self.unread, rest);
                return before[..found].to_owned();
            }
            assert!(self.read(), "the program ended; `{text}` was never shown in: {}", self.shown);
        }
    }

    /// Types a line and gives what is shown until the next prompt.
    pub fn ask(&mut self, line: &str) -> String {
        self.line(line);
        // The line itself is shown as it is typed, with every key.
        self.wait_for("\n");
        self.wait_for(PROMPT)
    }

    /// Waits for the end of the program.
    pub fn end(mut self) -> (ExitStatus, String) {
        while self.read() {}
        (self.child.wait().expect("the program is our child"), std::mem::take(&mut self.shown))
    }

    /// Takes what is shown next; false at the end.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // A terminal that nobody holds open any more gives an error instead of an end.
        let count = self.end.read(&mut bytes).unwrap_or(0);
        self.partial.extend_from_slice(&bytes[..count]);
        let whole = match std::str::from_utf8(&self.partial) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let rest = self.partial.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.partial, rest)).expect("just checked");
        self.unread.push_str(&text);
        self.shown.push_str(&text);
        count > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails where it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The prompt of a chat, behind what moves the cursor to it.
pub const PROMPT: &str = ">>> ";
