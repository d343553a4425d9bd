//! The real program is killed with SIGKILL at random moments of pulling, creating, pushing and clearing.
//!
//! `LAIR_TEST_KILLS=200` kills so often while pulling, and a quarter as often in each of the others; without it a tenth.
//! A moment is drawn from the time that the command takes undisturbed, and a bit beyond.
#![cfg(unix)]

mod registry;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lair_store::oci::{Manifest, media_type};
use lair_store::{Digest, ModelName, Note, Settings, Store};

use registry::{Http, in_memory, lair, succeed};

/// How often `pull` is killed.
const KILLS: usize = 20;
/// What one request asks for; a piece is an eighth of it.
const PART_BYTES: usize = 256 * 1024;
/// What must survive whatever happens to other models.
const KEPT: &str = "kept:latest";

fn kills() -> usize {
    std::env::var("LAIR_TEST_KILLS").map_or(KILLS, |count| count.parse().expect("LAIR_TEST_KILLS is a number"))
}

/// xorshift64
struct Random(u64);

impl Random {
    /// From 0 to almost 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Bytes of which none is zero, so that what was never written shows; they are no model, and nobody runs them.
fn weights(size_bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ seed);
    let mut bytes = b"GGUF".to_vec();
    bytes.resize_with(size_bytes, || 1 + (random.next() * 255.0) as u8);
    bytes
}

fn open(home: &Path) -> Store {
    Store::open(Settings::at(home.join("lair")))
}

fn add(store: &Store, name: &str, weights: &[u8]) {
    let config = store.put_layer(media_type::CONFIG, format!("{{\"of\":\"{name}\"}}").as_bytes()).expect("kept");
    let layers = vec![store.put_layer(media_type::MODEL, weights).expect("kept")];
    let name: ModelName = name.parse().expect("a name");
    store.put_manifest(&name, &Manifest::new(config, layers).to_bytes()).expect("named");
    // Without a note it would be another program's, which no quota removes.
    store.put_note(&name, &Note::from_source("a test")).expect("noted");
}

/// What must hold whenever nobody is at work: what is listed is whole and is what its digest says, what has the name of
/// a blob is that blob, and what nobody touched is there. Returns the names.
fn check(home: &Path, context: &str) -> Vec<String> {
    let store = open(home);
    let models = store.list().unwrap_or_else(|error| panic!("{context}: {error}"));
    for model in &models {
        assert!(model.is_whole(), "{context}: `{}` is listed and is {:?}", model.name, model.damage);
    }
    for entry in std::fs::read_dir(store.blobs().root().join("blobs")).into_iter().flatten().flatten() {
        let found = Digest::of(&std::fs::read(entry.path()).expect("reads")).file_name();
        assert_eq!(found, entry.file_name().to_string_lossy(), "{context}: a blob that is not what its name says");
    }
    let names: Vec<String> = models.into_iter().map(|model| model.name).collect();
    assert!(names.iter().any(|name| name == KEPT), "{context}: `{KEPT}` is lost");
    names
}

/// Starts `command` and kills it after so long. Returns whether it had ended by itself.
fn run_for(command: &mut Command, duration: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    std::thread::sleep(duration);
    let ended = child.try_wait().expect("asked");
    assert!(ended.is_none_or(|status| status.success()), "{command:?} failed by itself");
    // Whoever has ended in between is gone as well.
    let _ = child.kill();
    child.wait().expect("ended");
    ended.is_some()
}

/// How long a command takes that nobody disturbs.
fn measured(command: &mut Command) -> Duration {
    let start = Instant::now();
    succeed(command);
    start.elapsed()
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    add(&open(home.path()), KEPT, b"GGUF that stays");
    home
}

fn pull(home: &Path, name: &str) -> Command {
    let mut command = lair(home);
    command.args(["pull", name, "--part-size", &PART_BYTES.to_string()]);
    command
}

/// A registry with one model, and what that model is.
fn served(size_bytes: usize) -> (Http, String, Vec<u8>) {
    let (memory, answer) = in_memory();
    let weights = weights(size_bytes, 0);
    {
        let source = tempfile::tempdir().expect("a folder");
        let store = Store::open(Settings::at(source.path()));
        add(&store, "model", &weights);
        let stored = store.manifest(&"model".parse().expect("a name")).expect("reads").expect("is there");
        let mut memory = memory.lock().expect("not poisoned");
        for blob in stored.manifest.blobs() {
            let bytes = store.blobs().read(&blob.digest, 1 << 30).expect("reads");
            memory.blobs.insert(blob.digest.to_string(), bytes);
        }
        memory.manifests.insert("/v2/acme/model/manifests/latest".to_string(), stored.bytes);
    }
    let server = Http::start(answer);
    let name = format!("{}/acme/model", server.address);
    (server, name, weights)
}

/// How many bytes of the weights have reached the disk.
fn arrived(partial: &Path, weights: &[u8]) -> usize {
    let bytes = std::fs::read(partial).unwrap_or_default();
    bytes.iter().zip(weights).filter(|(found, expected)| found == expected).count()
}

#[test]
fn a_pull_that_is_killed_loses_nothing_and_fetches_at_most_a_part_again() {
    let (server, name, weights) = served(6_000_001);
    let digest = Digest::of(&weights);
    let undisturbed = {
        let home = home();
        measured(&mut pull(home.path(), &name))
    };
    let (mut random, mut killed, mut with_bytes, mut worst) = (Random(0x5EED), 0, 0, 0);
    while killed < kills() {
        let home = home();
        let context = format!("kill {killed}");
        let has_ended = run_for(&mut pull(home.path(), &name), undisturbed.mul_f64(1.2 * random.next()));
        killed += usize::from(!has_ended);
        let is_listed = check(home.path(), &context).contains(&format!("{name}:latest"));
        assert!(is_listed || !has_ended, "{context}: it ended and nothing is listed");
        let store = open(home.path());
        let is_there = store.blobs().is_present(&digest, weights.len() as u64);
        let arrived = if is_there { weights.len() } else { arrived(&store.blobs().partial_path(&digest), &weights) };
        with_bytes += usize::from(arrived > 0 && !is_there);
        server.forget();
        succeed(&mut pull(home.path(), &name));
        assert!(check(home.path(), &context).contains(&format!("{name}:latest")), "{context}");
        let of_weights = |request: &&registry::Request| request.path.ends_with(&digest.to_string());
        let asked: usize = server
            .requests()
            .iter()
            .filter(of_weights)
            .map(|request| match request.range() {
                Some((first, end)) => end - first,
                None => weights.len(),
            })
            .sum();
        let again = asked.saturating_sub(weights.len() - arrived);
        assert!(again <= PART_BYTES, "{context}: {arrived} bytes had arrived, {again} of them were fetched again");
        worst = worst.max(again);
    }
    println!("{killed} kills of pull, {with_bytes} of them amid the bytes; at most {worst} bytes fetched again");
}

#[test]
fn a_create_that_is_killed_makes_the_model_or_none() {
    let model = lair_testkit::shared_data("models/stories260K-f32.gguf");
    let Some(model) = model else { return };
    let home = home();
    std::fs::copy(&model, home.path().join("weights.gguf")).expect("copied");
    let create = |index: usize| {
        // Other words, so that there is something to write each time.
        let file = home.path().join("Modelfile");
        let text = format!("FROM ./weights.gguf\nSYSTEM You are number {index}.\nPARAMETER num_ctx {}\n", 512 + index);
        std::fs::write(&file, text).expect("written");
        let mut command = lair(home.path());
        command.args(["create", &format!("made{index}"), "-f"]).arg(file);
        command
    };
    let undisturbed = measured(&mut create(0));
    let (mut random, mut killed, mut made, mut index) = (Random(0xC0FFEE), 0, vec!["made0:latest".to_string()], 0);
    while killed < kills().div_ceil(4) {
        index += 1;
        let has_ended = run_for(&mut create(index), undisturbed.mul_f64(1.2 * random.next()));
        killed += usize::from(!has_ended);
        let names = check(home.path(), &format!("kill {killed}"));
        for name in &made {
            assert!(names.contains(name), "kill {killed}: `{name}` was listed and is lost");
        }
        if has_ended {
            assert!(names.contains(&format!("made{index}:latest")), "it ended and nothing is listed");
        }
        made = names.into_iter().filter(|name| name != KEPT).collect();
    }
    println!("{killed} kills of create in {index} runs, {} models made", made.len());
}

#[test]
fn a_push_that_is_killed_names_nothing_that_the_registry_lacks() {
    let home = home();
    let undisturbed = {
        let (_memory, answer) = in_memory();
        let server = Http::start(answer);
        let name = format!("{}/acme/model", server.address);
        add(&open(home.path()), &name, &weights(3_000_000, 1));
        measured(lair(home.path()).args(["push", &name]))
    };
    let (mut random, mut killed) = (Random(0xFEED), 0);
    while killed < kills().div_ceil(4) {
        let (memory, answer) = in_memory();
        let server = Http::start(answer);
        let name = format!("{}/acme/model", server.address);
        add(&open(home.path()), &name, &weights(3_000_000, 1));
        let has_ended = run_for(lair(home.path()).args(["push", &name]), undisturbed.mul_f64(1.2 * random.next()));
        killed += usize::from(!has_ended);
        let context = format!("kill {killed}");
        assert!(check(home.path(), &context).contains(&format!("{name}:latest")), "{context}");
        let path = "/v2/acme/model/manifests/latest";
        {
            let memory = memory.lock().expect("not poisoned");
            let named = memory.manifests.get(path).map(|bytes| Manifest::parse(bytes).expect("a whole manifest"));
            assert!(named.is_some() || !has_ended, "{context}: it ended and the registry has nothing");
            for blob in named.iter().flat_map(Manifest::blobs) {
                let bytes = memory.blobs.get(&blob.digest.to_string());
                let bytes = bytes.unwrap_or_else(|| panic!("{context}: a blob that is named is not there"));
                assert_eq!(Digest::of(bytes), blob.digest, "{context}");
            }
        }
        // Again, and whoever pulls gets all of it.
        succeed(lair(home.path()).args(["push", &name]));
        if killed.is_multiple_of(5) {
            let other = self::home();
            succeed(&mut pull(other.path(), &name));
            check(other.path(), &context);
        }
        open(home.path()).remove(&name.parse().expect("a name")).expect("removed");
    }
    println!("{killed} kills of push");
}

#[test]
fn a_gc_that_is_killed_removes_nothing_that_is_named() {
    let home = home();
    let root = open(home.path()).blobs().root().to_path_buf();
    let litter = |count: usize| {
        let store = open(home.path());
        for index in 0..count {
            // A blob that nobody names, a model that is removed without its blobs, a download that nobody continues.
            let digest = store.blobs().put(&weights(20_000, 10 + index as u64)).expect("kept");
            store.blobs().release(&[digest]).expect("released");
            let name = format!("evicted{index}:latest");
            add(&store, &name, &weights(30_000, 1000 + index as u64));
            let partial = store.blobs().partial_path(&Digest::of(name.as_bytes()));
            std::fs::create_dir_all(partial.parent().expect("a folder")).expect("made");
            std::fs::write(partial, b"half").expect("written");
        }
        store.pin(&KEPT.parse().expect("a name")).expect("pinned");
    };
    let clear = || {
        let mut command = lair(home.path());
        command.args(["gc", "--quota", "1K"]);
        command
    };
    litter(30);
    let undisturbed = measured(&mut clear());
    let (mut random, mut killed) = (Random(0xBEEF), 0);
    while killed < kills().div_ceil(4) {
        litter(30);
        let has_ended = run_for(&mut clear(), undisturbed.mul_f64(1.2 * random.next()));
        killed += usize::from(!has_ended);
        let names = check(home.path(), &format!("kill {killed}"));
        assert!(!has_ended || names == [KEPT], "{names:?}");
    }
    succeed(&mut clear());
    assert_eq!(check(home.path(), "at the end"), [KEPT]);
    let left: Vec<PathBuf> =
        std::fs::read_dir(root.join("blobs")).expect("reads").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    println!("{killed} kills of gc");
}
