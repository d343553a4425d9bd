//! Embeddings and rerank as clients of `lair serve` see them, against what llama.cpp gives for the same models. Needs the
//! shared data; without it every test says that it is skipped.

mod server;

use std::path::PathBuf;
use std::process::Command;

use lair_testkit::word_encoders::{self, Ending};
use serde_json::{Value, json};

use server::Server;

/// A server with an embedding model and a reranker beside the chat model `tiny`.
fn start() -> Option<Server> {
    let folder = tempfile::tempdir().expect("a folder");
    let models: Vec<(&str, PathBuf)> = [("embedder", Ending::Mean), ("reranker", Ending::Classifier)]
        .into_iter()
        .map(|(name, ending)| {
            let path = folder.path().join(format!("{name}.gguf"));
            word_encoders::write(&path, ending).map(|()| (name, path))
        })
        .collect::<Option<_>>()?;
    Server::start_with(&models, &[])
}

/// What llama.cpp gives; made by `embeddings/goldens.py`.
fn goldens() -> Value {
    serde_json::from_str(include_str!("embeddings/goldens.json")).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f32> {
    let numbers: Vec<f32> = value
        .as_array()
        .unwrap_or_else(|| panic!("{value}"))
        .iter()
        .map(|x| x.as_f64().expect("a number") as f32)
        .collect();
    assert!(numbers.iter().all(|number| number.is_finite()));
    numbers
}

fn data(answer: &Value) -> Vec<Vec<f32>> {
    let entries = answer["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
    entries.iter().enumerate().for_each(|(index, entry)| assert_eq!(entry["index"], index));
    entries.iter().map(|entry| numbers(&entry["embedding"])).collect()
}

fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

#[test]
fn vectors_are_those_of_llama_cpp_alone_and_together() {
    let Some(server) = start() else { return };
    let golden = goldens();
    let texts = golden["texts"].as_array().expect("texts");
    let together = server.post("/v1/embeddings", &json!({ "model": "embedder", "input": texts })).json();
    let vectors = data(&together);
    let token_count: u64 = golden["token_counts"].as_array().expect("counts").iter().filter_map(Value::as_u64).sum();
    assert_eq!(together["usage"], json!({ "prompt_tokens": token_count, "total_tokens": token_count }));
    for (index, text) in texts.iter().enumerate() {
        let expected = numbers(&golden["vectors"][index]);
        assert!(1.0 - cosine(&vectors[index], &expected) < 1e-6, "{text}: {:?} {expected:?}", vectors[index]);
        let length: f64 = vectors[index].iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        let alone = server.post("/v1/embeddings", &json!({ "model": "embedder", "input": text })).json();
        assert_eq!(data(&alone), [vectors[index].clone()], "the bits of `{text}` depend on its company");
    }
    // A thousand texts, a few of them equal, in one request and beside others.
    let many: Vec<Value> = (0..1000).map(|index| texts[index % 6].clone()).collect();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    data(&server.post("/v1/embeddings", &json!({ "model": "embedder", "input": many })).json())
                })
            })
            .collect();
        for thread in asking {
            for (index, vector) in thread.join().expect("answered").iter().enumerate() {
                assert_eq!(*vector, vectors[index % 6], "text {index} of a thousand");
            }
        }
    });
}

#[test]
fn every_form_of_asking_gives_the_same_vectors() {
    let Some(server) = start() else { return };
    let text = "A cat sits on the mat.";
    let ask = |path: &str, body: Value| {
        let answer = server.post(path, &body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
        answer.json()
    };
    let vector = data(&ask("/v1/embeddings", json!({ "model": "embedder", "input": text }))).remove(0);
    let of_tokens = json!({ "model": "embedder", "input": [101, 1037, 4937, 7719, 2006, 1996, 13523, 1012, 102] });
    assert_eq!(data(&ask("/v1/embeddings", of_tokens.clone())), std::slice::from_ref(&vector));
    let of_lists = json!({ "model": "embedder", "input": [of_tokens["input"], of_tokens["input"]] });
    assert_eq!(data(&ask("/v1/embeddings", of_lists)), [vector.clone(), vector.clone()]);

    let base64 = ask("/v1/embeddings", json!({ "model": "embedder", "input": text, "encoding_format": "base64" }));
    assert_eq!(bytes_of(base64["data"][0]["embedding"].as_str().expect("a string")), vector);

    let cut = data(&ask("/v1/embeddings", json!({ "model": "embedder", "input": text, "dimensions": 8 }))).remove(0);
    assert_eq!(cut.len(), 8);
    assert!((cosine(&cut, &vector[..8]) - 1.0).abs() < 1e-6);
    assert!((cut.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);

    assert_eq!(
        data(&ask("/api/v0/embeddings", json!({ "model": "embedder", "input": text }))),
        std::slice::from_ref(&vector)
    );
    let of_ollama = ask("/api/embed", json!({ "model": "embedder", "input": [text] }));
    assert_eq!(numbers(&of_ollama["embeddings"][0]), vector);
    assert_eq!(of_ollama["prompt_eval_count"], 9);
    let old = numbers(&ask("/api/embeddings", json!({ "model": "embedder", "prompt": text }))["embedding"]);
    assert!((cosine(&old, &vector) - 1.0).abs() < 1e-6);
    assert!((old.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() > 1e-3, "the old form is not normalised");

    let of_llama = ask("/embedding", json!({ "model": "embedder", "content": text }));
    assert_eq!(numbers(&of_llama[0]["embedding"][0]), vector);
    let largest = ask("/embedding", json!({ "model": "embedder", "content": text, "embd_normalize": 0 }));
    let largest = numbers(&largest[0]["embedding"][0]).into_iter().map(f32::abs).fold(0.0, f32::max);
    assert!((largest - 32_760.0).abs() < 0.01, "{largest}");
    let rows = ask("/embeddings", json!({ "model": "embedder", "input": text, "pooling": "none" }));
    let rows = rows[0]["embedding"].as_array().expect("rows").iter().map(numbers).collect::<Vec<_>>();
    assert_eq!(rows.len(), 9);
    let mean: Vec<f32> =
        (0..vector.len()).map(|column| rows.iter().map(|row| row[column]).sum::<f32>() / 9.0).collect();
    assert!((cosine(&mean, &vector) - 1.0).abs() < 1e-6);
    // A chat model has hidden states as well.
    assert_eq!(data(&ask("/v1/embeddings", json!({ "model": "tiny", "input": "Once upon a time" })))[0].len(), 64);
}

fn bytes_of(base64: &str) -> Vec<f32> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => 0,
    };
    let group = |four: &[u8]| four.iter().fold(0u32, |bits, byte| bits << 6 | u32::from(digit(*byte))).to_be_bytes();
    let padding = base64.bytes().filter(|byte| *byte == b'=').count();
    let mut bytes: Vec<u8> = base64.as_bytes().chunks(4).flat_map(|four| group(four)[1..].to_vec()).collect();
    bytes.truncate(bytes.len() - padding);
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four bytes"))).collect()
}

#[test]
fn documents_are_ranked_by_the_classifier_or_by_their_vectors() {
    let Some(server) = start() else { return };
    let golden = goldens();
    let query = &golden["pairs"][0][0];
    let documents: Vec<&Value> = golden["pairs"].as_array().expect("pairs").iter().map(|pair| &pair[1]).collect();
    let expected = numbers(&golden["scores"]);
    let post = |path: &str, extra: Value| {
        let mut body = json!({ "model": "reranker", "query": query, "documents": documents });
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        server.post(path, &body).json()
    };
    for path in ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/v2/rerank", "/api/rerank"] {
        let raw = post(path, json!({ "raw_scores": true }));
        let results = raw["results"].as_array().unwrap_or_else(|| panic!("{raw}"));
        assert_eq!(results.len(), 3);
        let scores: Vec<f64> =
            results.iter().map(|result| result["relevance_score"].as_f64().expect("a score")).collect();
        assert!(scores.is_sorted_by(|better, worse| better >= worse), "{scores:?}");
        for (result, score) in results.iter().zip(&scores) {
            let index = result["index"].as_u64().expect("an index") as usize;
            assert!((score - f64::from(expected[index])).abs() < 1e-3, "{score} for {}", expected[index]);
        }
    }
    let best = post("/v1/rerank", json!({ "top_n": 1, "return_documents": true }));
    assert_eq!(best["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(best["results"][0]["document"]["text"], *documents[0]);
    let score = best["results"][0]["relevance_score"].as_f64().expect("a score");
    assert!((score - 1.0 / (1.0 + f64::from(-expected[0]).exp())).abs() < 1e-3, "{score}");
    assert_eq!(best["usage"]["prompt_tokens"], best["usage"]["total_tokens"]);

    let of_tei = json!({ "model": "reranker", "query": query, "texts": documents, "return_text": true });
    let of_tei = server.post("/rerank", &of_tei).json();
    assert_eq!((of_tei[0]["text"].as_str(), of_tei[0]["score"].as_f64()), (documents[0].as_str(), Some(score)));

    let pairs = json!({ "model": "reranker", "text_1": query, "text_2": documents });
    let pairs = server.post("/v1/score", &pairs).json();
    assert_eq!((pairs["data"][0]["object"].as_str(), pairs["data"][0]["score"].as_f64()), (Some("score"), Some(score)));

    // By an embedding model: the same text is nearest to itself.
    let texts = ["a bear", "what is a panda?", "seven"];
    let by_vectors = json!({ "model": "embedder", "query": query, "documents": texts });
    let by_vectors = server.post("/v1/rerank", &by_vectors).json();
    assert_eq!(by_vectors["results"][0]["index"], 1);
    assert!((by_vectors["results"][0]["relevance_score"].as_f64().expect("a score") - 1.0).abs() < 1e-5);
}

#[test]
fn what_cannot_be_embedded_is_refused_with_the_reason() {
    let Some(server) = start() else { return };
    let long = "word ".repeat(600);
    let embed = |extra: Value| {
        let mut body = json!({ "model": "embedder", "input": "hi" });
        body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        body
    };
    let message = json!([{ "role": "user", "content": "hi" }]);
    for (path, body, words) in [
        // The first, since a model that alone is loaded would be meant.
        ("/embedding", json!({ "content": "a" }), "`model` is missing, and of 3 models"),
        ("/v1/embeddings", embed(json!({ "input": "" })), "text 0 of `input` is empty"),
        ("/v1/embeddings", embed(json!({ "input": ["a", ""] })), "text 1 of `input` is empty"),
        ("/v1/embeddings", embed(json!({ "input": [] })), "`input` is empty"),
        ("/v1/embeddings", embed(json!({ "input": [[]] })), "text 0 to be embedded has no tokens"),
        ("/v1/embeddings", embed(json!({ "input": 7 })), "`input` is 7"),
        ("/v1/embeddings", embed(json!({ "input": [1, "a"] })), "`input`"),
        ("/v1/embeddings", embed(json!({ "input": [99_999_999] })), "99999999"),
        ("/v1/embeddings", embed(json!({ "input": long })), "602 tokens, at most 512 expected"),
        ("/v1/embeddings", embed(json!({ "dimensions": 65 })), "`dimensions` is 65, the model's vectors have 64"),
        ("/v1/embeddings", embed(json!({ "dimensions": 0 })), "`dimensions` is 0"),
        ("/v1/embeddings", embed(json!({ "encoding_format": "int8" })), "`int8`"),
        ("/v1/embeddings", embed(json!({ "embd_normalize": -2 })), "`embd_normalize` is -2"),
        ("/v1/embeddings", embed(json!({ "truncate_prompt_tokens": 4 })), "`truncate_prompt_tokens` is 4"),
        ("/api/embed", embed(json!({ "input": long, "truncate": false })), "602 tokens, at most 512 expected"),
        ("/embedding", json!({ "model": "embedder" }), "`content` is missing"),
        ("/embedding", json!({ "model": "embedder", "content": "a", "pooling": "max" }), "`max`"),
        ("/v1/rerank", json!({ "model": "tiny", "query": "a", "documents": ["b"] }), "no classifier"),
        ("/v1/rerank", json!({ "model": "reranker", "query": "a", "documents": [] }), "`documents` has 0 texts"),
        ("/v1/rerank", json!({ "model": "reranker", "query": "a", "documents": [1] }), "`documents[0]` is 1"),
        ("/v1/rerank", json!({ "model": "reranker", "query": "a", "documents": [long] }), "at most 512 expected"),
        ("/v1/rerank", json!({ "model": "reranker", "documents": ["a"] }), "`query` is missing"),
        (
            "/v1/score",
            json!({ "model": "reranker", "text_1": ["a", "b"], "text_2": ["a", "b", "c"] }),
            "cannot be paired",
        ),
        ("/v1/chat/completions", json!({ "model": "embedder", "messages": message }), "gives embeddings, not text"),
        ("/v1/completions", json!({ "model": "embedder", "prompt": "a" }), "gives embeddings, not text"),
        ("/api/chat", json!({ "model": "embedder", "messages": message }), "gives embeddings, not text"),
        ("/api/generate", json!({ "model": "embedder", "prompt": "a" }), "gives embeddings, not text"),
    ] {
        let answer = server.post(path, &body);
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.body);
        let error = answer.json()["error"].clone();
        let message = error.as_str().or(error["message"].as_str()).expect("a message").to_owned();
        assert!(message.contains(words), "{path}: {message} should mention {words}");
    }
    let cut = server.post("/v1/embeddings", &embed(json!({ "input": long, "truncate": true }))).json();
    assert_eq!(cut["usage"]["prompt_tokens"], 512);
    let cut_shorter = embed(json!({ "input": long, "options": { "num_ctx": 100 } }));
    assert_eq!(server.post("/api/embed", &cut_shorter).json()["prompt_eval_count"], 100);
    assert_eq!(server.post("/api/embed", &embed(json!({ "input": "" }))).json()["embeddings"], json!([]));
    let cut = json!({ "model": "reranker", "query": "a", "documents": [long], "truncate": true });
    assert_eq!(server.post("/v1/rerank", &cut).json()["usage"]["prompt_tokens"], 512);
    let ignored = server.post("/v1/embeddings", &embed(json!({ "odd_field": 1, "user": "me" })));
    assert!(ignored.head.contains("x-lair-ignored-fields: odd_field\r"), "{}", ignored.head);
}

#[test]
fn an_embedding_model_says_what_it_is_and_stands_beside_chat_models() {
    let Some(server) = start() else { return };
    let tags = server.get("/api/tags").json();
    let capabilities = |name: &str| {
        let models = tags["models"].as_array().expect("models");
        models.iter().find(|model| model["name"] == format!("{name}:latest")).expect("listed")["capabilities"].clone()
    };
    assert_eq!((capabilities("embedder"), capabilities("tiny")), (json!(["embedding"]), json!(["completion"])));
    let shown = server.post("/api/show", &json!({ "model": "embedder" })).json();
    assert_eq!((&shown["capabilities"], &shown["details"]["family"]), (&json!(["embedding"]), &json!("bert")));
    // Both kinds at the same time.
    let texts = json!({ "model": "embedder", "input": vec!["some words"; 300] });
    let of_chat_model = json!({ "model": "tiny", "input": vec!["some words"; 30] });
    std::thread::scope(|scope| {
        let embedding = scope.spawn(|| server.post("/v1/embeddings", &texts).status);
        let beside = scope.spawn(|| server.post("/v1/embeddings", &of_chat_model).status);
        let ask = json!({ "model": "tiny", "prompt": "Once upon a time", "max_tokens": 100, "temperature": 0 });
        let told = server.post("/v1/completions", &ask).json();
        assert_eq!((embedding.join().expect("answered"), beside.join().expect("answered")), (200, 200));
        assert_eq!(told["choices"][0]["text"], server.post("/v1/completions", &ask).json()["choices"][0]["text"]);
    });
    let running = server.get("/api/ps").json()["models"].as_array().map(Vec::len);
    assert_eq!(running, Some(2));
}

/// The official clients, unmodified, where the Python of the tests has them.
#[test]
fn python_clients_of_openai_and_ollama_get_embeddings() {
    let Some(python) = std::env::var_os("LAIR_TEST_PYTHON") else {
        lair_testkit::skipped("LAIR_TEST_PYTHON names no Python with the packages `openai` and `ollama`");
        return;
    };
    let Some(server) = start() else { return };
    for (package, script) in [
        (
            "openai",
            r#"
import sys, openai
c = openai.OpenAI(base_url=sys.argv[1] + '/v1', api_key='none')
# The client asks for base64 by itself.
a = c.embeddings.create(model='embedder', input=['Hello world', 'A cat sits on the mat.'])
assert [d.index for d in a.data] == [0, 1] and len(a.data[0].embedding) == 64, a
b = c.embeddings.create(model='embedder', input='Hello world', encoding_format='float')
# Digits of 32-bit numbers read as 64-bit ones.
near = lambda x, y: all(abs(p - q) < 1e-6 for p, q in zip(x.data[0].embedding, y.data[0].embedding, strict=True))
assert near(a, b) and b.usage.prompt_tokens == 4, b
d = c.embeddings.create(model='embedder', input='Hello world', dimensions=16)
assert len(d.data[0].embedding) == 16
t = c.embeddings.create(model='embedder', input=[[101, 7592, 2088, 102]])
assert near(t, b)
for bad in (dict(input=''), dict(input='x', dimensions=65)):
    try: c.embeddings.create(model='embedder', **bad); assert False
    except openai.BadRequestError as e: pass
"#,
        ),
        (
            "ollama",
            r#"
import sys, ollama
c = ollama.Client(host=sys.argv[1])
e = c.embed('embedder', ['Hello world', 'x'])
assert len(e.embeddings) == 2 and abs(sum(v * v for v in e.embeddings[0]) - 1) < 1e-5 and e.prompt_eval_count == 7, e
assert len(c.embed('embedder', 'x', dimensions=8).embeddings[0]) == 8
assert len(c.embeddings('embedder', 'Hello world').embedding) == 64
assert c.show('embedder').capabilities == ['embedding']
try: c.embed('embedder', 'word ' * 600, truncate=False); assert False
except ollama.ResponseError as e: assert e.status_code == 400 and '512' in e.error, e
"#,
        ),
    ] {
        let import = format!("import {package}");
        let has_client = Command::new(&python).args(["-c", &import]).output().is_ok_and(|out| out.status.success());
        if !has_client {
            lair_testkit::skipped(&format!("the Python of LAIR_TEST_PYTHON has no package `{package}`"));
            continue;
        }
        let output = Command::new(&python).args(["-c", script, &format!("http://{}", server.address)]).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{package}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
