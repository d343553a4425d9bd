//! A hub mirror (`olah`) with a repository of its own, and the official client (`huggingface_hub`) that judges the cache.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use lair_store::{Pulled, Reference};

use super::real_registry::{free_port, wait_for};
use crate::fakes::registry::store;
use crate::fakes::{Told, blob};

/// The Python with both packages.
const PYTHON: &str = "LAIR_TEST_PYTHON";

/// What the official client makes of the cache, without a network.
const JUDGE: &str = r#"
import json, sys
from huggingface_hub import scan_cache_dir, snapshot_download, try_to_load_from_cache
info = scan_cache_dir()
assert not info.warnings, info.warnings
[repo] = info.repos
assert repo.repo_id == "acme/tiny", repo
[revision] = repo.revisions
assert revision.refs == frozenset(["main"]), revision
names = sorted(file.file_name for file in revision.files)
folder = snapshot_download("acme/tiny", allow_patterns=names, local_files_only=True)
for name in names:
    assert try_to_load_from_cache("acme/tiny", name) is not None, name
print(json.dumps(names))
"#;

struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Fails only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
    let status = Command::new("git").args(identity).args(arguments).current_dir(folder).stdout(Stdio::null()).status();
    assert!(status.expect("git runs").success(), "git {arguments:?}");
}

/// A repository of two shards, a single file and a description, served by the mirror.
fn start(python: &str, folder: &Path) -> (Started, String) {
    let repository = folder.join("mirrors/models/acme/tiny");
    std::fs::create_dir_all(&repository).expect("creates");
    let files =
        [("tiny-Q8_0-00001-of-00002.gguf", 700_001), ("tiny-Q8_0-00002-of-00002.gguf", 5), ("tiny-Q4_0.gguf", 9)];
    for (name, length) in files {
        std::fs::write(repository.join(name), &blob()[..length]).expect("writes");
    }
    std::fs::write(repository.join("README.md"), "# Tiny\n").expect("writes");
    git(&repository, &["init", "-q", "-b", "main"]);
    git(&repository, &["add", "-A"]);
    git(&repository, &["commit", "-q", "-m", "a model"]);
    let port = free_port();
    let config = format!(
        "[basic]\nhost = \"127.0.0.1\"\nport = {port}\nrepos-path = \"{0}/repos\"\nmirrors-path = [\"{0}/mirrors\"]\n\
         [accessibility]\noffline = true\n",
        folder.display()
    );
    std::fs::write(folder.join("olah.toml"), config).expect("writes");
    let program = Path::new(python).with_file_name("olah-cli");
    let child = Command::new(program)
        .args(["-c", "olah.toml"])
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("olah starts");
    let started = Started(child);
    wait_for(port);
    (started, format!("http://127.0.0.1:{port}"))
}

#[test]
fn the_official_client_accepts_the_cache_that_was_written() {
    let Ok(python) = std::env::var(PYTHON) else {
        eprintln!("SKIPPED: {PYTHON} names no Python with `olah` and `huggingface_hub`");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (_hub, endpoint) = start(&python, folder.path());
    let cache = folder.path().join("cache/hub");
    let store = store(&folder.path().join("home"), |settings| {
        settings.hub_endpoint = endpoint.clone();
        settings.transfer.hub_cache = Some(cache.clone());
    });
    for (text, count) in
        [("hf.co/acme/tiny:Q8_0", 2), ("hf.co/acme/tiny:tiny-Q4_0.gguf", 1), ("hf.co/acme/tiny:README.md", 1)]
    {
        let reference = Reference::parse(text).expect("a reference");
        let Pulled::Hub(pulled) = store.pull(&reference, &mut Told::default()).expect(text) else { panic!("{text}") };
        assert_eq!(pulled.files.len(), count, "{text}");
    }
    let judge = |program: &str, arguments: &[&str], offline: &str| {
        let output = Command::new(program)
            .args(arguments)
            .env("HF_HOME", folder.path().join("cache"))
            .env("HF_HUB_OFFLINE", offline)
            .env("HF_ENDPOINT", &endpoint)
            .env_remove("HF_HUB_CACHE")
            .output()
            .expect("runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}");
        said
    };
    let said = judge(&python, &["-c", JUDGE], "1");
    for name in ["README.md", "tiny-Q4_0.gguf", "tiny-Q8_0-00001-of-00002.gguf", "tiny-Q8_0-00002-of-00002.gguf"] {
        assert!(said.contains(name), "{name}: {said}");
    }
    // Its own check: every file that is here against the hashes that the hub gives.
    let hf = Path::new(&python).with_file_name("hf");
    let said = judge(&hf.display().to_string(), &["cache", "verify", "acme/tiny"], "0");
    println!("{said}");
}
