//! `lair serve` with many clients, slow ones, and too many. No test measures time: the scenarios in `bench/scenarios` do.
//! Needs the shared data; without it every test says that it is skipped.
#![cfg(unix)] // Servers are asked to end with a signal.

mod server;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use server::{Answer, Server, events};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn words(seed: usize, count: usize) -> String {
    let words = ["once", "upon", "a", "time", "there", "was", "little", "girl"];
    (0..count).map(|index| words[(index * (seed + 3) + index / 5) % words.len()]).collect::<Vec<_>>().join(" ")
}

fn question(seed: usize, words_count: usize) -> Value {
    let sampling = if seed.is_multiple_of(2) { json!(0) } else { json!(0.9) };
    json!({
        "model": "tiny", "prompt": words(seed, words_count), "max_tokens": 20 + seed * 3, "temperature": sampling,
        "seed": seed, "ignore_eos": true,
    })
}

fn text(answer: &Value) -> String {
    answer["choices"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Tokens of the prompt that were computed.
fn computed(answer: &Value) -> u64 {
    let usage = &answer["usage"];
    let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
    usage["prompt_tokens"].as_u64().expect("a count") - cached
}

fn together<T: Send>(count: usize, ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let ask = &ask;
        let asking: Vec<_> = (0..count).map(|index| scope.spawn(move || ask(index))).collect();
        asking.into_iter().map(|thread| thread.join().expect("answered")).collect()
    })
}

#[test]
fn every_client_of_many_gets_what_it_would_get_alone() {
    // Memory for little more than one context: sequences lose it and begin again.
    let flags = ["--parallel", "24", "--context-length", "256", "--kv-memory", "250KB"];
    let Some(server) = Server::start(&flags) else { return };
    let ask = |seed: usize| question(seed % 12, 3 + seed % 12 * 4);
    let alone: Vec<String> = (0..12).map(|seed| text(&server.post("/v1/completions", &ask(seed)).json())).collect();
    let answers = together(96, |index| {
        let mut question = ask(index);
        if index % 3 > 0 {
            return text(&server.post("/v1/completions", &question).json());
        }
        question["stream"] = json!(true);
        events(&server.post("/v1/completions", &question).body).iter().map(text).collect()
    });
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, alone[index % 12], "client {index}");
    }
}

#[test]
fn who_comes_too_many_is_told_so_at_once() {
    let Some(server) = Server::start(&["--parallel", "1", "--max-queue", "1"]) else { return };
    let ask = question(4, 10);
    let expected = text(&server.post("/v1/completions", &ask).json());
    let answers: Vec<Answer> =
        together(24, |_| (0..4).map(|_| server.post("/v1/completions", &ask)).collect::<Vec<_>>())
            .into_iter()
            .flatten()
            .collect();
    let (taken, refused): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!taken.is_empty() && taken.iter().all(|answer| text(&answer.json()) == expected));
    assert!(!refused.is_empty(), "24 clients did not fill two places");
    for answer in refused {
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.head.to_ascii_lowercase().contains("retry-after: 1"), "{}", answer.head);
        assert_eq!(answer.json()["error"]["code"], "queue_full");
    }
    assert_eq!(server.post("/v1/completions", &ask).status, 200);
}

#[test]
fn a_beginning_that_many_share_is_computed_once() {
    let Some(server) = Server::start(&["--parallel", "16"]) else { return };
    let prompt = |index: usize| format!("{} {}", words(1, 200), words(index, 3));
    let ask = |index: usize| json!({ "model": "tiny", "prompt": prompt(index), "max_tokens": 4, "temperature": 0 });
    // Loaded before, so that they arrive at the same moment.
    let alone = server.post("/v1/completions", &question(1, 3)).json();
    assert!(computed(&alone) > 0);
    let answers = together(16, |index| server.post("/v1/completions", &ask(index)).json());
    let of_one = answers[0]["usage"]["prompt_tokens"].as_u64().expect("a count");
    let all: u64 = answers.iter().map(computed).sum();
    // A page is 16 tokens; what a prompt has of its own, and what is left of its last shared page, is its own work.
    assert!(all < of_one + 16 * 32, "{all} tokens computed of 16 prompts of {of_one}");
}

#[test]
fn users_do_not_see_each_other_s_prompts() {
    let Some(server) = Server::start(&["--api-key", "one", "--api-key", "two"]) else { return };
    let body = question(2, 100).to_string();
    let ask = |key: &str| {
        let answer = server.ask("POST", "/v1/completions", &[JSON, ("X-Api-Key", key)], body.as_bytes()).json();
        (text(&answer), computed(&answer))
    };
    let (expected, all) = ask("one");
    assert_eq!(ask("two"), (expected.clone(), all));
    let (again, rest) = ask("one");
    assert!(again == expected && rest < 32, "{rest} of {all} computed again");
}

#[test]
fn connections_are_bounded() {
    let Some(server) = Server::start(&["--max-connections", "10"]) else { return };
    let held: Vec<TcpStream> = (0..10).map(|_| server.send(b"POST /v1/completions HTTP/1.1\r\nX-Slow: ")).collect();
    // Connections are taken in order, so the eleventh comes when all places are gone.
    let refused = server.get("/health");
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("Retry-After: 1"), "{}", refused.head);
    assert_eq!(refused.json()["error"]["message"], "too many connections are open");
    drop(held);
    while server.get("/health").status == 503 {
        std::thread::yield_now();
    }
    assert_eq!(server.get("/health").json()["status"], "ok");
}

#[test]
fn slow_clients_hold_up_nobody() {
    let Some(server) = Server::start(&["--parallel", "2"]) else { return };
    let ask = question(3, 10);
    let expected = text(&server.post("/v1/completions", &ask).json());
    let half = server.request("POST", "/v1/completions", &[JSON], ask.to_string().as_bytes());
    let mut endless = ask.clone();
    (endless["stream"], endless["max_tokens"], endless["logprobs"]) = (json!(true), json!(400), json!(5));
    let unread = server.request("POST", "/v1/completions", &[JSON], endless.to_string().as_bytes());
    let held: Vec<TcpStream> = (0..300)
        .map(|index| match index % 3 {
            0 => server.send(b""),
            1 => server.send(&half[..half.len() / 2 + index % 50]),
            _ => server.send(&unread),
        })
        .collect();
    let answers = together(8, |_| text(&server.post("/v1/completions", &ask).json()));
    assert!(answers.iter().all(|answer| *answer == expected));
    drop(held);
    assert_eq!(text(&server.post("/v1/completions", &ask).json()), expected);
}

#[test]
fn a_server_that_ends_finishes_its_answers() {
    let Some(server) = Server::start(&[]) else { return };
    let mut ask = question(5, 10);
    ask["stream"] = json!(true);
    let request = server.request("POST", "/v1/completions", &[JSON], ask.to_string().as_bytes());
    let mut streams: Vec<TcpStream> = (0..6).map(|_| server.send(&request)).collect();
    for stream in &mut streams {
        stream.read_exact(&mut [0; 16]).expect("it begins");
    }
    assert!(server.end());
    for mut stream in streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("the rest");
        assert!(rest.contains("data: [DONE]"), "{rest}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_numbers() {
    for (flags, numbers) in [
        (&["--max-memory", "1MB"][..], "are available"),
        (&["--kv-memory", "900TB"], "for keys and values are asked for"),
    ] {
        let Some(server) = Server::start(flags) else { return };
        let refused = server.post("/v1/completions", &question(1, 5));
        assert_eq!(refused.status, 507, "{}", refused.body);
        assert!(refused.body.contains(numbers), "{}", refused.body);
        assert_eq!(server.get("/health").status, 200);
    }
}

/// The files of a folder and those below.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_prompt_is_used_again_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    let flags = ["--prompt-cache", cache.to_str().expect("text"), "--kv-type", "f16"];
    let ask = question(3, 260);
    let run = |flags: &[&str]| {
        let server = Server::start(flags)?;
        let answers = [(); 2].map(|()| server.post("/v1/completions", &ask).json());
        assert!(server.end());
        assert_eq!(text(&answers[0]), text(&answers[1]));
        Some((text(&answers[0]), computed(&answers[0])))
    };
    let Some((expected, all)) = run(&flags) else { return };
    let kept = files(&cache);
    assert!(kept.len() as u64 >= all / 16, "{} pages of {all} tokens", kept.len());
    let (again, rest) = run(&flags).expect("as before");
    assert_eq!(again, expected);
    assert!(rest <= 16, "{rest} of {all} tokens computed again");
    // Another type of keys and values is another cache.
    assert_eq!(run(&[&flags[..3], &["f32"]].concat()).expect("as before").1, all);
    for (index, path) in kept.iter().enumerate() {
        let length = std::fs::metadata(path).expect("it is there").len();
        let mut file = std::fs::OpenOptions::new().write(true).open(path).expect("a file");
        if index % 2 == 0 {
            file.set_len(length / 2).expect("cut");
        } else {
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(length / 2)).expect("a place");
            file.write_all(&[0x55; 8]).expect("written");
        }
    }
    assert_eq!(run(&flags).expect("as before"), (expected, all), "damaged pages are computed");
    assert_eq!(run(&flags).expect("as before").1, rest, "and kept again");
}
