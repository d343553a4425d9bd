//! Several connections at once: every byte asked for once, continued where it ended, mended piece by piece.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use lair_store::oci::{Manifest, media_type};
use lair_store::{Digest, Reference, SourceError, StoreError};

use crate::fakes::http::{Body, Call, Http, Reply};
use crate::fakes::registry::{Model, layer, name_at, store};
use crate::fakes::{Told, blob};

/// Parts of 64 KiB, so pieces of 8 KiB.
const PART_BYTES: usize = 64 * 1024;
const PIECE_BYTES: usize = PART_BYTES / 8;

/// How many bytes of the weights these calls asked for.
fn bytes_asked(calls: &[Call], size: usize) -> usize {
    let of_call = |call: &Call| call.range().map_or(size, |(first, last)| last.min(size - 1) + 1 - first);
    let is_weights = |call: &&Call| call.path.contains(&Digest::of(&blob()).to_string()) && call.method == "GET";
    calls.iter().filter(is_weights).map(of_call).sum()
}

fn reference(server: &Http) -> Reference {
    Reference::Name(name_at(server.host()))
}

#[test]
fn every_byte_is_asked_for_once_and_the_order_does_not_matter() {
    let server = Model::new(blob()).serve();
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), |settings| settings.transfer.connection_count = 8);
    let mut told = Told::default();
    store.pull(&reference(&server), &mut told).expect("pulled");
    let digest = Digest::of(&blob());
    assert!(fs::read(store.blobs().path(&digest)).expect("reads") == blob());
    assert_eq!(bytes_asked(&server.calls(), blob().len()), blob().len());
    let parts = server.calls().iter().filter(|call| call.range().is_some()).count();
    assert!(parts >= 8, "{parts} parts");
    assert!(!store.blobs().partial_path(&digest).exists());
    // Listed under the digest of the bytes that the registry sent.
    let stored = store.manifest(&name_at(server.host())).expect("reads").expect("is there");
    assert_eq!(stored.bytes, Model::new(blob()).manifest);
    // Again: nothing but the manifest and the question for TLS.
    server.forget();
    store.pull(&reference(&server), &mut told).expect("pulled");
    assert_eq!(bytes_asked(&server.calls(), blob().len()), 0);
}

/// A registry that serves so many bytes of the weights, then only failures.
fn dying(bytes_max: usize) -> Http {
    let (model, served) = (Model::new(blob()), AtomicUsize::new(0));
    Http::start(move |call| {
        let reply = model.answer(call);
        let Body::Whole(body) = &reply.body else { return reply };
        if call.range().is_none() {
            return reply;
        }
        let before = served.fetch_add(body.len(), Ordering::SeqCst);
        let left = bytes_max.saturating_sub(before).min(body.len());
        if left == body.len() {
            return reply;
        }
        let (length, bytes) = (body.len(), body[..left].to_vec());
        reply.body(Body::Announced(length, bytes))
    })
}

#[test]
fn continuing_asks_for_at_most_one_part_again() {
    for bytes_max in [1, 5000, 100_000, 233_333, 400_000, 650_000, 699_999] {
        let root = tempfile::tempdir().expect("a folder");
        let store = store(root.path(), |_| ());
        let server = dying(bytes_max);
        let mut told = Told::default();
        let error = store.pull(&reference(&server), &mut told).expect_err("it dies");
        assert!(matches!(&error, StoreError::Source(source) if matches!(**source, SourceError::Cut { .. })), "{error}");
        let honest = Model::new(blob()).serve();
        // The same blob from another registry continues it as well.
        store.pull(&reference(&honest), &mut Told::default()).expect("pulled");
        let asked = bytes_asked(&honest.calls(), blob().len());
        // What was served and not taken any more when the first connection gave up has not arrived.
        let missing = blob().len() - told.bytes as usize;
        assert!(asked <= missing + PART_BYTES, "{} arrived, {asked} asked for again", told.bytes);
        assert!(fs::read(store.blobs().path(&Digest::of(&blob()))).expect("reads") == blob());
    }
}

#[test]
fn bytes_that_the_disk_lost_are_fetched_again_and_no_others() {
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), |_| ());
    let mut told = Told::default();
    store.pull(&reference(&dying(400_000)), &mut told).expect_err("it dies");
    let partial = store.blobs().partial_path(&Digest::of(&blob()));
    // The first piece is there for certain: the first part comes first.
    let mut bytes = fs::read(&partial).expect("reads");
    bytes[100..200].fill(0);
    fs::write(&partial, &bytes).expect("writes");
    let honest = Model::new(blob()).serve();
    store.pull(&reference(&honest), &mut Told::default()).expect("pulled");
    let asked = bytes_asked(&honest.calls(), blob().len());
    assert!(asked <= blob().len() - told.bytes as usize + PART_BYTES + PIECE_BYTES, "{asked}");
    assert!(fs::read(store.blobs().path(&Digest::of(&blob()))).expect("reads") == blob());
}

#[test]
fn a_server_without_ranges_serves_too() {
    let model = Model::new(blob());
    let server = Http::start(move |call| model.answer(&Call { headers: Vec::new(), ..call.clone() }));
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), |_| ());
    store.pull(&reference(&dying(300_000)), &mut Told::default()).expect_err("it dies");
    store.pull(&reference(&server), &mut Told::default()).expect("pulled");
    assert!(fs::read(store.blobs().path(&Digest::of(&blob()))).expect("reads") == blob());
}

#[test]
fn waits_and_asks_again_when_the_server_is_busy() {
    let (model, count) = (Model::new(blob()), AtomicUsize::new(0));
    let server = Http::start(move |call| match count.fetch_add(1, Ordering::SeqCst) {
        // The question for TLS and the manifest come first.
        2 => Reply::status(429).with("Retry-After", 0),
        5 => Reply::status(503),
        _ => model.answer(call),
    });
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), |_| ());
    let mut told = Told::default();
    store.pull(&reference(&server), &mut told).expect("pulled");
    assert!(told.notes.iter().any(|note| note.contains("429") && note.contains("try 2 of 2")), "{:?}", told.notes);
}

#[test]
fn a_repair_fetches_the_broken_pieces_alone() {
    let server = Model::new(blob()).serve();
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), |_| ());
    store.pull(&reference(&server), &mut Told::default()).expect("pulled");
    let path = store.blobs().path(&Digest::of(&blob()));
    let weights = layer(media_type::MODEL, &blob());
    type Damaging<'d> = &'d dyn Fn(&mut Vec<u8>);
    let damages: [(&str, Damaging<'_>, usize); 4] = [
        ("a flipped byte", &|bytes| bytes[123_456] ^= 1, PIECE_BYTES),
        ("two places", &|bytes| (bytes[0], bytes[600_000]) = (b'X', 0), 2 * PIECE_BYTES),
        ("a lost end", &|bytes| bytes.truncate(690_000), 2 * PIECE_BYTES),
        ("all zeros", &|bytes| bytes.fill(0), blob().len()),
    ];
    for (what, damage, bytes_max) in damages {
        let mut bytes = blob();
        damage(&mut bytes);
        fs::write(&path, &bytes).expect("damaged");
        server.forget();
        let fetched = store.repair_blob(&name_at(server.host()), &weights, &mut Told::default()).expect(what);
        assert!(fs::read(&path).expect("reads") == blob(), "{what}");
        assert_eq!(bytes_asked(&server.calls(), blob().len()), fetched as usize, "{what}");
        assert!(fetched as usize <= bytes_max, "{what}: {fetched}");
    }
    // Without checksums all of it comes again.
    fs::remove_dir_all(store.blobs().root().join(".lair/checksums")).expect("removes");
    fs::write(&path, &blob()[..100]).expect("damaged");
    let fetched = store.repair_blob(&name_at(server.host()), &weights, &mut Told::default()).expect("repaired");
    assert_eq!(fetched as usize, blob().len());
}

#[test]
fn one_blob_for_many_who_pull_at_once() {
    let server = Model::new(blob()).serve();
    let root = tempfile::tempdir().expect("a folder");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Each as a process would: a store of its own.
                let store = store(root.path(), |_| ());
                store.pull(&reference(&server), &mut Told::default()).expect("pulled");
            });
        }
    });
    assert_eq!(bytes_asked(&server.calls(), blob().len()), blob().len());
}

#[test]
fn a_push_sends_what_is_missing_and_what_was_pushed_is_what_is_pulled() {
    // The smallest registry that takes uploads.
    let blobs = std::sync::Mutex::new(std::collections::HashMap::<String, Vec<u8>>::new());
    let server = Http::start(move |call| {
        let mut blobs = blobs.lock().expect("not poisoned");
        let (path, query) = call.path.split_once('?').unwrap_or((&call.path, ""));
        match (call.method.as_str(), path) {
            (_, "/v2/") => Reply::bytes("{}"),
            ("POST", _) => Reply::status(202).with("Location", "/v2/ns/tiny/blobs/uploads/1?state=x"),
            ("PUT", path) if path.contains("/uploads/") => {
                let digest = query.split("digest=").nth(1).unwrap_or_default();
                assert_eq!(Digest::of(&call.body).to_string(), digest);
                blobs.insert(format!("/v2/ns/tiny/blobs/{digest}"), call.body.clone());
                Reply::status(201)
            }
            ("PUT", path) => {
                blobs.insert(path.to_string(), call.body.clone());
                Reply::status(201).with("Docker-Content-Digest", Digest::of(&call.body))
            }
            (_, path) => match blobs.get(path) {
                Some(bytes) => Reply::file(call, bytes),
                None => Reply::status(404),
            },
        }
    });
    let root = tempfile::tempdir().expect("a folder");
    let store_one = store(&root.path().join("one"), |_| ());
    let honest = Model::new(blob()).serve();
    store_one.pull(&reference(&honest), &mut Told::default()).expect("pulled");
    let name = name_at(server.host());
    store_one.copy(&name_at(honest.host()), &name).expect("copied");
    let pushed = store_one.push(&name, &mut Told::default()).expect("pushed");
    assert_eq!((pushed.sent_count, pushed.present_count), (2, 0));
    let again = store_one.push(&name, &mut Told::default()).expect("pushed");
    assert_eq!((again.sent_count, again.present_count), (0, 2));
    let store_two = store(&root.path().join("two"), |_| ());
    store_two.pull(&Reference::Name(name.clone()), &mut Told::default()).expect("pulled");
    let bytes = |store: &lair_store::Store| store.manifest(&name).expect("reads").expect("is there").bytes;
    assert_eq!(bytes(&store_one), bytes(&store_two));
    // What is damaged here is not passed on.
    let other = blob()[..1000].to_vec();
    let config = store_one.put_layer(media_type::CONFIG, b"{}").expect("kept");
    let weights = store_one.put_layer(media_type::MODEL, &other).expect("kept");
    let damaged = name.with_tag("damaged").expect("a name");
    store_one.put_manifest(&damaged, &Manifest::new(config, vec![weights]).to_bytes()).expect("named");
    fs::write(store_one.blobs().path(&Digest::of(&other)), vec![b'x'; 1000]).expect("damaged");
    let error = store_one.push(&damaged, &mut Told::default()).expect_err("damaged");
    assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");
}
