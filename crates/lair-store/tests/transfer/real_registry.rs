//! The registry that Debian packages (`docker-registry`), started here: push, pull by another store, tags, deletion.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lair_store::oci::{Manifest, media_type};
use lair_store::{Digest, ModelName, Note, Reference, Registry, Store, StoreError};

use crate::fakes::Told;
use crate::fakes::registry::store;

/// Looks for readiness before it is given up: half a minute.
const LOOKS_MAX: usize = 600;

struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Fails only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens at; the registry is told to.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// Returns when somebody listens at the port.
pub fn wait_for(port: u16) {
    for _ in 0..LOOKS_MAX {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody listens at port {port}");
}

fn start(folder: &Path) -> Option<(Started, String)> {
    let port = free_port();
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: \
         true\nhttp:\n  addr: 127.0.0.1:{port}\n",
        folder.join("data").display()
    );
    let path = folder.join("config.yml");
    std::fs::write(&path, config).expect("writes");
    let spawned =
        Command::new("docker-registry").arg("serve").arg(&path).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(child) = spawned else {
        eprintln!("SKIPPED: `docker-registry` is not installed");
        return None;
    };
    let started = Started(child);
    wait_for(port);
    Some((started, format!("127.0.0.1:{port}")))
}

/// A model of more than one chunk of an upload.
fn put_model(store: &Store, name: &ModelName) {
    let mut weights = b"GGUF".to_vec();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    while weights.len() < 70 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        weights.extend(state.to_le_bytes());
    }
    let config = store.put_layer(media_type::CONFIG, br#"{"model_format":"gguf"}"#).expect("kept");
    let layers = vec![
        store.put_layer(media_type::MODEL, &weights).expect("kept"),
        store.put_layer(media_type::LICENSE, b"CC0-1.0").expect("kept"),
    ];
    store.put_manifest(name, &Manifest::new(config, layers).to_bytes()).expect("named");
}

#[test]
fn pushes_pulls_tags_mounts_and_deletes() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((_registry, host)) = start(folder.path()) else { return };
    let name: ModelName = format!("{host}/acme/tiny:v1").parse().expect("a name");
    let one = store(&folder.path().join("one"), |settings| settings.transfer.part_bytes = 8 << 20);
    put_model(&one, &name);
    let pushed = one.push(&name, &mut Told::default()).expect("pushed");
    assert_eq!((pushed.sent_count, pushed.present_count, pushed.mounted_count), (3, 0, 0));

    let two = store(&folder.path().join("two"), |settings| settings.transfer.part_bytes = 8 << 20);
    two.pull(&Reference::Name(name.clone()), &mut Told::default()).expect("pulled");
    let manifest = |store: &Store, name: &ModelName| store.manifest(name).expect("reads").expect("is there");
    assert_eq!(manifest(&one, &name).bytes, manifest(&two, &name).bytes);
    for blob in manifest(&two, &name).manifest.blobs() {
        two.blobs().verify(&blob.digest).expect("sound");
    }

    // Another tag, and another repository that takes the blobs over.
    let latest = name.with_tag("latest").expect("a name");
    two.copy(&name, &latest).expect("copied");
    assert_eq!(two.push(&latest, &mut Told::default()).expect("pushed").present_count, 3);
    let other: ModelName = format!("{host}/acme/other:v1").parse().expect("a name");
    two.copy(&name, &other).expect("copied");
    let reference = Some(name.to_string());
    two.put_note(&other, &Note { reference, ..Note::from_source("test") }).expect("noted");
    assert_eq!(two.push(&other, &mut Told::default()).expect("pushed").mounted_count, 3);
    let registry = Registry::of(&name, two.settings()).expect("there");
    let mut tags = registry.tags("acme/tiny").expect("tags");
    tags.sort();
    assert_eq!(tags, ["latest", "v1"]);

    // Who has it sees what is new, and what is gone.
    let reference = Reference::Name(name.clone());
    let digest = Digest::of(&manifest(&one, &name).bytes);
    assert_eq!(two.available(&reference).expect("asked").version, digest.to_string());
    assert_eq!(registry.manifest_digest("acme/tiny", "v1").expect("asked"), Some(digest));
    registry.delete_manifest("acme/tiny", &digest).expect("deleted");
    assert_eq!(registry.manifest_digest("acme/tiny", "v1").expect("asked"), None);
    let three = store(&folder.path().join("three"), |_| ());
    let error = three.pull(&reference, &mut Told::default()).expect_err("deleted");
    assert!(matches!(&error, StoreError::Source(source) if source.to_string().contains("404")), "{error}");
    // The other repository still has it.
    three.pull(&Reference::Name(other), &mut Told::default()).expect("pulled");
}
