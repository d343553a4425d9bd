//! Whether models have changed where they came from: those of the hub's cache.

mod fakes;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use fakes::Told;
use fakes::http::{Http, Reply};
use fakes::registry::store;
use lair_store::{Digest, Freshness, Owner, Place, RealFileSystem, Reference, SourceError, Store, StoreError};

const OLD: &str = "0123456789abcdef0123456789abcdef01234567";
const NEW: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A hub whose repository `acme/tiny` is at `commit`, with two quantizations of these bytes.
fn hub(commit: &'static str, small: &'static [u8], large: &'static [u8]) -> Http {
    Http::start(move |call| {
        let path = call.path.split('?').next().unwrap_or_default();
        let file = |path: &str, bytes: &[u8]| {
            let oid = Digest::of(bytes).to_string().replace("sha256:", "");
            serde_json::json!({"type": "file", "path": path, "size": bytes.len(), "oid": "a".repeat(40),
                               "lfs": {"oid": oid, "size": bytes.len(), "pointerSize": 134}})
        };
        if path == "/api/models/acme/tiny/revision/main" {
            Reply::bytes(format!(r#"{{"sha": "{commit}"}}"#))
        } else if path == format!("/api/models/acme/tiny/tree/{commit}") {
            let page = serde_json::json!([file("tiny-Q4_0.gguf", small), file("tiny-Q8_0.gguf", large)]);
            Reply::bytes(page.to_string())
        } else if path.ends_with("tiny-Q4_0.gguf") {
            Reply::file(call, small)
        } else if path.ends_with("tiny-Q8_0.gguf") {
            Reply::file(call, large)
        } else {
            Reply::status(404)
        }
    })
}

fn asked(root: &Path, hub: &Http) -> Store {
    let (endpoint, cache) = (hub.endpoint.clone(), root.join("hub"));
    store(root, move |settings| {
        settings.hub_endpoint = endpoint;
        settings.places = vec![Place { owner: Owner::HubCache, root: cache.clone() }];
        settings.transfer.hub_cache = Some(cache);
        settings.file_system = Arc::new(RealFileSystem);
    })
}

#[test]
fn a_new_commit_counts_for_the_files_that_it_changes() {
    let root = tempfile::tempdir().expect("a folder");
    let old = hub(OLD, b"GGUF small", b"GGUF large");
    let store = asked(root.path(), &old);
    for quant in ["Q4_0", "Q8_0"] {
        let reference = Reference::parse(&format!("hf.co/acme/tiny:{quant}")).expect("a reference");
        store.pull(&reference, &mut Told::default()).expect("pulled");
    }
    let tracked = store.tracked().expect("readable");
    let told: Vec<(String, &str)> =
        tracked.iter().map(|tracked| (tracked.reference.to_string(), tracked.version.as_str())).collect();
    assert_eq!(told, [("hf.co/acme/tiny:Q4_0".to_string(), OLD), ("hf.co/acme/tiny:Q8_0".to_string(), OLD)]);

    old.forget();
    let mut freshness = Freshness::new(&store);
    assert!(tracked.iter().all(|tracked| freshness.changed(tracked).expect("asked").is_none()));
    assert_eq!(old.calls().len(), 1, "what two models share is asked once");

    let new = hub(NEW, b"GGUF small", b"GGUF larger");
    let store = asked(root.path(), &new);
    let mut freshness = Freshness::new(&store);
    assert_eq!(freshness.changed(&tracked[0]).expect("asked"), None, "the commit changed another file");
    let changed = freshness.changed(&tracked[1]).expect("asked").expect("changed");
    assert_eq!((changed.version.as_str(), changed.missing_bytes), (NEW, Some(11)));
    store.pull(&tracked[1].reference, &mut Told::default()).expect("pulled");
    let main = root.path().join("hub/models--acme--tiny/refs/main");
    assert_eq!(fs::read_to_string(main).expect("reads"), NEW);
    let tracked = store.tracked().expect("readable");
    assert_eq!(tracked.len(), 1, "what no branch stands for does not change: {tracked:?}");
    assert_eq!(Freshness::new(&store).changed(&tracked[0]).expect("asked"), None);
}

#[test]
fn a_hub_that_cannot_be_asked_is_an_error() {
    let root = tempfile::tempdir().expect("a folder");
    let old = hub(OLD, b"GGUF small", b"GGUF large");
    let store = asked(root.path(), &old);
    store.pull(&Reference::parse("hf.co/acme/tiny:Q4_0").expect("a reference"), &mut Told::default()).expect("pulled");
    let gone = Http::start(|_| Reply::status(404));
    let store = asked(root.path(), &gone);
    let error = Freshness::new(&store).changed(&store.tracked().expect("readable")[0]).expect_err("it is gone");
    assert!(
        matches!(&error, StoreError::Source(source) if matches!(**source, SourceError::Status { status: 404, .. }))
    );
}
