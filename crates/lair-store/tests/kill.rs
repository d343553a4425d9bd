//! A real process is killed with SIGKILL at random points of creating, copying, removing and clearing.
#![cfg(unix)]

mod fakes;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use fakes::announcing::Announcing;
use lair_store::oci::{Manifest, media_type};
use lair_store::{Adopt, GcOptions, ModelName, Settings, Store, StoreError};

/// Says to the child that it is one, and where it works.
const FOLDER: &str = "LAIR_TEST_KILL_FOLDER";
const SEED: &str = "LAIR_TEST_KILL_SEED";
/// How often a process is killed.
const KILLS: u64 = 100;
/// A cycle of the child has some 700 operations; a few cycles are seen.
const OPERATIONS_MAX: u64 = 1500;

fn name(text: &str) -> ModelName {
    text.parse().expect("a name")
}

fn create(store: &Store, model: &str, weights: &[u8]) -> Result<(), StoreError> {
    let config = store.put_layer(media_type::CONFIG, format!("{{\"of\":\"{model}\"}}").as_bytes())?;
    let layers = vec![store.put_layer(media_type::MODEL, weights)?];
    store.put_manifest(&name(model), &Manifest::new(config, layers).to_bytes()).map(drop)
}

/// Works until it is killed, announcing each operation on its disk.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let seed: u64 = std::env::var(SEED).expect("set with the folder").parse().expect("a number");
    let mut settings = Settings::at(&folder);
    settings.file_system = Arc::new(Announcing::new(|| {
        let mut out = std::io::stdout().lock();
        // The parent is gone when this fails.
        let told = out.write_all(b"\x01").and_then(|()| out.flush());
        told.unwrap_or_else(|_| std::process::exit(0));
    }));
    let store = Store::open(settings);
    let file = Path::new(&folder).join("file.gguf");
    for index in seed.. {
        let weights: Vec<u8> = (0..50_000).map(|at| (at * 31 + index * 7) as u8).collect();
        let model = format!("m{}", index % 5);
        create(&store, &model, &weights).expect("created");
        store
            .blobs()
            .adopt(&file, if index % 2 == 0 { Adopt::Copy } else { Adopt::HardLink }, &mut |_| ())
            .expect("adopted");
        store.copy(&name(&model), &name(&format!("{model}:copy"))).expect("copied");
        store.gc(GcOptions { quota_bytes: Some(120_000), ..GcOptions::default() }).expect("cleared");
        match store.remove(&name(&format!("m{}", (index + 2) % 5))) {
            Ok(_) | Err(StoreError::UnknownModel { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Starts a child, and kills it after it has announced so many operations.
fn kill_after(folder: &Path, seed: u64, operation_count: u64) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut announced = 0;
    let mut bytes = [0; 256];
    let mut out = child.stdout.take().expect("piped");
    while announced < operation_count {
        let count = out.read(&mut bytes).expect("reads");
        assert!(count > 0, "the child has ended by itself");
        announced += bytes[..count].iter().filter(|byte| **byte == 1).count() as u64;
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
}

#[test]
fn nothing_is_lost_or_half_written_wherever_a_process_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file.gguf"), vec![5; 70_000]).expect("written");
    let open = || Store::open(Settings::at(folder.path()));
    let kept = [("keep:a", &b"kept weights"[..]), ("keep:b", b"kept weights"), ("keep:c", b"others")];
    for (model, weights) in kept {
        create(&open(), model, weights).expect("created");
        open().pin(&name(model)).expect("pinned");
    }
    let mut state = 0x5EED_u64;
    for seed in 0..KILLS {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let operation_count = 1 + state % OPERATIONS_MAX;
        kill_after(folder.path(), seed, operation_count);
        let context = format!("kill {seed} after {operation_count} operations");
        let store = open();
        let models = store.list().unwrap_or_else(|error| panic!("{context}: {error}"));
        for model in &models {
            assert!(model.is_whole(), "{context}: {} {:?}", model.name, model.damage);
            for file in &model.files {
                store
                    .blobs()
                    .verify(&file.digest.expect("a digest"))
                    .unwrap_or_else(|error| panic!("{context}: {error}"));
            }
        }
        for (model, _) in kept {
            assert!(models.iter().any(|found| found.name == model), "{context}: `{model}` is lost");
        }
        let left: Vec<PathBuf> = std::fs::read_dir(store.blobs().root().join(".lair/tmp"))
            .map_or(Vec::new(), |entries| entries.map(|entry| entry.expect("an entry").path()).collect());
        assert!(left.is_empty(), "{context}: {left:?} is left");
    }
    println!("{KILLS} kills survived");
}
