//! A package client that is a shell script: it copies prepared wheels and writes down what it was asked for.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zip::write::{SimpleFileOptions, ZipWriter};

/// Understands `download ... -d FOLDER ... NAME==VERSION`.
const SCRIPT: &str = r#"#!/bin/sh
home=$(dirname "$0")
echo "$*" >>"$home/calls"
while [ $# -gt 1 ]; do
  if [ "$1" = -d ]; then folder=$2; fi
  shift
done
if [ ! -f "$home/$1.whl" ]; then
  echo "WARNING: Retrying after connection broken by 'NewConnectionError'" >&2
  echo "ERROR: No matching distribution found for $1" >&2
  exit 1
fi
cp "$home/$1.whl" "$TMPDIR/part" && mv "$TMPDIR/part" "$folder/$1-py3-none-any.whl"
"#;

/// A folder with the script and its wheels.
pub struct Client {
    folder: tempfile::TempDir,
}

impl Client {
    /// A client that knows no package yet.
    pub fn new() -> Client {
        Client::with_script(SCRIPT)
    }

    /// A client that runs another script.
    pub fn with_script(script: &str) -> Client {
        let client = Client { folder: tempfile::tempdir().expect("a folder") };
        let program = client.folder.path().join("client");
        fs::write(&program, script).expect("writes");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("may be run");
        client
    }

    /// How to call it.
    pub fn command(&self) -> Vec<String> {
        // Through the shell: a script that was just written may still be busy when another thread forks.
        vec!["sh".to_string(), self.folder.path().join("client").display().to_string()]
    }

    /// Adds `package==1.0` with one member, deflated or stored.
    pub fn add(&self, package: &str, member: &str, bytes: &[u8], method: zip::CompressionMethod) -> PathBuf {
        let path = self.folder.path().join(format!("{package}==1.0.whl"));
        let mut wheel = ZipWriter::new(fs::File::create(&path).expect("creates"));
        let options = SimpleFileOptions::default().compression_method(method);
        wheel.start_file(format!("{package}/__init__.py"), options).expect("a member");
        wheel.start_file(member, options).expect("a member");
        wheel.write_all(bytes).expect("writes");
        wheel.finish().expect("closes");
        path
    }

    /// The last word of every call so far: the packages that were asked for.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        text.lines().filter_map(|line| line.split(' ').next_back()).map(str::to_string).collect()
    }

    /// Where it lives.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
