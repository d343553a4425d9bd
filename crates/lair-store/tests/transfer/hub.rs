//! A hub of a few lines: large files behind a redirection, small ones by their git hash, tokens, conditions.

use std::fs;

use lair_store::{Digest, HubToken, Pulled, Reference, Settings, SourceError, StoreError};

use crate::fakes::http::{Call, Http, Reply};
use crate::fakes::registry::store;
use crate::fakes::{Told, blob};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// `printf '# Tiny\n' | git hash-object --stdin`
const README_SHA1: &str = "14d286ebf3febd1e7319ce671d8d399dfe187ee4";

/// Two parts of a split model and a description; large files come from `storage`.
fn answer(call: &Call, storage: &str) -> Reply {
    let path = call.path.split('?').next().unwrap_or_default();
    let (first, second) = parts();
    let large = |path: &str, bytes: &[u8]| {
        let oid = Digest::of(bytes).to_string().replace("sha256:", "");
        serde_json::json!({"type": "file", "path": path, "size": bytes.len(), "oid": "a".repeat(40),
                           "lfs": {"oid": oid, "size": bytes.len(), "pointerSize": 134}})
    };
    match path.strip_prefix("/acme/tiny/resolve/").and_then(|rest| rest.split_once('/')) {
        Some((_, "README.md")) => return Reply::bytes("# Tiny\n"),
        Some((_, file)) => return Reply::redirect(&format!("{storage}/signed/{file}?signature=x")),
        None => {}
    }
    match path {
        "/api/models/acme/tiny/revision/main" => Reply::bytes(format!(r#"{{"sha": "{COMMIT}"}}"#)),
        path if path == format!("/api/models/acme/tiny/tree/{COMMIT}") && !call.path.contains("cursor") => {
            let page = serde_json::json!([
                {"type": "file", "path": "README.md", "size": 7, "oid": README_SHA1},
                {"type": "directory", "path": "Q8_0", "size": 0, "oid": "b".repeat(40)},
                large("Q8_0/tiny-Q8_0-00001-of-00002.gguf", &first),
            ]);
            Reply::bytes(page.to_string()).with("Link", format!("<{path}?cursor=x>; rel=\"next\""))
        }
        path if path == format!("/api/models/acme/tiny/tree/{COMMIT}") => {
            Reply::bytes(serde_json::json!([large("Q8_0/tiny-Q8_0-00002-of-00002.gguf", &second)]).to_string())
        }
        "/api/models/acme/gated/revision/main" => {
            Reply::bytes(r#"{"error": "Access to model acme/gated is restricted"}"#)
                .status_is(403)
                .with("X-Error-Code", "GatedRepo")
        }
        _ => Reply::status(404).with("X-Error-Message", "Repository not found"),
    }
}

fn parts() -> (Vec<u8>, Vec<u8>) {
    let first = blob();
    let mut second = first[..300_000].to_vec();
    second.reverse();
    second[..4].copy_from_slice(b"GGUF");
    (first, second)
}

fn storage() -> Http {
    Http::start(|call| {
        let (first, second) = parts();
        Reply::file(call, if call.path.contains("00001-of") { &first } else { &second })
    })
}

fn start() -> (Http, Http) {
    let storage = storage();
    let to = storage.endpoint.clone();
    (Http::start(move |call| answer(call, &to)), storage)
}

fn with_hub(hub: &Http, root: &std::path::Path) -> impl FnOnce(&mut Settings) {
    let (endpoint, cache) = (hub.endpoint.clone(), root.join("hub"));
    move |settings| {
        settings.hub_endpoint = endpoint;
        settings.hub_token = HubToken::new("hf_secret");
        settings.transfer.hub_cache = Some(cache);
    }
}

fn pull(store: &lair_store::Store, reference: &str) -> Result<Pulled, StoreError> {
    store.pull(&Reference::parse(reference).expect("a reference"), &mut Told::default())
}

#[test]
fn a_split_model_lies_in_the_cache_as_the_official_client_lays_it() {
    let (hub, storage) = start();
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), with_hub(&hub, root.path()));
    let Pulled::Hub(pulled) = pull(&store, "hf.co/acme/tiny:Q8_0").expect("pulled") else { panic!("not the hub") };
    let (first, second) = parts();
    assert_eq!((pulled.commit.as_str(), pulled.size_bytes), (COMMIT, (first.len() + second.len()) as u64));
    let repository = root.path().join("hub/models--acme--tiny");
    for (file, bytes) in pulled.files.iter().zip([&first, &second]) {
        assert!(fs::read(file).expect("reads") == *bytes);
        let sha256 = Digest::of(bytes).to_string().replace("sha256:", "");
        assert_eq!(fs::read_link(file).expect("a link").to_str(), Some(format!("../../../blobs/{sha256}").as_str()));
        assert!(repository.join("blobs").join(&sha256).is_file());
        assert!(root.path().join(format!("hub/.locks/models--acme--tiny/{sha256}.lock")).is_file());
    }
    assert_eq!(fs::read_to_string(repository.join("refs/main")).expect("reads"), COMMIT);
    assert!(
        root.path().join("hub/CACHEDIR.TAG").is_file() && repository.join(format!("trees/{COMMIT}.json")).is_file()
    );
    assert_eq!(fs::read_dir(repository.join("blobs")).expect("reads").count(), 2, "something else is left");
    // The token went to the hub, and not along to where the bytes lie.
    let has_token = |call: &Call| call.header("authorization") == Some("Bearer hf_secret");
    assert!(hub.calls().iter().all(has_token));
    assert!(!storage.calls().is_empty() && !storage.calls().iter().any(has_token));
    // A small file is checked by its git hash, and nothing that is here is fetched again.
    storage.forget();
    let Pulled::Hub(readme) = pull(&store, "hf.co/acme/tiny:README.md").expect("pulled") else { panic!("not the hub") };
    assert_eq!(fs::read_to_string(&readme.files[0]).expect("reads"), "# Tiny\n");
    pull(&store, "hf.co/acme/tiny").expect("pulled");
    assert!(storage.calls().is_empty());
}

#[test]
fn what_a_part_hashes_to_decides_and_half_a_model_is_not_shown() {
    let liar = Http::start(|call| {
        let (first, mut second) = parts();
        second[1000] ^= 1;
        Reply::file(call, if call.path.contains("00001-of") { &first } else { &second })
    });
    let to = liar.endpoint.clone();
    let hub = Http::start(move |call| answer(call, &to));
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), with_hub(&hub, root.path()));
    let error = pull(&store, "hf.co/acme/tiny:Q8_0").expect_err("other bytes");
    assert!(
        matches!(&error, StoreError::Source(source) if matches!(**source, SourceError::WrongDigest { .. })),
        "{error}"
    );
    let repository = root.path().join("hub/models--acme--tiny");
    assert!(!repository.join("snapshots").exists() && !repository.join("refs").exists());
}

#[test]
fn a_gated_repository_says_where_to_accept() {
    let (hub, _storage) = start();
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), with_hub(&hub, root.path()));
    let error = pull(&store, "hf.co/acme/gated").expect_err("gated");
    let url = format!("{}/acme/gated", hub.endpoint);
    assert!(error.to_string().contains(&url), "{error}");
    assert!(error.hint().expect("a hint").contains(&url));
    let absent = pull(&store, "hf.co/acme/absent").expect_err("absent").to_string();
    assert!(absent.contains("404") && absent.contains("Repository not found"), "{absent}");
    let quant = pull(&store, "hf.co/acme/tiny:Q4_K_M").expect_err("another quantization");
    assert!(quant.hint().expect("a hint").contains("Q8_0"), "{quant}");
}
