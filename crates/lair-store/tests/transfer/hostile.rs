//! A registry that wants more than to give models: every answer here is refused with an error that says why, and
//! nothing of it is listed or left behind outside of the store.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lair_store::oci::media_type;
use lair_store::{Digest, Reference, Settings};

use crate::fakes::http::{Body, Call, Http, Reply};
use crate::fakes::registry::{Model, name_at, store};
use crate::fakes::{Told, blob};

type Answer = Box<dyn Fn(&Call) -> Reply + Send + Sync>;

/// Pulls from a registry with this behaviour; it must fail with these words, and leave nothing.
fn refused(what: &str, words: &str, answer: Answer) -> Vec<Call> {
    refused_with(what, words, |_| (), answer)
}

fn refused_with(what: &str, words: &str, adjust: impl FnOnce(&mut Settings), answer: Answer) -> Vec<Call> {
    let server = Http::start(answer);
    let root = tempfile::tempdir().expect("a folder");
    let store = store(&root.path().join("home"), |settings| {
        settings.stall_timeout = Duration::from_millis(300);
        adjust(settings);
    });
    let outcome = store.pull(&Reference::Name(name_at(server.host())), &mut Told::default());
    let error = outcome.expect_err(what).to_string();
    assert!(error.contains(words), "{what}: `{error}` should contain `{words}`");
    assert!(!error.contains('\n') && !error.contains('\x1b'), "{what}: {error:?}");
    assert!(store.list().expect("lists").is_empty(), "{what}: it is listed");
    assert!(!store.blobs().is_present(&Digest::of(&blob()), blob().len() as u64), "{what}");
    let outside: Vec<_> = fs::read_dir(root.path()).expect("reads").flatten().map(|entry| entry.file_name()).collect();
    assert!(outside.iter().all(|name| name == "home"), "{what}: something outside of the store: {outside:?}");
    for name in blob_names(store.blobs().root()) {
        let bytes = fs::read(store.blobs().root().join("blobs").join(&name)).expect("reads");
        assert_eq!(Digest::of(&bytes).file_name(), name, "{what}: a blob that is not what its name says");
    }
    server.calls()
}

fn blob_names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("blobs")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().expect("plain")).collect()
}

fn is_manifest(call: &Call) -> bool {
    call.path.contains("/manifests/")
}

fn is_weights(call: &Call) -> bool {
    call.path.contains(&Digest::of(&blob()).to_string())
}

/// Honest but for the manifest.
fn manifest(edit: impl Fn(&mut serde_json::Value)) -> Answer {
    let model = Model::new(blob());
    let mut json: serde_json::Value = serde_json::from_slice(&model.manifest).expect("json");
    edit(&mut json);
    let bytes = json.to_string().into_bytes();
    Box::new(move |call| if is_manifest(call) { Reply::bytes(bytes.clone()) } else { model.answer(call) })
}

/// Honest but for the answers to some calls.
fn bent(is_bent: fn(&Call) -> bool, reply: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Answer {
    let model = Model::new(blob());
    Box::new(move |call| if is_bent(call) { reply(call) } else { model.answer(call) })
}

#[test]
pub fn manifests_that_are_none() {
    let digest_of = |text: &'static str| manifest(move |json| json["layers"][0]["digest"] = text.into());
    refused("1 traversal in a digest", "digest", digest_of("sha256:../../../../../../etc/passwd"));
    refused("2 a digest in capitals", "digest", {
        let capitals = Digest::of(&blob()).to_string().to_uppercase();
        manifest(move |json| json["layers"][0]["digest"] = capitals.clone().into())
    });
    refused(
        "3 a digest of 63 digits",
        "digest",
        manifest(|json| {
            json["config"]["digest"] = format!("sha256:{}", "0".repeat(63)).into();
        }),
    );
    refused(
        "4 another algorithm",
        "digest",
        manifest(|json| {
            json["config"]["digest"] = format!("sha512:{}", "0".repeat(64)).into();
        }),
    );
    refused("5 a negative size", "not valid", manifest(|json| json["layers"][0]["size"] = (-1).into()));
    refused("6 sizes that overflow", "add up", manifest(|json| json["layers"][0]["size"] = u64::MAX.into()));
    refused(
        "7 one blob with two sizes",
        "two lengths",
        manifest(|json| {
            let mut second = json["layers"][0].clone();
            second["size"] = 5.into();
            json["layers"].as_array_mut().expect("layers").push(second);
        }),
    );
    refused(
        "8 a thousand layers too many",
        "layers",
        manifest(|json| {
            json["layers"] = vec![json["layers"][0].clone(); 2000].into();
        }),
    );
    refused("9 no configuration", "not valid", manifest(|json| json["config"] = serde_json::Value::Null));
    refused("10 another media type", "text/html", manifest(|json| json["mediaType"] = "text/html".into()));
    refused(
        "11 a layer that is a part of a disk image",
        "no part of a model",
        manifest(|json| {
            json["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
        }),
    );
    refused(
        "12 control characters in a message",
        "no part of a model",
        manifest(|json| {
            json["layers"][0]["mediaType"] = "\u{1b}[2J\nerror: all is well".into();
        }),
    );
    refused("13 no JSON", "not valid", bent(is_manifest, |_| Reply::bytes("<html>please log in</html>")));
    refused("14 a manifest of five megabytes", "longer", bent(is_manifest, |_| Reply::bytes(vec![b' '; 5 << 20])));
    refused(
        "15 a manifest without an end",
        "longer",
        bent(is_manifest, |_| Reply::status(200).body(Body::Endless(vec![b' '; 65_536]))),
    );
    refused(
        "16 a packed manifest, a bomb perhaps",
        "packed",
        bent(is_manifest, |_| Reply::bytes(vec![0x1f, 0x8b, 8, 0]).with("Content-Encoding", "gzip")),
    );
    refused("17 a manifest that is not what its header says", "hashes to", {
        let model = Model::new(blob());
        bent(is_manifest, move |_| {
            Reply::bytes(model.manifest.clone()).with("Docker-Content-Digest", Digest::of(b"other"))
        })
    });
}

#[test]
pub fn blobs_that_are_others() {
    refused("18 a shorter blob", "are expected", bent(is_weights, |_| Reply::bytes(&blob()[..1000])));
    refused(
        "19 a longer blob",
        "are expected",
        bent(is_weights, |_| {
            let mut long = blob();
            long.push(0);
            Reply::status(200).body(Body::Open(long))
        }),
    );
    refused(
        "20 a body that ends early",
        "connection ended",
        bent(is_weights, |call| {
            let reply = Reply::file(call, &blob());
            let Body::Whole(bytes) = &reply.body else { unreachable!("files are whole") };
            let length = bytes.len();
            reply.clone().body(Body::Announced(length, bytes[..length / 200].to_vec()))
        }),
    );
    refused(
        "21 other bytes",
        "hash to",
        bent(is_weights, |call| {
            let mut other = blob();
            other[500_000] ^= 1;
            Reply::file(call, &other)
        }),
    );
    refused(
        "22 a body without an end",
        "are expected",
        bent(is_weights, |_| Reply::status(200).body(Body::Endless(vec![b'G'; 65_536]))),
    );
    refused(
        "23 another range",
        "another range",
        bent(is_weights, |call| {
            let reply = Reply::file(call, &blob());
            Reply { headers: vec![("Content-Range".to_string(), "bytes 7-70000/700001".to_string())], ..reply }
        }),
    );
    refused(
        "24 a byte now and then",
        "arrived for 300 ms",
        bent(is_weights, |call| {
            let reply = Reply::file(call, &blob());
            reply.body(Body::Trickle(700_001))
        }),
    );
    refused(
        "25 a blob in place of a part of it, of another length",
        "are expected",
        bent(is_weights, |_| Reply::bytes(vec![b'G'; 700_002])),
    );
    refused(
        "26 a packed blob",
        "packed",
        bent(is_weights, |call| Reply::file(call, &blob()).with("Content-Encoding", "gzip")),
    );
}

#[test]
pub fn redirections_that_lead_astray() {
    let lead = |to: &'static str| bent(is_weights, move |_| Reply::redirect(to));
    refused("27 to a file", "not HTTP", lead("file:///etc/passwd"));
    refused(
        "28 to where clouds keep their secrets",
        "169.254.169.254",
        lead("http://169.254.169.254/latest/meta-data/"),
    );
    // It is loopback that serves here, so plain HTTP beyond it is what is noticed first.
    refused("29 to the network of the user", "without encryption", lead("http://10.0.0.1/"));
    let open = |settings: &mut Settings| settings.transfer.is_plain_http_allowed = true;
    refused_with("30 to the network of the user, with --insecure", "10.0.0.1, a private address", open, {
        lead("http://10.0.0.1/")
    });
    refused_with(
        "31 to the metadata in another spelling",
        "no model comes from",
        open,
        lead("http://[::ffff:169.254.169.254]/"),
    );
    let calls = refused("32 in a circle", "too many times", bent(is_weights, |call| Reply::redirect(&call.path)));
    assert!(calls.iter().filter(|call| is_weights(call)).count() <= 12, "it goes round and round");
    refused("33 to nowhere", "without saying where", bent(is_weights, |_| Reply::status(302)));
    refused("34 with a line break in it", "", bent(is_weights, |_| Reply::redirect("/x\r\nX-Injected: 1")));
    refused("35 to an address with a user in it", "user name", lead("http://127.0.0.1@10.0.0.1/"));
}

/// A registry that asks for a token, and a realm that gives it to whoever asks.
fn asking(realm: impl Fn(&str) -> String) -> (Http, Http, Arc<Mutex<String>>) {
    let thief = Http::start(|_| Reply::bytes(r#"{"token": "stolen"}"#));
    let challenge = Arc::new(Mutex::new(String::new()));
    let (model, shown) = (Model::new(blob()), Arc::clone(&challenge));
    let server = Http::start(move |call| {
        if call.path.starts_with("/token") {
            return Reply::bytes(r#"{"token": "ours"}"#);
        }
        if call.path == "/v2/" {
            return Reply::bytes("{}");
        }
        if call.header("authorization") == Some("Bearer ours") {
            return model.answer(call);
        }
        Reply::status(401).with("WWW-Authenticate", shown.lock().expect("not poisoned"))
    });
    *challenge.lock().expect("not poisoned") = realm(&thief.endpoint);
    (server, thief, challenge)
}

#[test]
pub fn credentials_stay_with_the_registry() {
    let root = tempfile::tempdir().expect("a folder");
    let login = |host: &str, settings: &mut Settings| {
        let folder = root.path().join("docker");
        fs::create_dir_all(&folder).expect("creates");
        let auth = "bmFtZTpwYXNzd29yZA==";
        fs::write(folder.join("config.json"), format!(r#"{{"auths": {{"{host}": {{"auth": "{auth}"}}}}}}"#))
            .expect("writes");
        settings.transfer.login_folder = Some(folder);
    };
    // 36: a realm on another port of the same host is another host.
    let (server, thief, challenge) = asking(|thief| format!(r#"Bearer realm="{thief}/token",service="x""#));
    let store_one = store(&root.path().join("one"), |settings| login(server.host(), settings));
    let reference = Reference::Name(name_at(server.host()));
    let error = store_one.pull(&reference, &mut Told::default()).expect_err("refused").to_string();
    assert!(error.contains("another host: refused"), "{error}");
    assert!(thief.calls().is_empty(), "the thief was asked");
    // The registry's own realm is fine, and gets the password; the blobs get the token.
    *challenge.lock().expect("not poisoned") = format!(r#"Bearer realm="{}/token",service="x""#, server.endpoint);
    store_one.pull(&reference, &mut Told::default()).expect("pulled");
    let token_call = server.calls().into_iter().find(|call| call.path.starts_with("/token")).expect("was asked");
    assert_eq!(token_call.header("authorization"), Some("Basic bmFtZTpwYXNzd29yZA=="));
    assert!(token_call.path.contains("scope=repository%3Ans%2Ftiny%3Apull"), "{}", token_call.path);
    // 37: a token that could break a header.
    let model = Model::new(blob());
    let evil = Http::start(move |call| match call.path.as_str() {
        "/v2/" => Reply::bytes("{}"),
        path if path.starts_with("/token") => Reply::bytes(r#"{"token": "a\r\nX-Injected: 1"}"#),
        _ if call.header("authorization").is_some() => model.answer(call),
        _ => {
            let host = call.header("host").unwrap_or_default();
            Reply::status(401).with("WWW-Authenticate", format!(r#"Bearer realm="http://{host}/token""#))
        }
    });
    let error = store_one.pull(&Reference::Name(name_at(evil.host())), &mut Told::default()).expect_err("refused");
    assert!(error.to_string().contains("cannot be sent in a header"), "{error}");
}

#[test]
pub fn a_redirection_takes_no_token_along() {
    // 38: blobs lie with someone else, as they do with many registries.
    let elsewhere = Http::start(|call| Reply::file(call, &blob()));
    let (model, to) = (Model::new(blob()), elsewhere.endpoint.clone());
    let server = Http::start(move |call| match call.path.as_str() {
        "/v2/" => Reply::bytes("{}"),
        path if path.starts_with("/token") => Reply::bytes(r#"{"token": "ours"}"#),
        _ if call.header("authorization") != Some("Bearer ours") => {
            let host = call.header("host").unwrap_or_default();
            Reply::status(401).with("WWW-Authenticate", format!(r#"Bearer realm="http://{host}/token""#))
        }
        _ if is_weights(call) => Reply::redirect(&format!("{to}/signed")),
        _ => model.answer(call),
    });
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), |_| ());
    store.pull(&Reference::Name(name_at(server.host())), &mut Told::default()).expect("pulled");
    let calls = elsewhere.calls();
    assert!(!calls.is_empty() && calls.iter().all(|call| call.header("authorization").is_none()));
}

#[test]
pub fn a_name_with_a_digest_gets_that_manifest_or_none() {
    // 39: the registry sends another manifest than the one that was asked for by its digest.
    let model = Model::new(blob());
    let server = model.serve();
    let store = store(tempfile::tempdir().expect("a folder").path(), |_| ());
    let registry = lair_store::Registry::of(&name_at(server.host()), store.settings()).expect("there");
    let fetched = registry.manifest("ns/tiny", "latest").expect("there");
    assert_eq!(fetched.digest, Digest::of(&model.manifest));
    assert_eq!(fetched.manifest.layers[0].media_type, media_type::MODEL);
    let wrong = bent(is_manifest, |_| Reply::bytes(Model::new(b"GGUFother".to_vec()).manifest));
    let server = Http::start(wrong);
    let registry = lair_store::Registry::of(&name_at(server.host()), store.settings()).expect("there");
    let error = registry.manifest("ns/tiny", &fetched.digest.to_string()).expect_err("another");
    assert!(error.to_string().contains("was asked for"), "{error}");
}
