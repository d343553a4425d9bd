//! A real process is killed with SIGKILL at random points of creating, copying, removing and clearing.
#![cfg(unix)]

mod fakes;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
/// Processes at once, and how often they start together.
const WORKERS: u64 = 8;
const ROUNDS_AT_ONCE: u64 = 4;

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
        match store.copy(&name(&model), &name(&format!("{model}:copy"))) {
            // Another process was faster.
            Ok(()) | Err(StoreError::UnknownModel { .. } | StoreError::MissingBlob { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        store.gc(GcOptions { quota_bytes: Some(120_000), ..GcOptions::default() }).expect("cleared");
        match store.remove(&name(&format!("m{}", (index + 2) % 5))) {
            Ok(_) | Err(StoreError::UnknownModel { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A process that works on the store in a folder.
struct Worker(Child);

impl Worker {
    fn start(folder: &Path, seed: u64) -> Worker {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn();
        Worker(child.expect("starts"))
    }

    /// Waits until it has announced so many operations.
    fn wait_for(&mut self, operation_count: u64) {
        let mut announced = 0;
        let mut bytes = [0; 256];
        let out = self.0.stdout.as_mut().expect("piped");
        while announced < operation_count {
            let count = out.read(&mut bytes).expect("reads");
            assert!(count > 0, "the child has ended by itself");
            announced += bytes[..count].iter().filter(|byte| **byte == 1).count() as u64;
        }
    }

    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}

const KEPT: [(&str, &[u8]); 3] = [("keep:a", b"kept weights"), ("keep:b", b"kept weights"), ("keep:c", b"others")];

/// A folder whose store has some models that nobody touches.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("file.gguf"), vec![5; 70_000]).expect("written");
    let store = Store::open(Settings::at(folder.path()));
    for (model, weights) in KEPT {
        create(&store, model, weights).expect("created");
        store.pin(&name(model)).expect("pinned");
    }
    folder
}

/// What must hold when nobody works on the store.
fn check(folder: &Path, context: &str) {
    let store = Store::open(Settings::at(folder));
    let models = store.list().unwrap_or_else(|error| panic!("{context}: {error}"));
    for model in &models {
        assert!(model.is_whole(), "{context}: {} {:?}", model.name, model.damage);
        for file in &model.files {
            let verified = store.blobs().verify(&file.digest.expect("a digest"));
            verified.unwrap_or_else(|error| panic!("{context}: {error}"));
        }
    }
    for (model, _) in KEPT {
        assert!(models.iter().any(|found| found.name == model), "{context}: `{model}` is lost");
    }
    let left: Vec<PathBuf> = std::fs::read_dir(store.blobs().root().join(".lair/tmp"))
        .map_or(Vec::new(), |entries| entries.map(|entry| entry.expect("an entry").path()).collect());
    assert!(left.is_empty(), "{context}: {left:?} is left");
}

#[test]
fn nothing_is_lost_or_half_written_wherever_a_process_is_killed() {
    let folder = prepared();
    let mut state = 0x5EED_u64;
    for seed in 0..KILLS {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let operation_count = 1 + state % OPERATIONS_MAX;
        let mut worker = Worker::start(folder.path(), seed);
        worker.wait_for(operation_count);
        worker.kill();
        check(folder.path(), &format!("kill {seed} after {operation_count} operations"));
    }
    println!("{KILLS} kills survived");
}

#[test]
fn processes_at_once_do_not_harm_each_other() {
    let folder = prepared();
    for round in 0..ROUNDS_AT_ONCE {
        let mut workers: Vec<Worker> =
            (0..WORKERS).map(|index| Worker::start(folder.path(), round * 10 + index)).collect();
        workers.iter_mut().for_each(|worker| worker.wait_for(OPERATIONS_MAX / 2));
        workers.into_iter().for_each(Worker::kill);
        check(folder.path(), &format!("round {round}"));
    }
}
