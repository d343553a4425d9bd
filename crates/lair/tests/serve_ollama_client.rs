//! The official Python client of Ollama against the models of the server. Needs the shared data and a Python with the package
//! `ollama`, named by `LAIR_TEST_PYTHON`; without them the test says that it is skipped.

mod server;

use std::process::Command;

use server::Server;

/// Every call about models, with what must come back; `sys.argv` has the address, a model file and a file that is none.
const SCRIPT: &str = r#"
import hashlib, sys, ollama
c = ollama.Client(host=sys.argv[1])
model, junk = sys.argv[2], sys.argv[3]

def fails(status, words, call):
    try:
        result = call()
        if not hasattr(result, 'status') and not isinstance(result, ollama.ListResponse):
            list(result)
    except ollama.ResponseError as e:
        assert e.status_code == status and words in e.error, (e.status_code, e.error, status, words)
        return
    assert False, words

# A file is sent as a blob, and becomes a model under its digest.
digest = c.create_blob(model)
assert digest == 'sha256:' + hashlib.sha256(open(model, 'rb').read()).hexdigest(), digest
assert c.create_blob(model) == digest
steps = [s.status for s in c.create(model='sent', files={'tiny.gguf': digest}, system='Be brief.', stream=True,
    template='{{ .Prompt }}', parameters={'num_predict': 3, 'stop': ['a', 'b'], 'temperature': 0.5},
    messages=[{'role': 'user', 'content': 'hi'}], license=['MIT', 'Apache-2.0'])]
assert steps[-1] == 'success', steps

shown = c.show('sent')
assert shown.template == '{{ .Prompt }}' and shown.license == 'MIT\nApache-2.0', shown
assert 'SYSTEM Be brief.' in shown.modelfile and 'FROM ' in shown.modelfile, shown.modelfile
assert 'num_predict' in shown.parameters and shown.parameters.count('stop') == 2, shown.parameters
assert shown.details.family == 'llama' and shown.details.families == ['llama'], shown.details
assert shown.details.format == 'gguf' and shown.details.parameter_size, shown.details
assert shown.details.quantization_level == 'F32' or shown.details.quantization_level, shown.details
assert shown.modelinfo['general.architecture'] == 'llama' and shown.modelinfo['llama.block_count'] == 5, shown.modelinfo
assert 'completion' in shown.capabilities and shown.modified_at, shown

# Made of a model: what is not said stays, what is said replaces.
assert c.create(model='child', from_='sent', system='Be long.', parameters={'num_predict': 2}).status == 'success'
child = c.show('child')
assert 'SYSTEM Be long.' in child.modelfile and child.template == shown.template and 'stop' in child.parameters

listed = {m.model: m for m in c.list().models}
assert set(listed) == {'tiny:latest', 'sent:latest', 'child:latest'}, listed
assert len(listed['sent:latest'].digest) == 64 and listed['sent:latest'].size > 1_000_000, listed
assert listed['sent:latest'].details.format == 'gguf' and listed['sent:latest'].modified_at

c.copy('sent', 'user/copied:v1')
assert 'user/copied:v1' in {m.model for m in c.list().models}
c.delete('user/copied:v1')
assert 'user/copied:v1' not in {m.model for m in c.list().models}

assert c.ps().models == []
assert c.generate('child', 'Once', raw=True).eval_count <= 2
[running] = c.ps().models
assert running.model == 'child:latest' and running.context_length > 0 and running.size > 0, running
assert running.size_vram == 0 and running.expires_at and len(running.digest) == 64, running
assert c.generate('child', keep_alive=0).done_reason == 'unload'
assert c.ps().models == []

fails(404, 'nobody', lambda: c.show('nobody'))
fails(404, 'nobody', lambda: c.delete('nobody'))
fails(404, 'nobody', lambda: c.copy('nobody', 'other'))
fails(404, 'nobody', lambda: c.generate('nobody', 'x'))
fails(400, 'no model is named', lambda: c.create(model='bad', files={}))
fails(400, 'blob', lambda: c.create(model='bad', files={'x.gguf': 'sha256:' + '0' * 64}))
fails(400, 'GGUF', lambda: c.create(model='bad', files={'x.gguf': c.create_blob(junk)}))
fails(400, 'quantize', lambda: c.create(model='bad', from_='sent', quantize='q9'))
fails(400, 'temperature', lambda: c.create(model='bad', from_='sent', parameters={'temperature': 'warm'}))
fails(400, 'name', lambda: c.create(model='../bad', from_='sent'))
fails(400, 'name', lambda: c.copy('sent', '../bad'))
assert 'bad:latest' not in {m.model for m in c.list().models}
"#;

#[test]
fn every_call_about_models_gives_what_the_client_expects() {
    let Some(python) = std::env::var_os("LAIR_TEST_PYTHON") else {
        return lair_testkit::skipped("LAIR_TEST_PYTHON names no Python with the package `ollama`");
    };
    let Some(model) = lair_testkit::shared_data("models/stories260K-f32.gguf") else { return };
    let Some(server) = Server::start(&[]) else { return };
    let has_client = Command::new(&python).args(["-c", "import ollama"]).status().is_ok_and(|status| status.success());
    if !has_client {
        return lair_testkit::skipped("the Python of LAIR_TEST_PYTHON has no package `ollama`");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let junk = folder.path().join("junk.gguf");
    std::fs::write(&junk, "no model at all").expect("written");
    let output = Command::new(&python)
        .args(["-c", SCRIPT, &format!("http://{}", server.address)])
        .args([&model, &junk])
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
