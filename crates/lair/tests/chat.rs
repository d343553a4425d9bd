//! The chat, driven over a pseudo terminal: what a user types and sees.
#![cfg(target_os = "linux")]

mod terminal;

use std::path::{Path, PathBuf};

use lair_gguf::{GgufFile, GgufWriter};
use lair_testkit::shared_data;
use terminal::{PROMPT, Terminal};

/// Its beginning of a story is enough to see that it answers.
fn stories() -> Option<PathBuf> {
    shared_data("models/stories260K-f32.gguf")
}

/// A chat with a model that answers a few tokens, the same each time.
fn chat(model: &Path, home: &Path, arguments: &[&str]) -> Option<Terminal> {
    let fixed = ["run", model.to_str().expect("UTF-8"), "--seed", "1", "--max-tokens", "8"];
    let mut terminal = Terminal::start(&[&fixed[..], arguments].concat(), home)?;
    terminal.wait_for(PROMPT);
    Some(terminal)
}

/// The model with another chat template in its file.
fn with_template(model: &Path, folder: &Path, template: &str) -> PathBuf {
    let file = GgufFile::open(model).expect("a model");
    let mut metadata = file.metadata().clone();
    metadata.set("tokenizer.chat_template", template);
    metadata.set("general.license", "mit");
    let mut writer = GgufWriter::new(metadata).expect("its keys");
    for tensor in file.tensors() {
        writer.add_tensor(&tensor.name, &tensor.shape, tensor.tensor_type).expect("its tensors");
    }
    let bytes = |name: &str| file.tensor_data(file.tensor(name).expect("a tensor of the model"));
    let path = folder.join("with-template.gguf");
    writer.write_file(&path, |tensor, out| std::io::Write::write_all(out, &bytes(&tensor.name))).expect("written");
    path
}

fn check(shown: &str, words: &[&str]) {
    for word in words {
        assert!(shown.contains(word), "`{word}` is not in: {shown}");
    }
}

#[test]
fn commands_answer_as_ollama_s_do() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let Some(mut terminal) = chat(&model, home.path(), &[]) else { return };
    for (line, words) in [
        ("/?", &["/set", "/show", "/load", "/save", "/clear", "/bye", "/? shortcuts", "\"\"\""][..]),
        ("/help set", &["/set parameter", "/set system", "/set nohistory", "/set format json", "/set nothink"]),
        ("/? shortcuts", &["Ctrl-K"]),
        ("/set parameter", &["temperature <float>", "stop <string>"]),
        ("/set parameter temperature 0.25", &["Set parameter 'temperature' to '0.25'"]),
        ("/set parameter temprature 1", &["Couldn't set parameter", "did you mean `temperature`"]),
        ("/set parameter top_p 7", &["Couldn't set parameter", "top_p", "from 0 to 1"]),
        ("/set parameter top_k many", &["Couldn't set parameter", "many"]),
        ("/set parameter mirostat 3", &["Couldn't set parameter", "mirostat"]),
        ("/set parameter mirostat 2", &["Set parameter 'mirostat' to '2'"]),
        ("/set parameter mirostat 0", &["Set parameter 'mirostat' to '0'"]),
        ("/set parameter stop \"a b\" c", &["Set parameter 'stop' to 'a b', 'c'"]),
        ("/set parameter max_tokens 5", &["Set parameter 'max_tokens' to '5'"]),
        (
            "/show parameters",
            &["User defined parameters:", "temperature            0.25", "a b", "num_predict            5"],
        ),
        ("/show system", &["No system message was specified for this model."]),
        ("/set system \"Be brief.\"", &["Set system message."]),
        ("/show system", &["User defined system:", "Be brief."]),
        ("/show template", &["No prompt template was specified for this model."]),
        ("/show license", &["No license was specified for this model."]),
        ("/show info", &["architecture", "llama", "context length"]),
        ("/show modelfile", &["FROM", "stories260K-f32.gguf"]),
        ("/show nonsense", &["Unknown command '/show nonsense'. Type /? for help"]),
        ("/set verbose", &["Set 'verbose' mode."]),
        ("/set quiet", &["Set 'quiet' mode."]),
        ("/set nowordwrap", &["Set 'nowordwrap' mode."]),
        ("/set wordwrap", &["Set 'wordwrap' mode."]),
        ("/set format json", &["Set format to 'json' mode."]),
        ("/set format xml", &["`xml`"]),
        ("/set noformat", &["Disabled format."]),
        ("/set think", &["does not support thinking"]),
        ("/set think hard", &["`hard`", "low, medium, high"]),
        ("/clear", &["Cleared session context"]),
        ("/load", &["/load <modelname>"]),
        ("/load no-such-model", &["error:", "no-such-model"]),
        ("/save", &["/save <modelname>"]),
        ("/frobnicate", &["Unknown command '/frobnicate'. Type /? for help"]),
    ] {
        let shown = terminal.ask(line);
        check(&shown, words);
    }
    terminal.line("/bye");
    let (status, shown) = terminal.end();
    assert!(status.success(), "{shown}");
}

#[test]
fn a_conversation_is_kept_and_forgotten() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let Some(mut terminal) = chat(&model, home.path(), &["--verbose"]) else { return };
    let answer = terminal.ask("Once upon a time");
    check(
        &answer,
        &["total duration:", "load duration:", "prompt eval count:", "eval rate:", "tokens/s", "peak memory"],
    );
    check(&terminal.ask("/show history"), &["user: Once upon a time", "assistant: "]);
    let again = terminal.ask("/regenerate");
    check(&again, &["eval count:"]);
    terminal.line("\"\"\"Two");
    terminal.wait_for("... ");
    terminal.line("lines\"\"\"");
    terminal.wait_for(PROMPT);
    check(&terminal.ask("/show history"), &["user: Two\r\nlines"]);
    terminal.ask("/clear");
    check(&terminal.ask("/show history"), &["Nothing was said yet."]);
    // Ctrl-D leaves.
    terminal.keys("\x04");
    assert!(terminal.end().0.success());
    let history = std::fs::read_to_string(home.path().join("lair/history")).expect("the history is kept");
    check(&history, &["Once upon a time", "/regenerate"]);
}

#[test]
fn what_is_not_to_be_kept_is_not_in_the_history() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let Some(mut terminal) = chat(&model, home.path(), &[]) else { return };
    terminal.ask("/show system");
    terminal.ask("/set nohistory");
    terminal.ask("/show license");
    terminal.line("/bye");
    assert!(terminal.end().0.success());
    let history = std::fs::read_to_string(home.path().join("lair/history")).expect("kept");
    assert!(history.contains("/show system") && !history.contains("/show license"), "{history}");
}

#[test]
fn ctrl_c_stops_the_answer_and_the_chat_goes_on() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    // Without its end tokens the model talks until the context is full, which is far away.
    let endless = ["--max-tokens", "1000000", "--context-length", "1000000", "--logit-bias", "2=-1000000"];
    let more = ["run", model.to_str().expect("UTF-8"), "--logit-bias", "1=-1000000"];
    let Some(mut terminal) = Terminal::start(&[&more[..], &endless].concat(), home.path()) else { return };
    terminal.wait_for(PROMPT);
    terminal.line("Once upon a time");
    terminal.wait_for("\n");
    // Something of the answer is there.
    terminal.wait_for(" ");
    terminal.keys("\x03");
    terminal.wait_for(PROMPT);
    check(&terminal.ask("/show history"), &["user: Once upon a time", "assistant: "]);
    terminal.keys("half a line\x03");
    terminal.wait_for("Use Ctrl + d or /bye to exit.");
    terminal.wait_for(PROMPT);
    terminal.line("/bye");
    assert!(terminal.end().0.success());
}

#[test]
fn words_wrap_at_the_width_of_the_terminal() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    for (arguments, fits) in [(&["--max-tokens", "100"][..], true), (&["--max-tokens", "100", "--nowordwrap"], false)] {
        let fixed = ["run", model.to_str().expect("UTF-8"), "--temperature", "0", "Once upon a time"];
        let Some(terminal) = Terminal::start(&[&fixed[..], arguments].concat(), home.path()) else { return };
        let (status, shown) = terminal.end();
        assert!(status.success(), "{shown}");
        let longest = shown.lines().map(|line| line.trim_end().chars().count()).max().unwrap_or(0);
        assert_eq!(longest < 60, fits, "{longest} columns: {shown}");
    }
}

#[test]
fn a_picture_is_refused_by_name_and_the_chat_goes_on() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let picture = home.path().join("a cat.png");
    std::fs::write(&picture, b"x").expect("written");
    let Some(mut terminal) = chat(&model, home.path(), &[]) else { return };
    let shown = terminal.ask(&format!("{}  what is it?", picture.display().to_string().replace(' ', "\\ ")));
    check(&shown.replace(['\r', '\n'], ""), &["a cat.png", "is a picture"]);
    check(&terminal.ask("/show history"), &["Nothing was said yet."]);
    terminal.line("/bye");
    assert!(terminal.end().0.success());
}

#[test]
fn thinking_follows_the_template() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let template = "{% for message in messages %}{{ message.content }}{% endfor %}\
                    {% if enable_thinking is defined and enable_thinking %}<think>{% endif %}";
    let model = with_template(&model, home.path(), template);
    let Some(mut terminal) = chat(&model, home.path(), &[]) else { return };
    let plain = terminal.ask("Once upon a time");
    assert!(!plain.contains("Thinking..."), "{plain}");
    check(&terminal.ask("/set think"), &["Set 'think' mode."]);
    terminal.ask("/clear");
    // The tag is in the prompt, and the model does not know how to close it.
    check(&terminal.ask("Once upon a time"), &["\x1b[2mThinking...", "\x1b[22m"]);
    check(&terminal.ask("/set think high"), &["no levels"]);
    check(&terminal.ask("/set nothink"), &["Set 'nothink' mode."]);
    check(&terminal.ask("/show license"), &["mit"]);
    check(&terminal.ask("/show template"), &["{% for message in messages %}"]);
    terminal.line("/bye");
    assert!(terminal.end().0.success());
}

#[test]
fn another_context_or_model_is_loaded_and_a_wrong_one_leaves_the_chat_as_it_was() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let other = with_template(&model, home.path(), "{{ messages[0].content }}");
    let Some(mut terminal) = chat(&model, home.path(), &[]) else { return };
    check(&terminal.ask("/set parameter num_ctx 64"), &["Set parameter 'num_ctx' to '64'"]);
    check(&terminal.ask("/show parameters"), &["num_ctx                64"]);
    check(&terminal.ask("/set parameter num_ctx 1000000000"), &["Couldn't set parameter"]);
    check(&terminal.ask("/show parameters"), &["num_ctx                64"]);
    let broken = home.path().join("broken.gguf");
    std::fs::write(&broken, b"not a model").expect("written");
    check(&terminal.ask(&format!("/load {}", broken.display())), &["error:"]);
    terminal.ask("Once");
    check(&terminal.ask(&format!("/load {}", other.display())), &["Loading model"]);
    check(&terminal.ask("/show history"), &["Nothing was said yet."]);
    check(&terminal.ask("/show template"), &["messages[0]"]);
    terminal.line("/bye");
    assert!(terminal.end().0.success());
}

#[test]
fn a_saved_chat_goes_on_under_its_name() {
    let Some(model) = stories() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let template = "{% for message in messages %}{{ message.content }} {% endfor %}";
    let model = with_template(&model, home.path(), template);
    let Some(mut terminal) = chat(&model, home.path(), &["--temperature", "0"]) else { return };
    terminal.ask("/set system \"Be \\brief.\"");
    terminal.ask("/set parameter top_k 7");
    terminal.ask("Once upon a time");
    check(&terminal.ask("/save kept:1"), &["Created new model 'kept:1'"]);
    check(&terminal.ask("/save ../../etc/x"), &["error:"]);
    // What is saved again shares the weights, and forgets what was forgotten.
    terminal.line("/load kept:1");
    terminal.wait_for("Loading model 'kept:1'");
    terminal.wait_for(">>> Once upon a time");
    terminal.wait_for(PROMPT);
    check(&terminal.ask("/show history"), &["user: Once upon a time", "assistant: "]);
    check(
        &terminal.ask("/show modelfile"),
        &["SYSTEM", "Be \\brief.", "PARAMETER top_k 7", "MESSAGE user Once upon a time"],
    );
    check(&terminal.ask("/show parameters"), &["Model defined parameters:\r\n  top_k                  7"]);
    terminal.ask("/clear");
    check(&terminal.ask("/save kept:2"), &["Created new model 'kept:2'"]);
    terminal.line("/bye");
    assert!(terminal.end().0.success());
    let size = std::fs::metadata(&model).expect("the model").len();
    let blobs = std::fs::read_dir(home.path().join("models/blobs")).expect("a store");
    let large =
        blobs.filter(|blob| blob.as_ref().is_ok_and(|blob| blob.metadata().is_ok_and(|data| data.len() == size)));
    assert_eq!(large.count(), 1, "the weights are there once");
    let Some(mut terminal) = Terminal::start(&["run", "kept:2"], home.path()) else { return };
    terminal.wait_for(PROMPT);
    check(&terminal.ask("/show history"), &["Nothing was said yet."]);
    check(&terminal.ask("/show system"), &["Model defined system:", "Be \\brief."]);
    terminal.line("/bye");
    assert!(terminal.end().0.success());
}
