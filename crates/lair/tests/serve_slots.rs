//! Saving, restoring and erasing computed prompts through `/slots`, as llama-server's clients do. Needs the shared data; without
//! it every test says that it is skipped.

mod server;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use server::{Server, joined};

const LONG: &str = "Once upon a time there was a little girl who had a red ball and a blue box. She went to the park with \
    her mother and saw a big dog there.";

fn start(folder: &Path, more: &[&str]) -> Option<Server> {
    let folder = folder.to_str().expect("a plain path");
    Server::start(&[&["--parallel", "2", "--slot-save-path", folder], more].concat())
}

fn complete(server: &Server, extra: Value) -> Value {
    let body = json!({ "prompt": LONG, "n_predict": 12, "temperature": 0 });
    let answer = server.post("/completion", &joined(&body, &extra));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn act(server: &Server, slot: usize, action: &str, name: &str) -> Value {
    let answer = server.post(&format!("/slots/{slot}?action={action}"), &json!({ "filename": name }));
    assert_eq!(answer.status, 200, "{action}: {}", answer.body);
    answer.json()
}

/// That it is refused with these words.
fn refused(server: &Server, path: &str, body: &Value, words: &str) {
    let answer = server.post(path, body);
    assert_eq!(answer.status, 400, "{path} {body}: {}", answer.body);
    let message = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains(words), "`{message}` should mention `{words}`");
}

#[test]
fn what_was_saved_is_not_computed_again_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = start(folder.path(), &[]) else { return };
    let first = complete(&server, json!({ "id_slot": 1 }));
    assert_eq!((&first["id_slot"], &first["timings"]["cache_n"]), (&json!(1), &json!(0)));
    let slots = server.get("/slots").json();
    assert!(slots[1]["n_past"].as_u64() > slots[0]["n_past"].as_u64(), "{slots}");

    let saved = act(&server, 1, "save", "girl.bin");
    let count = saved["n_saved"].as_u64().expect("a count");
    // Whole pages of the prompt and the answer, all but the last tokens.
    assert!(count >= 32 && count.is_multiple_of(16), "{saved}");
    let file_bytes = fs::metadata(folder.path().join("girl.bin")).expect("it is there").len();
    assert_eq!((saved["n_written"].as_u64(), &saved["filename"]), (Some(file_bytes), &json!("girl.bin")));
    assert!(server.end());

    let Some(server) = start(folder.path(), &[]) else { return };
    let restored = act(&server, 0, "restore", "girl.bin");
    assert_eq!((restored["n_restored"].as_u64(), restored["n_read"].as_u64()), (Some(count), Some(file_bytes)));
    let again = complete(&server, json!({}));
    assert_eq!(again["content"], first["content"], "the pages are those that were saved");
    let prompt_count = first["timings"]["prompt_n"].as_u64().expect("a count");
    let expected = count.min((prompt_count - 1) / 16 * 16);
    assert_eq!(again["timings"]["cache_n"].as_u64(), Some(expected), "{}", again["timings"]);
    // Restored over what is there it is there once.
    assert_eq!(act(&server, 1, "restore", "girl.bin")["n_restored"].as_u64(), Some(count));

    // What is erased is computed again, with the same answer.
    let erased = server.ask("POST", "/slots/0?action=erase", &[], b"").json();
    assert!(erased["n_erased"].as_u64().is_some_and(|erased| erased > prompt_count), "{erased}");
    let anew = complete(&server, json!({}));
    assert_eq!((&anew["content"], &anew["timings"]["cache_n"]), (&first["content"], &json!(0)));
}

#[test]
fn erasing_leaves_what_another_prompt_goes_on_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = start(folder.path(), &[]) else { return };
    // Long enough that it has whole pages after those that both begin with.
    complete(&server, json!({ "id_slot": 0, "n_predict": 40 }));
    let longer = format!("{LONG} The dog was called Max, and he wanted to play with the ball of the girl.");
    complete(&server, json!({ "id_slot": 1, "prompt": longer }));
    server.ask("POST", "/slots/1?action=erase", &[], b"");
    let first = complete(&server, json!({ "id_slot": 0 }));
    assert!(first["timings"]["cache_n"].as_u64() >= Some(16), "{}", first["timings"]);
}

#[test]
fn files_of_others_and_names_that_lead_away_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(server) = start(folder.path(), &[]) else { return };
    refused(&server, "/slots/0?action=save", &json!({ "filename": "x.bin" }), "nothing ended in slot 0");
    complete(&server, json!({ "id_slot": 0 }));
    act(&server, 0, "save", "x.bin");
    let whole = fs::read(folder.path().join("x.bin")).expect("there");
    for name in ["../x.bin", "/etc/passwd", "a/../x.bin", "..", ".x", "x\u{0}", "", "x%2f..", &"x".repeat(200)] {
        for action in ["save", "restore"] {
            refused(&server, &format!("/slots/0?action={action}"), &json!({ "filename": name }), "`filename`");
        }
    }
    let restore =
        |name: &str, words: &str| refused(&server, "/slots/0?action=restore", &json!({ "filename": name }), words);
    restore("missing.bin", "cannot read `missing.bin`");
    let mut flipped = whole.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    for (bytes, words) in [
        (flipped, "is damaged"),
        (whole[..whole.len() - 1].to_vec(), "is cut"),
        ([whole.as_slice(), b"x"].concat(), "is cut, or longer"),
        (b"LAIRSLOT".to_vec(), "is cut"),
        (vec![0; 4096], "is no saved prompt"),
    ] {
        fs::write(folder.path().join("bad.bin"), bytes).expect("written");
        restore("bad.bin", words);
    }
    std::os::unix::fs::symlink(folder.path().join("x.bin"), folder.path().join("link.bin")).expect("linked");
    restore("link.bin", "is no file");
    fs::create_dir(folder.path().join("folder.bin")).expect("made");
    restore("folder.bin", "is no file");
    refused(&server, "/slots/2?action=save", &json!({ "filename": "x.bin" }), "there is no slot 2");
    refused(&server, "/slots/x?action=save", &json!({ "filename": "x.bin" }), "`x` is not the number");
    refused(&server, "/slots/0?action=hug", &json!({}), "`hug`");
    refused(&server, "/slots/0?action=save", &json!({}), "`filename` is missing");
    refused(&server, "/completion", &json!({ "prompt": "x", "id_slot": 2 }), "there is no slot 2");

    // The same model computed otherwise has other pages.
    let Some(other) = start(folder.path(), &["--kv-type", "f32"]) else { return };
    refused(
        &other,
        "/slots/0?action=restore",
        &json!({ "filename": "x.bin" }),
        "another model, or of the same in another setup",
    );
    let Some(without) = Server::start(&[]) else { return };
    refused(&without, "/slots/0?action=restore", &json!({ "filename": "x.bin" }), "--slot-save-path");
    assert_eq!(without.ask("POST", "/slots/0?action=erase", &[], b"").json(), json!({ "id_slot": 0, "n_erased": 0 }));
}
