//! Fuzzing of what the store reads: names, Modelfiles, manifests, and the answers of registries as they come over the wire;
//! `fuzz/README.md` lists all targets.

mod fakes;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lair_store::modelfile::{ModelSettings, Modelfile, Parameters};
use lair_store::oci::Manifest;
use lair_store::{Catalogue, Digest, ImageConfig, ModelName, Reference};
use lair_testkit::fuzz::{Target, outcome};

use fakes::registry::{Model, name_at, store};
use fakes::{Told, blob};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn seeds(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn reference() {
    let all = seeds(&[
        "llama3.2:1b",
        "registry.ollama.ai/library/x:latest",
        "hf.co/a/b:Q4_K_M",
        "./x.gguf",
        "http://127.0.0.1:1/a/b",
        "x@sha256:00",
        "pkg:pypi/a@1.0#b",
    ]);
    let words =
        &["/", ":", "..", "@sha256:", "hf.co/", "https://", "%2e", "\\", "~", "localhost:5000", "\u{0}", "#", "?"];
    let target = Target { runs: 50_000, length_max: 600, ..Target::new("reference", all, words) };
    target.run(|bytes| {
        let text = text(bytes);
        let name = text.parse::<ModelName>();
        if let Ok(name) = &name {
            // A name is a path in the store: it stays inside, and means the same when it is written and read again.
            let shown = name.to_string();
            // A host may have colons in a row, as in Ollama's grammar.
            assert!(!shown.split('/').any(|part| part == ".." || part.is_empty()), "{shown}");
            assert_eq!(shown.parse::<ModelName>().ok().as_ref(), Some(name), "{shown}");
        }
        format!("{}; {}; {}", outcome(&Reference::parse(&text)), outcome(&name), outcome(&text.parse::<Digest>()))
    });
}

#[test]
fn modelfile() {
    let all = seeds(&[
        "FROM ./m.gguf\nPARAMETER temperature 0.5\nPARAMETER stop \"<|im_end|>\"\nTEMPLATE \"\"\"{{ .Prompt }}\"\"\"\nSYSTEM you\nMESSAGE user hi\n",
        "# c\nfrom llama3\nADAPTER ./a.gguf\nLICENSE MIT\nRENDERER x\nPARSER y\nREQUIRES 0.1\nPARAMETER num_ctx 4096",
    ]);
    let words = &[
        "FROM ",
        "PARAMETER ",
        "TEMPLATE ",
        "SYSTEM ",
        "MESSAGE user ",
        "LICENSE ",
        "ADAPTER ",
        "\"\"\"",
        "\"",
        "\n",
        "\r\n",
        "stop ",
        "num_ctx ",
        "#",
        "\u{feff}",
    ];
    Target::new("modelfile", all, words).run(|bytes| {
        let modelfile = match Modelfile::parse(bytes) {
            Ok(modelfile) => modelfile,
            Err(error) => return error.to_string(),
        };
        // What it writes is read as the same again.
        let written = modelfile.print().expect("a text that was read has quotes that hold it");
        let again = Modelfile::parse(written.as_bytes());
        assert_eq!(again.as_ref().ok().map(|again| &again.instructions), Some(&modelfile.instructions), "{written:?}");
        outcome(&ModelSettings::from_modelfile(&modelfile))
    });
}

#[test]
fn manifest() {
    let model = Model::new(blob());
    let config = br#"{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"1B","file_type":"Q4_K_M","rootfs":{"type":"layers","diff_ids":["sha256:00"]}}"#;
    let parameters = br#"{"temperature":0.5,"stop":["a","b"],"num_ctx":4096.0,"mirostat":2,"x":{"y":[1]}}"#;
    let all = vec![model.manifest.clone(), config.to_vec(), parameters.to_vec()];
    let words = &[
        "\"layers\":",
        "\"digest\":",
        "\"size\":",
        "\"mediaType\":",
        "\"config\":",
        "sha256:",
        "-1",
        "18446744073709551615",
        "{",
        "}",
        "[",
        "]",
        "null",
        "\"stop\":",
    ];
    Target::new("manifest", all, words).run(|bytes| {
        let parameters = serde_json::from_slice(bytes).map(|json| outcome(&Parameters::from_json(&json)));
        let catalogue = std::str::from_utf8(bytes).map(|text| outcome(&Catalogue::parse(text)));
        let config = ImageConfig::parse(bytes).is_ok();
        format!("{}; {config}; {:?}; {:?}", outcome(&Manifest::parse(bytes)), parameters.ok(), catalogue.ok())
    });
}

/// A listener that answers each request with the next of these bytes, whatever is asked.
fn answering(answers: Arc<Mutex<Vec<Vec<u8>>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked);
            let answer = answers.lock().expect("not poisoned").pop().unwrap_or_default();
            let _ = stream.write_all(&answer);
        }
    });
    address
}

/// Answers as they come over the wire, to a pull: of a manifest first, of blobs and ranges then. Between two zero bytes stands
/// one answer.
#[test]
fn registry_answers() {
    let model = Model::new(blob());
    let answer = |body: &[u8], more: &str| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{more}Connection: close\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let partial = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99/700001\r\nContent-Length: 100\r\nETag: \"x\"\r\n\r\nGGUF";
    let whole = [answer(b"{}", ""), answer(&model.manifest, "Docker-Content-Digest: x\r\n"), partial.to_vec()].join(&0);
    let moved = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n\0HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"http://127.0.0.1:1/\",service=\"x\"\r\nContent-Length: 0\r\n\r\n".to_vec();
    let words = &[
        "HTTP/1.1 206 x\r\n",
        "HTTP/1.1 429 x\r\n",
        "Content-Length: ",
        "Content-Range: bytes ",
        "Transfer-Encoding: chunked\r\n",
        "Location: ",
        "Retry-After: ",
        "WWW-Authenticate: Bearer realm=\"",
        "\r\n\r\n",
        "\0",
        "0-0/1",
        "ffffffff\r\n",
        "0\r\n\r\n",
        "Content-Encoding: gzip\r\n",
    ];
    let answers = Arc::new(Mutex::new(Vec::new()));
    let address = answering(Arc::clone(&answers));
    let root = tempfile::tempdir().expect("a folder");
    let store = store(root.path(), |settings| settings.stall_timeout = Duration::from_millis(100));
    let reference = Reference::Name(name_at(&address));
    let target = Target { runs: 60, length_max: 4096, ..Target::new("registry_answers", [whole, moved], words) };
    target.run(|bytes| {
        *answers.lock().expect("not poisoned") = bytes.split(|&byte| byte == 0).rev().map(<[u8]>::to_vec).collect();
        let pulled = store.pull(&reference, &mut Told::default());
        assert!(pulled.is_err(), "no answer has the model");
        let said = outcome(&pulled);
        assert!(!said.contains('\x1b') && !said.contains('\n'), "{said:?}");
        said
    });
}
