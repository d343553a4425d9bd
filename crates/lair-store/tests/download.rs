//! A file behind HTTP on a bad day: cuts, stalls, servers without ranges, redirections, secrets.

mod fakes;

use std::fs;
use std::time::Duration;

use fakes::server::{Answer, Request, Server};
use fakes::{Told, blob, hub, leave_partial, partial_path, store};
use lair_store::{Entry, HubToken, Settings, SourceError, Store, StoreError};

/// Fetches from a server with these answers; `left` is what an earlier run left.
fn fetch(
    answers: Vec<Answer>,
    left: &[u8],
    adjust: impl FnOnce(&mut Settings),
    check: impl FnOnce(Result<Vec<u8>, StoreError>, &Told, Vec<Request>, (&Store, &Entry)),
) {
    let server = Server::start(answers);
    let root = tempfile::tempdir().expect("a folder");
    let (store, entry) = store(root.path(), &[hub()], |settings| {
        settings.hub_endpoint = server.endpoint.clone();
        adjust(settings);
    });
    leave_partial(&store, &entry, left);
    let mut told = Told::default();
    let outcome = store.fetch(&entry, &mut told).map(|path| fs::read(path).expect("reads"));
    check(outcome, &told, server.requests(), (&store, &entry));
}

fn only_error(outcome: Result<Vec<u8>, StoreError>) -> SourceError {
    match outcome {
        Err(StoreError::AllSourcesFailed { mut attempts, .. }) => attempts.remove(0).error,
        other => panic!("it should have failed, but: {:?}", other.map(|bytes| bytes.len())),
    }
}

/// The header that asks for everything from this byte on.
fn from(first: usize) -> String {
    format!("bytes={first}-{}", blob().len() - 1)
}

fn ranges(requests: &[Request]) -> Vec<Option<&str>> {
    requests.iter().map(|request| request.range.as_deref()).collect()
}

#[test]
fn asks_the_hub_for_the_file_of_the_repository() {
    fetch(
        vec![Answer::Serve(blob())],
        b"",
        |_| (),
        |outcome, told, requests, _| {
            assert!(outcome.expect("fetched") == blob());
            let path = "/owner/name/resolve/main/tiny.gguf".to_string();
            assert_eq!(requests, [Request { path, range: None, authorization: None }]);
            assert!(told.sources[0].starts_with("hub 127.0.0.1:"), "{:?}", told.sources);
        },
    );
}

#[test]
fn goes_on_after_each_cut() {
    let answers = vec![Answer::Cut(blob(), 100_000), Answer::Cut(blob(), 250_000), Answer::Serve(blob())];
    fetch(
        answers,
        &blob()[..10],
        |_| (),
        |outcome, told, requests, _| {
            assert!(outcome.expect("fetched") == blob());
            assert_eq!(ranges(&requests), [Some(&*from(10)), Some(&from(100_010)), Some(&from(350_010))]);
            assert_eq!(told.bytes, told.total_bytes);
            assert_eq!(told.notes.len(), 2, "{:?}", told.notes);
        },
    );
}

#[test]
fn gives_up_when_a_connection_brings_nothing_and_keeps_what_came() {
    let answers = vec![Answer::Cut(blob(), 100_000), Answer::Cut(blob(), 0)];
    fetch(
        answers,
        b"",
        |_| (),
        |outcome, _, _, (store, entry)| {
            assert!(matches!(only_error(outcome), SourceError::Cut { received_bytes: 100_000, .. }));
            assert!(fs::read(partial_path(store, entry)).expect("reads") == blob()[..100_000]);
        },
    );
}

#[test]
fn begins_again_with_a_server_that_knows_no_ranges() {
    fetch(
        vec![Answer::ServeWithoutRange(blob())],
        &blob()[..100],
        |_| (),
        |outcome, _, requests, _| {
            assert!(outcome.expect("fetched") == blob());
            assert_eq!(ranges(&requests), [Some(&*from(100))]);
        },
    );
}

#[test]
fn refuses_a_range_that_does_not_fit() {
    fetch(
        vec![Answer::WrongRange(blob())],
        &blob()[..100],
        |_| (),
        |outcome, _, _, (store, entry)| {
            assert!(matches!(only_error(outcome), SourceError::BadAnswer { .. }));
            assert_eq!(fs::metadata(partial_path(store, entry)).expect("exists").len(), 100);
        },
    );
}

#[test]
fn refuses_more_bytes_than_the_blob_has() {
    let mut long = blob();
    long.push(0);
    fetch(
        vec![Answer::ServeWithoutRange(long)],
        b"",
        |_| (),
        |outcome, _, _, (store, entry)| {
            assert!(matches!(only_error(outcome), SourceError::WrongSize { .. }));
            assert_eq!(fs::metadata(partial_path(store, entry)).expect("exists").len(), 0);
        },
    );
}

#[test]
fn refuses_a_page_in_place_of_a_model() {
    let mut page = b"<html>please log in".to_vec();
    page.resize(blob().len(), b' ');
    fetch(
        vec![Answer::Serve(page)],
        b"",
        |_| (),
        |outcome, _, _, _| {
            let error = only_error(outcome);
            assert!(matches!(error, SourceError::NotGguf { .. }));
            assert!(error.to_string().contains("<html>please"), "{error}");
        },
    );
}

#[test]
fn does_not_wait_for_a_silent_server() {
    let short = |settings: &mut Settings| settings.stall_timeout = Duration::from_millis(50);
    fetch(vec![Answer::Silence], b"", short, |outcome, _, _, _| {
        let error = only_error(outcome);
        assert!(matches!(error, SourceError::NoConnection { .. }), "{error}");
        assert!(error.to_string().contains("timeout"), "{error}");
    });
    // The second connection brings nothing at all, so it is the last.
    let answers = vec![Answer::Stall(blob(), 1000), Answer::Stall(blob(), 0)];
    fetch(answers, b"", short, |outcome, _, _, _| {
        let error = only_error(outcome);
        assert!(matches!(error, SourceError::Stalled { stall_ms: 50, received_bytes: 1000, .. }), "{error}");
    });
}

#[test]
fn follows_redirections_but_not_for_ever() {
    let other = Server::start(vec![Answer::Serve(blob())]);
    let answers =
        vec![Answer::Redirect("/moved".to_string()), Answer::Redirect(format!("{}/cdn?sig=1", other.endpoint))];
    fetch(
        answers,
        &blob()[..7],
        |_| (),
        |outcome, _, requests, _| {
            assert!(outcome.expect("fetched") == blob());
            assert_eq!(requests[1].path, "/moved");
            assert_eq!(other.requests()[0].path, "/cdn?sig=1");
            assert_eq!(ranges(&other.requests()), [Some(&*from(7))]);
        },
    );
    fetch(
        vec![Answer::Redirect("/again".to_string()); 6],
        b"",
        |_| (),
        |outcome, _, requests, _| {
            assert!(matches!(only_error(outcome), SourceError::Redirect { problem: "too many times", .. }));
            assert_eq!(requests.len(), 6);
        },
    );
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let other = Server::start(vec![Answer::Serve(blob())]);
    let answers = vec![Answer::Redirect("/moved".to_string()), Answer::Redirect(other.endpoint.clone())];
    let with_token = |settings: &mut Settings| settings.hub_token = HubToken::new("secret");
    fetch(answers, b"", with_token, |outcome, _, requests, _| {
        assert!(outcome.expect("fetched") == blob());
        for request in requests {
            assert_eq!(request.authorization.as_deref(), Some("Bearer secret"));
        }
        // The same host on another port is another host.
        assert_eq!(other.requests()[0].authorization, None);
    });
}

#[test]
fn a_refusal_names_the_path_and_what_to_do() {
    fetch(
        vec![Answer::Status(401)],
        b"",
        |_| (),
        |outcome, _, _, _| {
            let error = outcome.expect_err("refused");
            let message = error.to_string();
            assert!(message.contains("401") && message.contains("`/owner/name/resolve/main/tiny.gguf`"), "{message}");
            assert!(error.hint().expect("a hint").contains("HF_TOKEN"));
        },
    );
}
