//! A project: a model, how to load it, how to sample from it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::yaml::{self, CONFIG_BYTES_MAX, Syntax};
use crate::failure::{ExitCode, Failure};

/// Formats that a project may name.
pub const FORMATS: [&str; 3] = ["gguf", "onnx", "pytorch"];
/// Runtimes that a project may name; Lair's own engine stands for all of them.
pub const RUNTIMES: [&str; 3] = ["llama_cpp", "onnx", "transformers"];
/// Devices that a project may name.
pub const DEVICES: [&str; 3] = ["cpu", "cuda", "mps"];
/// Quantizations that a project may name.
const QUANTIZATIONS: [&str; 6] = ["q4_0", "q4_k_m", "q5_k_m", "q8_0", "int8", "none"];

/// A project. Defaults and ranges are SLM Packager's.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// What to call the model.
    pub name: String,
    /// Its file.
    pub path: String,
    /// A line for people.
    pub description: Option<String>,
    /// One of [`FORMATS`].
    pub format: String,
    /// One of [`RUNTIMES`].
    pub runtime: String,
    /// One of [`DEVICES`].
    pub device: String,
    /// Threads to compute with.
    pub threads: usize,
    /// Layers to put on a GPU.
    pub gpu_layers: usize,
    /// Tokens that prompt and answer may have together.
    pub context_size: usize,
    /// Whether code that comes with a model may run.
    pub trust_remote_code: bool,
    /// How tokens are chosen.
    pub params: Params,
    /// What the weights were, or are to be, quantized to.
    pub quantization: Option<String>,
}

/// How tokens are chosen, and how the answer comes.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// 0 to 2.
    pub temperature: f32,
    /// 0 to 1.
    pub top_p: f32,
    /// 0 keeps all.
    pub top_k: usize,
    /// Longest answer.
    pub max_tokens: usize,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// Whether the answer is shown as it comes.
    pub stream: bool,
    /// 1 is off.
    pub repetition_penalty: f32,
}

impl Project {
    /// A project with the defaults of everything that is not asked for.
    pub fn new(name: &str, path: &str, format: &str, runtime: &str) -> Project {
        Project {
            name: name.to_owned(),
            path: path.to_owned(),
            description: None,
            format: format.to_owned(),
            runtime: runtime.to_owned(),
            device: "cpu".to_owned(),
            threads: 4,
            gpu_layers: 0,
            context_size: 2048,
            trust_remote_code: false,
            params: Params {
                temperature: 0.7,
                top_p: 0.9,
                top_k: 40,
                max_tokens: 512,
                stop: Vec::new(),
                stream: false,
                repetition_penalty: 1.1,
            },
            quantization: None,
        }
    }

    /// Reads a project's file. Gives it with the keys that nothing reads.
    ///
    /// # Errors
    /// A file that is not there, is no YAML or JSON, or does not say what a project must: all that is wrong at once.
    pub fn read(path: &Path) -> Result<(Project, Vec<String>), Failure> {
        let shown = path.display();
        let syntax = Syntax::of_path(path).ok_or_else(|| {
            let cause = format!("`{shown}` is no project: its name ends in neither .yaml, .yml nor .json");
            Failure::new(ExitCode::Usage, cause)
        })?;
        let size = std::fs::metadata(path).map_err(|error| {
            let cause = format!("the project `{shown}` cannot be read: {error}");
            Failure::new(ExitCode::NotFound, cause).with_hint("create one with `lair slm init`".to_owned())
        })?;
        if size.len() > CONFIG_BYTES_MAX {
            let cause = format!("`{shown}` has {} bytes, a project has at most {CONFIG_BYTES_MAX}", size.len());
            return Err(Failure::new(ExitCode::Usage, cause));
        }
        let text = std::fs::read_to_string(path)?;
        let in_file = |failure: Failure| Failure { cause: format!("`{shown}`: {}", failure.cause), ..failure };
        let value = yaml::parse(&text, syntax).map_err(in_file)?;
        Project::from_value(&value).map_err(in_file)
    }

    /// A project from what its file says.
    pub(super) fn from_value(value: &Value) -> Result<(Project, Vec<String>), Failure> {
        let mut problems = Vec::new();
        let mut unused = Vec::new();
        let mut root = Fields::new("", Some(value), &mut problems);
        let (model, runtime) = (root.required_section("model"), root.required_section("runtime"));
        let (params, quantization) = (root.section("params"), root.optional_choice("quantization", &QUANTIZATIONS));
        unused.extend(root.unused());

        let mut fields = Fields::new("model.", model, &mut problems);
        let (name, path) = (fields.text("name"), fields.text("path"));
        let format = fields.choice("format", &FORMATS, None);
        let mut project = Project::new(&name, &path, &format, RUNTIMES[0]);
        project.description = fields.optional_text("description");
        project.quantization = quantization;
        unused.extend(fields.unused());

        let mut fields = Fields::new("runtime.", runtime, &mut problems);
        project.runtime = fields.choice("type", &RUNTIMES, None);
        project.device = fields.choice("device", &DEVICES, Some(&project.device));
        project.threads = fields.count("threads", project.threads, 1);
        project.gpu_layers = fields.count("gpu_layers", project.gpu_layers, 0);
        project.context_size = fields.count("context_size", project.context_size, 512);
        project.trust_remote_code = fields.switch("trust_remote_code", project.trust_remote_code);
        unused.extend(fields.unused());

        let mut fields = Fields::new("params.", params, &mut problems);
        let defaults = project.params.clone();
        project.params = Params {
            temperature: fields.number("temperature", defaults.temperature, 0.0..=2.0),
            top_p: fields.number("top_p", defaults.top_p, 0.0..=1.0),
            top_k: fields.count("top_k", defaults.top_k, 0),
            max_tokens: fields.count("max_tokens", defaults.max_tokens, 1),
            stop: fields.texts("stop"),
            stream: fields.switch("stream", defaults.stream),
            repetition_penalty: fields.number("repetition_penalty", defaults.repetition_penalty, 1.0..=f32::MAX),
        };
        unused.extend(fields.unused());
        if problems.is_empty() {
            return Ok((project, unused));
        }
        let failure = Failure::new(ExitCode::Usage, format!("no valid project: {}", problems[0]));
        Err(Failure { details: problems.split_off(1), ..failure }
            .with_hint("docs/reference/slm.md lists what a project says".to_owned()))
    }

    /// Writes the project to a file, in the syntax that the ending of its name says.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let syntax = Syntax::of_path(path).ok_or_else(|| {
            let cause = format!("`{}` ends in neither .yaml, .yml nor .json", path.display());
            Failure::new(ExitCode::Usage, cause)
        })?;
        let text = match syntax {
            Syntax::Yaml => yaml::print(&self.to_value()),
            Syntax::Json => format!("{:#}\n", self.to_value()),
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        // Whole or not at all: a project that is replaced must not be lost.
        let mut file = tempfile::Builder::new().prefix(".lair-").tempfile_in(folder)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| Failure::from(error.error))?;
        Ok(())
    }

    /// As its file says it, every key in SLM Packager's order.
    pub fn to_value(&self) -> Value {
        let Params { temperature, top_p, top_k, max_tokens, stop, stream, repetition_penalty } = &self.params;
        json!({
            "model": {
                "name": self.name, "path": self.path, "description": self.description, "format": self.format,
            },
            "runtime": {
                "type": self.runtime, "device": self.device, "threads": self.threads, "gpu_layers": self.gpu_layers,
                "context_size": self.context_size, "trust_remote_code": self.trust_remote_code,
            },
            "params": {
                "temperature": shortest(*temperature), "top_p": shortest(*top_p), "top_k": top_k,
                "max_tokens": max_tokens, "stop": stop, "stream": stream,
                "repetition_penalty": shortest(*repetition_penalty),
            },
            "quantization": self.quantization,
        })
    }

    /// The model's file: as written, or beside the project's file.
    ///
    /// # Errors
    /// A format that Lair does not run, a file that is not there.
    pub fn model_file(&self, config: Option<&Path>) -> Result<PathBuf, Failure> {
        let path = PathBuf::from(&self.path);
        let beside = config.and_then(Path::parent).map(|folder| folder.join(&path));
        let found = std::iter::once(path.clone()).chain(beside).find(|path| path.exists());
        let is_run = match self.format.as_str() {
            "gguf" => true,
            // The checkpoint of a model as its authors publish it: `lair run` runs such a folder.
            "pytorch" => found.as_ref().is_some_and(|path| path.is_dir()),
            _ => false,
        };
        if !is_run {
            let cause = format!(
                "`{}` has the format `{}`: GGUF files and folders with a checkpoint are run, and `{}` is neither",
                self.name, self.format, self.path
            );
            return Err(Failure::new(ExitCode::BadModel, cause)
                .with_hint("name a folder of this machine, or a GGUF file with `format: gguf`".to_owned()));
        }
        found.ok_or_else(|| {
            let cause = format!("the model file `{}` of `{}` is not there", path.display(), self.name);
            Failure::new(ExitCode::NotFound, cause)
                .with_hint("correct `model.path`, or pull the model again".to_owned())
        })
    }

    /// What the project asks for that changes nothing but the speed here.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.device != "cpu" || self.gpu_layers > 0 {
            let (device, layers) = (&self.device, self.gpu_layers);
            notes.push(format!("device {device} with gpu_layers {layers}: this build computes on the CPU"));
        }
        notes
    }
}

/// A number of single precision with its own shortest digits: 0.7, not 0.699999988.
fn shortest(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// The fields of a section; what is wrong with them is collected.
struct Fields<'v, 'p> {
    /// What stands before the names: `model.`.
    prefix: &'static str,
    fields: Option<&'v Map<String, Value>>,
    read: Vec<&'static str>,
    problems: &'p mut Vec<String>,
}

impl<'v, 'p> Fields<'v, 'p> {
    fn new(prefix: &'static str, value: Option<&'v Value>, problems: &'p mut Vec<String>) -> Fields<'v, 'p> {
        let fields = value.and_then(Value::as_object);
        if value.is_some_and(|value| !value.is_object()) {
            let name = if prefix.is_empty() { "the file" } else { prefix.trim_end_matches('.') };
            problems.push(format!("{name} is no map of names and values"));
        }
        Fields { prefix, fields, read: Vec::new(), problems }
    }

    /// Names that nothing has read.
    fn unused(&self) -> Vec<String> {
        let names = self.fields.into_iter().flatten().map(|(name, _)| name);
        let unused = names.filter(|name| !self.read.contains(&name.as_str()));
        unused.map(|name| format!("{}{name}", self.prefix)).collect()
    }

    fn get(&mut self, name: &'static str) -> Option<&'v Value> {
        self.read.push(name);
        self.fields?.get(name).filter(|value| !value.is_null())
    }

    fn refuse(&mut self, name: &str, expected: &str) {
        self.problems.push(format!("{}{name}: {expected}", self.prefix));
    }

    fn section(&mut self, name: &'static str) -> Option<&'v Value> {
        self.get(name)
    }

    fn required_section(&mut self, name: &'static str) -> Option<&'v Value> {
        let section = self.get(name);
        if section.is_none() {
            self.refuse(name, "is missing");
        }
        section
    }

    fn optional_text(&mut self, name: &'static str) -> Option<String> {
        let value = self.get(name)?;
        if !value.is_string() {
            self.refuse(name, &format!("a text is expected, {value} found: put it in quotes"));
        }
        value.as_str().map(str::to_owned)
    }

    fn text(&mut self, name: &'static str) -> String {
        if self.fields.is_some_and(|fields| fields.get(name).is_none_or(Value::is_null)) {
            self.refuse(name, "is missing");
        }
        self.optional_text(name).unwrap_or_default()
    }

    fn optional_choice(&mut self, name: &'static str, choices: &[&str]) -> Option<String> {
        let text = self.optional_text(name)?;
        if !choices.contains(&text.as_str()) {
            self.refuse(name, &format!("one of {} is expected, `{text}` found", choices.join(", ")));
        }
        Some(text)
    }

    fn choice(&mut self, name: &'static str, choices: &[&str], default: Option<&str>) -> String {
        let choice = self.optional_choice(name, choices);
        if choice.is_none() && default.is_none() && self.fields.is_some_and(|fields| !fields.contains_key(name)) {
            self.refuse(name, &format!("is missing: one of {}", choices.join(", ")));
        }
        choice.or(default.map(str::to_owned)).unwrap_or_default()
    }

    fn count(&mut self, name: &'static str, default: usize, min: usize) -> usize {
        let Some(value) = self.get(name) else { return default };
        let of_text = || value.as_str().and_then(|text| text.trim().parse().ok());
        let of_real = || value.as_f64().filter(|real| real.fract() == 0.0 && (0.0..9e15).contains(real));
        let count = value.as_u64().or_else(of_text).or_else(|| of_real().map(|real| real as u64));
        match count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count >= min) {
            Some(count) => count,
            None => {
                self.refuse(name, &format!("a whole number from {min} on is expected, {value} found"));
                default
            }
        }
    }

    fn number(&mut self, name: &'static str, default: f32, range: std::ops::RangeInclusive<f32>) -> f32 {
        let Some(value) = self.get(name) else { return default };
        let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        match number.map(|number| number as f32).filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let (low, high) = (range.start(), range.end());
                let range = if *high == f32::MAX { format!("from {low} on") } else { format!("from {low} to {high}") };
                self.refuse(name, &format!("a number {range} is expected, {value} found"));
                default
            }
        }
    }

    fn switch(&mut self, name: &'static str, default: bool) -> bool {
        let Some(value) = self.get(name) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.refuse(name, &format!("true or false is expected, {value} found"));
            default
        })
    }

    fn texts(&mut self, name: &'static str) -> Vec<String> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let texts = value.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)));
        match texts.and_then(Iterator::collect) {
            Some(texts) => texts,
            None => {
                self.refuse(name, &format!("a list of texts is expected, {value} found"));
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of SLM Packager's README, as it stands there.
    const README: &str = "\
model:
  name: my-model
  path: /path/to/model.gguf
  format: gguf

runtime:
  type: llama_cpp
  device: cpu
  threads: 8
  context_size: 2048

params:
  temperature: 0.7
  max_tokens: 512
  stream: true
";

    fn read(text: &str) -> Result<(Project, Vec<String>), Failure> {
        Project::from_value(&yaml::parse(text, Syntax::Yaml)?)
    }

    #[test]
    fn the_readme_s_example_is_read_with_the_defaults_of_the_rest() {
        let (project, unused) = read(README).expect("valid");
        assert!(unused.is_empty());
        assert_eq!((project.name.as_str(), project.threads, project.params.stream), ("my-model", 8, true));
        let defaults = Project::new("", "", "gguf", "llama_cpp");
        assert_eq!(project.params, Params { stream: true, ..defaults.params });
        assert_eq!((project.gpu_layers, project.trust_remote_code, project.quantization), (0, false, None));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = "model: {name: 7, format: ggml}\nruntime: {threads: 0, context_size: big, device: tpu}\n\
                    params: {temperature: 3, stop: x, stream: maybe, top_p: -0.5}\nquantization: q9\n";
        let failure = read(text).expect_err("not valid");
        let said = format!("{}\n{}", failure.cause, failure.details.join("\n"));
        for word in [
            "model.name",
            "model.path: is missing",
            "model.format",
            "`ggml`",
            "runtime.type: is missing",
            "runtime.threads",
            "runtime.context_size",
            "`tpu`",
            "params.temperature",
            "from 0 to 2",
            "params.stop",
            "params.stream",
            "params.top_p",
            "`q9`",
        ] {
            assert!(said.contains(word), "`{word}` is not in: {said}");
        }
        assert_eq!(failure.code, ExitCode::Usage);
        assert!(read("just text").is_err());
        assert!(read("model:\n").expect_err("no model").cause.contains("model: is missing"));
    }

    #[test]
    fn a_project_is_written_as_it_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut project = Project::new("a b", "C:\\models\\x.gguf", "gguf", "llama_cpp");
        project.params.stop = vec!["\n\n".to_owned()];
        for name in ["new/slm.yaml", "slm.yml", "slm.json"] {
            let path = folder.path().join(name);
            project.write(&path).expect("written");
            assert_eq!(Project::read(&path).expect("read"), (project.clone(), Vec::new()), "{name}");
        }
        assert_eq!(project.write(&folder.path().join("slm.txt")).expect_err("no project").code, ExitCode::Usage);
    }

    #[test]
    fn keys_that_nothing_reads_are_named() {
        let (_, unused) = read(&format!("{README}  colour: red\nextra: 1\n")).expect("valid");
        assert_eq!(unused, ["extra", "params.colour"]);
    }
}
