//! Registries, downloads and the store: lines 132 to 150.

use std::fs;
use std::net::TcpListener;

use lair_store::Digest;
use serde_json::json;

use crate::hostile_registries as registries;
use crate::registry::{Http, Reply, Request};
use crate::server::{Server, lines};
use crate::world::{World, ask, chat};
use crate::{Case, Try};

/// That a pull through the server fails with a word about why, and what it asked the registry.
fn pull_fails(world: &World, words: &str, answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> usize {
    let registry = Http::start(answer);
    let name = format!("{}/acme/evil", registry.address);
    let answer = world.open.post("/api/pull", &json!({ "model": name, "insecure": true }));
    let last = lines(&answer.body).pop().expect("a line");
    let error = last["error"].as_str().unwrap_or_else(|| panic!("{words}: {}", answer.body)).to_owned();
    assert!(error.contains(words), "`{error}` should contain `{words}`");
    assert!(!world.open.get("/api/tags").body.contains("evil"), "it is listed");
    registry.requests().len()
}

fn through_the_server(world: &World) {
    let manifests = |answer: fn() -> Reply| {
        move |request: &Request| if request.path.contains("/manifests/") { answer() } else { Reply::new(200, "{}") }
    };
    pull_fails(world, "404", |_| Reply::new(404, ""));
    pull_fails(world, "not valid", manifests(|| Reply::new(200, "<html>")));
    pull_fails(world, "longer", manifests(|| Reply::new(200, vec![b' '; 5 << 20])));
    pull_fails(world, "packed", manifests(|| Reply::new(200, "x").with("Content-Encoding", "gzip")));
    let asked = pull_fails(world, "500", |_| Reply::new(500, "broken"));
    assert!(asked <= 20, "it asked {asked} times");
}

/// Told to wait or that it broke, a pull ends with the registry's word after a few tries.
fn busy(world: &World) {
    for status in [429, 503, 500, 502] {
        let words = status.to_string();
        let asked = pull_fails(world, &words, move |_| Reply::new(status, "busy").with("Retry-After", "0"));
        assert!(asked <= 20, "{status}: it asked {asked} times");
    }
}

/// A registry whose every token is stale already.
fn expiring(world: &World) {
    let asked = pull_fails(world, "asks for credentials", |request| match request.path.as_str() {
        "/token" => Reply::new(200, r#"{"token": "stale", "expires_in": 0}"#),
        _ => {
            let host = request.header("host").unwrap_or_default();
            Reply::new(401, "").with("WWW-Authenticate", format!("Bearer realm=\"http://{host}/token\",service=\"x\""))
        }
    });
    assert!(asked <= 20, "it asked {asked} times");
}

/// Pictures that lie elsewhere are not fetched.
fn addresses_of_pictures(world: &World) {
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("a socket");
    let port = elsewhere.local_addr().expect("an address").port();
    for address in [
        format!("http://127.0.0.1:{port}/x.png"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://user@host#@127.0.0.1:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "file:///etc/passwd".to_owned(),
        format!("//127.0.0.1:{port}/"),
        format!("gopher://127.0.0.1:{port}/"),
    ] {
        let parts =
            json!([{ "type": "text", "text": "see" }, { "type": "image_url", "image_url": { "url": address } }]);
        let messages = json!([{ "role": "user", "content": parts }]);
        world.refused(400, "/v1/chat/completions", &chat(json!({ "messages": messages })));
        let source = json!({ "type": "image", "source": { "type": "url", "url": address } });
        let messages = json!([{ "role": "user", "content": [source] }]);
        world.refused(400, "/v1/messages", &json!({ "model": "told", "max_tokens": 2, "messages": messages }));
    }
    assert!(elsewhere.accept().is_err(), "it was asked");
}

fn foreign_push(world: &World) {
    for (method, path) in [
        ("POST", "/api/push"),
        ("POST", "/api/pull"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
    ] {
        let headers = [("Content-Type", "application/json"), ("Origin", "https://evil.example")];
        let answer = world.open.ask(method, path, &headers, json!({ "model": "tiny" }).to_string().as_bytes());
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
    }
    assert!(world.open.get("/api/tags").body.contains("tiny"));
}

fn disk_use(server: &Server) -> u64 {
    fn sum(folder: &std::path::Path) -> u64 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| {
                if entry.path().is_dir() { sum(&entry.path()) } else { entry.metadata().map_or(0, |facts| facts.len()) }
            })
            .sum()
    }
    sum(server.home())
}

/// Uploads that are not what they say leave nothing on the disk.
fn wrong_uploads(world: &World) {
    let server = &world.keyed;
    let before = disk_use(server);
    let body = vec![b'x'; 4096];
    for index in 0..1000_u32 {
        let digest = Digest::of(&index.to_le_bytes()).to_string();
        let headers = [("X-Api-Key", crate::world::KEY)];
        let answer = server.ask("POST", &format!("/api/blobs/{digest}"), &headers, &body);
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    assert_eq!(disk_use(server), before);
    for odd in
        ["sha256:../../x", "sha256:ABC", "sha512:00", "sha256-00", "%2e%2e%2fx", &format!("sha256:{}", "0".repeat(63))]
    {
        let answer = server.ask("POST", &format!("/api/blobs/{odd}"), &[("X-Api-Key", crate::world::KEY)], &body);
        assert!(matches!(answer.status, 400 | 404), "{odd}: {}", answer.body);
    }
    assert_eq!(disk_use(server), before);
}

/// Two servers on one store: what one makes the other lists, and what one deletes is gone for both.
fn two_servers(world: &World) {
    let home = world.open.home().to_str().expect("a plain path").to_owned();
    let Some(second) = Server::start_with_variables(&[("LAIR_MODELS", &format!("{home}/models"))], &[], &[]) else {
        return;
    };
    let names = |server: &Server| server.get("/api/tags").body;
    assert!(names(&second).contains("told"), "{}", names(&second));
    assert_eq!(second.post("/api/copy", &json!({ "source": "tiny", "destination": "shared" })).status, 200);
    assert!(names(&world.open).contains("shared"), "{}", names(&world.open));
    std::thread::scope(|scope| {
        for server in [&world.open, &second] {
            scope.spawn(move || {
                for _ in 0..10 {
                    let create = json!({ "model": "both", "from": "tiny", "system": "x", "stream": false });
                    assert_eq!(server.post("/api/create", &create).status, 200);
                    assert_eq!(server.post("/v1/completions", &ask(json!({ "model": "both" }))).status, 200);
                }
            });
        }
    });
    for name in ["both", "shared"] {
        let body = json!({ "model": name }).to_string();
        let deleted = second.ask("DELETE", "/api/delete", &[("Content-Type", "application/json")], body.as_bytes());
        assert_eq!(deleted.status, 200, "{}", deleted.body);
        assert_eq!(world.open.post("/api/show", &json!({ "model": name })).status, 404);
    }
}

#[rustfmt::skip]
pub const ATTACKS: &[Case] = &[
    (132, "manifests that are none, and digests that are none", Try::Here(registries::manifests_that_are_none)),
    (133, "manifests and answers through the server", Try::On(through_the_server)),
    (134, "blobs that are others", Try::Here(registries::blobs_that_are_others)),
    (137, "an endless slow body", Try::By("\"a byte now and then\" and \"a body without an end\" of line 134")),
    (138, "a connection that is cut", Try::By("\"a body that ends early\" of line 134; `lair-store/tests/download.rs` cuts at each part")),
    (139, "registries that are busy or broken", Try::On(busy)),
    (140, "a packed manifest", Try::By("line 133 through the server, and line 132")),
    (141, "a tag that moves between manifest and blobs", Try::Nothing("a manifest is read once, and all that follows is asked for by its digest")),
    (142, "a token that expires on the way", Try::On(expiring)),
    (143, "two mirrors that disagree", Try::Nothing("blobs are one thing by their digest wherever they come from: other bytes are those of line 134")),
    (135, "redirections that lead astray", Try::Here(registries::redirections_that_lead_astray)),
    (136, "credentials stay with their registry", Try::Here(registries::credentials_stay_with_the_registry)),
    (136, "a redirection takes no token along", Try::Here(registries::a_redirection_takes_no_token_along)),
    (144, "a name with a digest gets that manifest or none", Try::Here(registries::a_name_with_a_digest_gets_that_manifest_or_none)),
    (145, "addresses of pictures", Try::On(addresses_of_pictures)),
    (146, "pushes and deletions of another site", Try::On(foreign_push)),
    (147, "a thousand uploads that are not what they say", Try::On(wrong_uploads)),
    (148, "a full disk", Try::Nothing("a real disk is not filled in a test; `lair-store/tests/transfer/disk_full.rs` and `crash.rs` fail every operation of a transfer with ENOSPC")),
    (149, "clocks of 1970 and 2100", Try::Nothing("no answer depends on the date; certificates are checked by rustls against the clock of the machine, as they must be")),
    (150, "two servers on one store", Try::On(two_servers)),
];
