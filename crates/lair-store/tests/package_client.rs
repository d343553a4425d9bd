//! Package clients that are absent, hang, or bring what they should not.
#![cfg(unix)]

mod fakes;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use fakes::client::Client;
use fakes::{Told, blob, leave_partial, packages, partial_path, store};
use lair_store::{Entry, Settings, SourceError, Store, StoreError};
use zip::CompressionMethod::{Deflated, Stored};

/// A client with the blob in three packages, and a store that asks it.
fn in_three_parts(client: &Client, adjust: impl FnOnce(&mut Settings)) -> (tempfile::TempDir, Store, Entry) {
    let whole = blob();
    let parts = [("one", &whole[..300_000]), ("two", &whole[300_000..600_000]), ("three", &whole[600_000..])];
    for (name, bytes) in parts {
        client.add(name, "data/part.bin", bytes, if name == "two" { Stored } else { Deflated });
    }
    let root = tempfile::tempdir().expect("a folder");
    let sources = [packages(&parts.map(|(name, bytes)| (name, "data/part.bin", bytes.len())))];
    let (store, entry) = store(root.path(), &sources, |settings| {
        settings.package_clients = vec![client.command()];
        adjust(settings);
    });
    (root, store, entry)
}

fn only_error(outcome: Result<std::path::PathBuf, StoreError>) -> SourceError {
    match outcome {
        Err(StoreError::AllSourcesFailed { mut attempts, .. }) => attempts.remove(0).error,
        other => panic!("it should have failed, but: {other:?}"),
    }
}

#[test]
fn downloads_each_part_once_and_those_that_are_here_not_at_all() {
    for (left, calls) in [
        (0, &["one==1.0", "two==1.0", "three==1.0"][..]),
        (299_999, &["one==1.0", "two==1.0", "three==1.0"]),
        (300_000, &["two==1.0", "three==1.0"]),
        (600_001, &["three==1.0"]),
        (blob().len(), &[]),
    ] {
        let client = Client::new();
        let (_root, store, entry) = in_three_parts(&client, |_| ());
        leave_partial(&store, &entry, &blob()[..left]);
        let path = store.fetch(&entry, &mut Told::default()).expect("fetched");
        assert!(fs::read(path).expect("reads") == blob());
        assert_eq!(client.calls(), calls, "with {left} bytes left");
    }
}

#[test]
fn a_failed_part_leaves_the_ones_before_it() {
    let client = Client::new();
    let (_root, store, entry) = in_three_parts(&client, |_| ());
    fs::rename(client.folder().join("two==1.0.whl"), client.folder().join("away")).expect("moves");
    let error = only_error(store.fetch(&entry, &mut Told::default()));
    let message = error.to_string();
    assert!(message.contains("No matching distribution found for two==1.0 (it found no connection)"), "{message}");
    assert!(fs::read(partial_path(&store, &entry)).expect("reads") == blob()[..300_000]);
    fs::rename(client.folder().join("away"), client.folder().join("two==1.0.whl")).expect("moves");
    store.fetch(&entry, &mut Told::default()).expect("fetched");
    assert_eq!(client.calls(), ["one==1.0", "two==1.0", "two==1.0", "three==1.0"]);
}

#[test]
fn takes_a_damaged_member_back() {
    let client = Client::new();
    let (_root, store, entry) = in_three_parts(&client, |_| ());
    // Stored, so one flipped byte is noticed by the checksum of the archive alone, at the very end.
    let wheel = client.folder().join("two==1.0.whl");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(wheel).expect("opens");
    let mut byte = [0];
    file.seek(SeekFrom::Start(200_000)).expect("seeks");
    file.read_exact(&mut byte).expect("reads");
    file.seek(SeekFrom::Start(200_000)).expect("seeks");
    file.write_all(&[byte[0] ^ 1]).expect("writes");
    let error = only_error(store.fetch(&entry, &mut Told::default()));
    assert!(matches!(&error, SourceError::BadPackage { package, .. } if package == "two==1.0"), "{error}");
    assert!(fs::read(partial_path(&store, &entry)).expect("reads") == blob()[..300_000]);
}

#[test]
fn looks_for_a_client_until_one_exists() {
    let client = Client::new();
    let not_found = Client::with_script("echo 'pip: command not found' >&2; exit 127");
    let no_module = Client::with_script("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
    let (_root, store, entry) = in_three_parts(&client, |settings| {
        let absent = vec!["/no/such/client".to_string()];
        settings.package_clients = vec![absent, not_found.command(), no_module.command(), client.command()];
    });
    store.fetch(&entry, &mut Told::default()).expect("fetched");
    assert_eq!(client.calls().len(), 3);
}

#[test]
fn a_client_that_fails_is_not_followed_by_the_same_under_another_name() {
    let client = Client::new();
    let failing = Client::with_script("echo 'ERROR: the index is on fire' >&2; exit 2");
    let (_root, store, entry) = in_three_parts(&client, |settings| {
        settings.package_clients.insert(0, failing.command());
    });
    let message = only_error(store.fetch(&entry, &mut Told::default())).to_string();
    assert!(message.ends_with("download one==1.0` failed: ERROR: the index is on fire"), "{message}");
    assert!(client.calls().is_empty());
}

#[test]
fn stops_a_client_that_brings_nothing() {
    let client = Client::with_script("exec tail -f /dev/null");
    let (_root, store, entry) =
        in_three_parts(&client, |settings| settings.client_stall_timeout = Duration::from_millis(50));
    let error = only_error(store.fetch(&entry, &mut Told::default()));
    assert!(matches!(error, SourceError::ClientStalled { stall_ms: 50, .. }), "{error}");
}

#[test]
fn refuses_what_is_not_the_wheel_of_the_catalogue() {
    for (script, words) in [
        ("exit 0", "not exactly one wheel"),
        (r#"while [ "$1" != -d ]; do shift; done; touch "$2/a.whl" "$2/b.whl""#, "not exactly one wheel"),
        (r#"while [ "$1" != -d ]; do shift; done; echo 'no zip' >"$2/a.whl""#, "one==1.0: "),
        (r#"while [ "$1" != -d ]; do shift; done; cp "$(dirname "$0")/other==1.0.whl" "$2/a.whl""#, "`data/part.bin`"),
    ] {
        let client = Client::with_script(script);
        client.add("other", "other/part.bin", b"GGUF", Deflated);
        let (_root, store, entry) = in_three_parts(&client, |_| ());
        let error = only_error(store.fetch(&entry, &mut Told::default()));
        assert!(matches!(error, SourceError::BadPackage { .. }), "{script}: {error}");
        assert!(error.to_string().contains(words), "{script}: {error}");
    }
}

#[test]
fn clears_what_a_killed_run_left_in_the_scratch_folder() {
    let client = Client::new();
    let (root, store, entry) = in_three_parts(&client, |_| ());
    let stale = root.path().join("models/.lair/scratch").join(entry.digest.file_name()).join("wheels");
    fs::create_dir_all(&stale).expect("creates");
    fs::write(stale.join("stale.whl"), b"half a wheel").expect("writes");
    store.fetch(&entry, &mut Told::default()).expect("fetched");
    assert!(!stale.exists());
}
