//! What every kind of source must do: deliver, continue, notice wrong bytes, say what is missing, fail when offline.
#![cfg(unix)]

mod fakes;

use std::fs;
use std::path::Path;

use fakes::client::Client;
use fakes::server::{Answer, Server, dead_endpoint};
use fakes::{Told, blob, leave_partial, partial_path};
use lair_store::{Entry, ModelName, Store, StoreError};
use zip::CompressionMethod::Deflated;

/// What a source is made to meet.
#[derive(Clone, Copy, Debug)]
enum Weather {
    /// It has the file.
    Fair,
    /// It has a file of the same length with one other byte.
    WrongByte,
    /// It has a file, but a shorter one.
    WrongSize,
    /// It is there and does not have the file.
    Missing,
    /// Nothing can be reached.
    Offline,
}

fn tiny() -> ModelName {
    "tiny".parse().expect("a name")
}

/// Keeps what a source needs alive.
type Keep = Box<dyn std::any::Any>;

/// Sets up one kind of source. One line for each kind in [`KINDS`].
type Kind = fn(&Path, Weather) -> (Store, Entry, Keep);

const KINDS: &[(&str, Kind)] = &[("https", https), ("package", package), ("packages", packages)];

fn file_in(weather: Weather) -> Vec<u8> {
    let mut file = blob();
    match weather {
        Weather::WrongByte => *file.last_mut().expect("not empty") ^= 1,
        Weather::WrongSize => file.truncate(file.len() - 1),
        Weather::Fair | Weather::Missing | Weather::Offline => {}
    }
    file
}

fn https(root: &Path, weather: Weather) -> (Store, Entry, Keep) {
    let answer = match weather {
        Weather::Missing => Answer::Status(404),
        _ => Answer::Serve(file_in(weather)),
    };
    let server = Server::start(vec![answer; 2]);
    let endpoint = if matches!(weather, Weather::Offline) { dead_endpoint() } else { server.endpoint.clone() };
    let (store, entry) = fakes::store(root, &[fakes::hub()], |settings| settings.hub_endpoint = endpoint);
    (store, entry, Box::new(server))
}

fn package(root: &Path, weather: Weather) -> (Store, Entry, Keep) {
    cut_into(1, root, weather)
}

fn packages(root: &Path, weather: Weather) -> (Store, Entry, Keep) {
    cut_into(3, root, weather)
}

fn cut_into(part_count: usize, root: &Path, weather: Weather) -> (Store, Entry, Keep) {
    let client = Client::new();
    let (whole, file) = (blob(), file_in(weather));
    let part_length = whole.len().div_ceil(part_count);
    let mut parts = Vec::new();
    for (index, part) in whole.chunks(part_length).enumerate() {
        let (name, member) = (format!("tiny-part{index}"), format!("tiny_part{index}/data.bin"));
        if !matches!(weather, Weather::Missing | Weather::Offline) {
            let start = index * part_length;
            client.add(&name, &member, &file[start..file.len().min(start + part.len())], Deflated);
        }
        parts.push((name, member, part.len()));
    }
    let borrowed: Vec<_> = parts.iter().map(|(name, member, size)| (name.as_str(), member.as_str(), *size)).collect();
    let (store, entry) = fakes::store(root, &[fakes::packages(&borrowed)], |settings| {
        settings.package_clients = vec![vec!["/no/such/client".to_string()]];
        if !matches!(weather, Weather::Offline) {
            settings.package_clients.push(client.command());
        }
    });
    (store, entry, Box::new(client))
}

/// Runs `check` for every kind of source, each with a fresh store.
fn for_each_kind(weather: Weather, check: impl Fn(&str, &Store, &Entry)) {
    for (name, kind) in KINDS {
        let root = tempfile::tempdir().expect("a folder");
        let (store, entry, _keep) = kind(root.path(), weather);
        check(name, &store, &entry);
        let scratch = fs::read_dir(store.blobs().root().join(".lair/scratch")).map_or(0, Iterator::count);
        assert_eq!(scratch, 0, "{name}: the scratch folder is left behind");
    }
}

fn expect_blob(name: &str, store: &Store, entry: &Entry) -> Told {
    let mut told = Told::default();
    let path = store.fetch(entry, &mut told).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(fs::read(&path).expect("reads") == blob(), "{name}: other bytes");
    assert!(!partial_path(store, entry).exists(), "{name}: the partial is left behind");
    assert_eq!((told.bytes, told.total_bytes), (entry.size_bytes, entry.size_bytes), "{name}: progress");
    assert!(told.is_finished, "{name}");
    let stored = store.manifest(&tiny()).expect("reads").expect("was written");
    assert_eq!((stored.manifest.layers[0].digest, stored.name), (entry.digest, tiny()), "{name}");
    let note = store.note(&tiny()).expect("reads").expect("was written");
    assert_eq!(&note.source, told.sources.last().expect("a source"), "{name}");
    told
}

fn expect_failure(name: &str, store: &Store, entry: &Entry) -> String {
    let error = store.fetch(entry, &mut Told::default()).expect_err(name);
    let StoreError::AllSourcesFailed { attempts, .. } = &error else { panic!("{name}: {error}") };
    assert_eq!(attempts.len(), 1, "{name}");
    assert!(error.hint().is_some_and(|hint| hint.contains("HF_ENDPOINT")), "{name}: {:?}", error.hint());
    assert!(error.to_string().contains(&attempts[0].source), "{name}: {error}");
    error.to_string()
}

#[test]
fn delivers_the_blob() {
    for_each_kind(Weather::Fair, |name, store, entry| {
        expect_blob(name, store, entry);
    });
}

#[test]
fn continues_from_any_byte() {
    for length in [1, 3, 4, 5, 233_334, 300_000, blob().len() - 1] {
        for_each_kind(Weather::Fair, |name, store, entry| {
            leave_partial(store, entry, &blob()[..length]);
            let told = expect_blob(name, store, entry);
            assert_eq!(told.sources.len(), 1, "{name}: it started again at {length}");
        });
    }
}

#[test]
fn starts_again_when_what_was_there_does_not_fit() {
    let mut rotten = blob()[..300_000].to_vec();
    rotten[200_000] ^= 1;
    for_each_kind(Weather::Fair, |name, store, entry| {
        leave_partial(store, entry, &rotten);
        let told = expect_blob(name, store, entry);
        assert_eq!(told.sources.len(), 2, "{name}");
    });
}

#[test]
fn wrong_bytes_never_become_a_blob() {
    for_each_kind(Weather::WrongByte, |name, store, entry| {
        let message = expect_failure(name, store, entry);
        assert!(message.contains("hash to") && message.contains(&entry.digest.to_string()), "{name}: {message}");
        assert_eq!(fs::metadata(partial_path(store, entry)).expect("exists").len(), 0, "{name}: wrong bytes are kept");
        assert!(store.manifest(&tiny()).expect("reads").is_none(), "{name}");
    });
}

#[test]
fn another_length_is_noticed_before_the_bytes_arrive() {
    for_each_kind(Weather::WrongSize, |name, store, entry| {
        leave_partial(store, entry, &blob()[..500_000]);
        let message = expect_failure(name, store, entry);
        assert!(message.contains("are expected"), "{name}: {message}");
        assert_eq!(fs::metadata(partial_path(store, entry)).expect("exists").len(), 500_000, "{name}");
    });
}

#[test]
fn says_what_is_missing() {
    for_each_kind(Weather::Missing, |name, store, entry| {
        let message = expect_failure(name, store, entry);
        let is_named = message.contains("404") || message.contains("No matching distribution found for tiny-part0");
        assert!(is_named, "{name}: {message}");
    });
}

#[test]
fn says_what_could_not_be_reached() {
    for_each_kind(Weather::Offline, |name, store, entry| {
        leave_partial(store, entry, &blob()[..100]);
        let message = expect_failure(name, store, entry);
        let is_named = message.contains("no connection to 127.0.0.1:") || message.contains("`/no/such/client`");
        assert!(is_named, "{name}: {message}");
        assert_eq!(fs::metadata(partial_path(store, entry)).expect("exists").len(), 100, "{name}: bytes are lost");
    });
}
