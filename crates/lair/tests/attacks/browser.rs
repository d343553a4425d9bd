//! Pages of other sites, names that were re-bound, keys: lines 61 to 74.

use serde_json::json;

use crate::server::Answer;
use crate::world::{KEY, World, ask, raw, status};
use crate::{Case, Try};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn under_host(world: &World, host: &str) -> u16 {
    world.open.ask("GET", "/v1/models", &[("Host", host)], b"").status
}

fn page(world: &World, method: &str, origin: &str) -> Answer {
    let body = ask(json!({})).to_string();
    let (path, body) = if method == "POST" { ("/v1/completions", body) } else { ("/v1/models", String::new()) };
    world.open.ask(method, path, &[JSON, ("Origin", origin)], body.as_bytes())
}

fn is_invited(answer: &Answer) -> bool {
    answer.head.to_ascii_lowercase().contains("access-control-allow-origin")
}

fn kept_out(world: &World, origin: &str) {
    for method in ["POST", "GET"] {
        let answer = page(world, method, origin);
        assert_eq!(answer.status, 403, "{origin}: {}", answer.body);
        assert!(!is_invited(&answer), "{origin}: {}", answer.head);
    }
}

fn raw_heads(world: &World, heads: &[&str]) {
    for head in heads {
        let answer = raw(&world.open, format!("GET /v1/models HTTP/1.1\r\n{head}Connection: close\r\n\r\n").as_bytes());
        assert_eq!(status(&answer), 400, "{head:?}: {answer}");
    }
}

fn simple_requests(world: &World) {
    let body = ask(json!({})).to_string();
    let origin = ("Origin", format!("http://{}", world.open.address));
    for kind in ["text/plain", "multipart/form-data; boundary=x", "text/plain; x=application/json", "application/xml"] {
        let headers = [("Content-Type", kind), (origin.0, origin.1.as_str())];
        let answer = world.open.ask("POST", "/v1/completions", &headers, body.as_bytes());
        assert_eq!(answer.status, 415, "{kind}: {}", answer.body);
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(world.open.ask("POST", "/v1/completions", &form, body.as_bytes()).status, 415);
}

fn sockets(world: &World) {
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Origin", "https://evil.example"),
    ];
    for path in ["/v1/chat/completions", "/v1/models", "/health"] {
        let answer = world.open.ask("GET", path, &headers, b"");
        assert_eq!(answer.status, 403, "{path}: {}", answer.body);
    }
}

/// Paths that watchdogs may ask for without a key.
const FREE: [&str; 4] = ["/health", "/healthz", "/v1/health", "/ping"];

/// Every route, without a key and with wrong ones: whoever has none learns nothing.
fn every_route(world: &World) {
    let document = world.keyed.ask("GET", "/openapi.json", &[("X-Api-Key", KEY)], b"").json();
    let (mut count, basic) = (0, format!("Basic {KEY}"));
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            let (method, path) = (method.to_ascii_uppercase(), path.replace(['{', '}'], "x"));
            let wrong: [&[(&str, &str)]; 6] = [
                &[],
                &[("Authorization", "Bearer wrong")],
                &[("Authorization", &basic)],
                &[("X-Api-Key", "")],
                &[("X-Api-Key", "wrong"), ("Authorization", "Bearer wrong")],
                &[("Authorization", "Bearer"), ("Cookie", KEY)],
            ];
            for headers in wrong {
                let found = world.keyed.ask(&method, &path, headers, b"").status;
                let is_free = FREE.contains(&path.as_str()) || path == "/" || path.starts_with("/page/");
                assert_eq!(found == 401, !is_free, "{method} {path} {headers:?}: {found}");
            }
            count += 1;
        }
    }
    assert!(count > 40, "{count} routes");
}

fn shapes_of_keys(world: &World) {
    let ask = |headers: &[(&str, &str)]| world.keyed.ask("GET", "/v1/models", headers, b"").status;
    let (bearer, lower) = (format!("Bearer {KEY}"), format!("bearer {KEY}"));
    assert_eq!(ask(&[("Authorization", &bearer)]), 200);
    assert_eq!(ask(&[("authorization", &lower)]), 200);
    assert_eq!(ask(&[("x-api-key", KEY)]), 200);
    // The first of two counts, and a wrong one is not made good by the other header.
    assert_eq!(ask(&[("Authorization", "Bearer wrong"), ("Authorization", &bearer)]), 401);
    assert_eq!(ask(&[("Authorization", "Bearer wrong"), ("X-Api-Key", KEY)]), 401);
    assert_eq!(world.keyed.ask("GET", &format!("/v1/models?api_key={KEY}"), &[], b"").status, 401);
}

fn cross_site(world: &World) {
    for (method, path) in [("POST", "/v1/completions"), ("POST", "/api/pull"), ("DELETE", "/api/delete")] {
        let body = ask(json!({})).to_string();
        let headers = [JSON, ("Sec-Fetch-Site", "cross-site")];
        let answer = world.open.ask(method, path, &headers, body.as_bytes());
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
    }
}

/// Errors quote what was sent. No browser takes them for a page.
fn markup(world: &World) {
    let name = "<script>alert(1)</script>";
    for (path, body) in [
        ("/v1/completions", json!({ "model": name, "prompt": "x" })),
        ("/api/generate", json!({ "model": name, "prompt": "x" })),
        ("/%3Cscript%3E", json!({})),
    ] {
        let answer = world.open.post(path, &body);
        let head = answer.head.to_ascii_lowercase();
        assert!(answer.status >= 400 && head.contains("content-type: application/json"), "{path}: {head}");
    }
}

#[rustfmt::skip]
pub const ATTACKS: &[Case] = &[
    (61, "the host of another site", Try::On(|w| assert_eq!(under_host(w, "evil.example"), 403))),
    (61, "a host that begins like this one", Try::On(|w| for host in ["localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "[::2]"] { assert_eq!(under_host(w, host), 403, "{host}") })),
    (62, "an empty host", Try::On(|w| raw_heads(w, &["Host: \r\n"]))),
    (62, "no host", Try::On(|w| raw_heads(w, &[""]))),
    (62, "two hosts", Try::On(|w| raw_heads(w, &["Host: localhost\r\nHost: localhost\r\n", "Host: localhost\r\nHost: evil.example\r\n"]))),
    (62, "a host that is a path", Try::On(|w| raw_heads(w, &["Host: localhost/?x\r\n", "Host: user@localhost\r\n", "Host: localhost:99999\r\n", "Host: local host\r\n"]))),
    (63, "a page of another site", Try::On(|w| kept_out(w, "https://evil.example"))),
    (64, "a page from nowhere", Try::On(|w| kept_out(w, "null"))),
    (65, "origins that look like this machine's", Try::On(|w| for origin in ["http://localhost.evil.example", "http://notlocalhost", "http://127.0.0.1.evil.example", "https://localhost@evil.example"] { kept_out(w, origin) })),
    (65, "origins of programs", Try::On(|w| for origin in ["file://", "app://x", "tauri://localhost", "vscode-webview://x", "chrome-extension://x"] { kept_out(w, origin) })),
    (66, "a browser's question for another site", Try::On(|w| { let answer = w.open.ask("OPTIONS", "/v1/completions", &[("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")], b""); assert!(!is_invited(&answer), "{}", answer.head) })),
    (67, "requests that need no question", Try::On(simple_requests)),
    (68, "a socket of another site", Try::On(sockets)),
    (69, "every route without a key and with wrong ones", Try::On(every_route)),
    (69, "a key in every header and shape", Try::On(shapes_of_keys)),
    (70, "the time a wrong key takes", Try::Nothing("what is compared are digests of 32 bytes, all of them, for every key there is (`access.rs`); a clock in a test would measure the machine")),
    (71, "a key for asking only, on what changes models", Try::By("every route by every scope, in `crates/lair/tests/serve_keys.rs`")),
    (72, "a request that a browser says comes from another site", Try::On(cross_site)),
    (73, "markup in names", Try::On(markup)),
    (73, "markup in chats, files, pictures and formulas", Try::Nothing("the server sends no page that would show them; every answer is JSON, a stream of it, or text")),
    (74, "pictures in answers that would be fetched", Try::Nothing("the server sends no page, and fetches nothing that an answer names")),
];
