//! `/metrics`: what is counted, as Prometheus reads it, under Lair's names and those of llama.cpp and vLLM, so that boards
//! made for either show something.
//!
//! Source: the Prometheus text format 0.0.4; llama.cpp's `tools/server/README.md`; vLLM's list of production metrics.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lair_engine::EngineStats;

use super::route::Route;
use crate::keys::Scope;
use crate::loaded::Running;
use crate::metrics::{Histogram, METRICS, ModelCounts, OUTCOMES};
use crate::server::SharedApp;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get(Scope::Metrics, "/metrics", "Counts and times, in the text format of Prometheus.", metrics)]
}

/// Where llama-server says when it began.
const STARTED: HeaderName = HeaderName::from_static("process-start-time-unix");

async fn metrics(State(app): State<SharedApp>) -> Response {
    let mut text = Text::default();
    let models = METRICS.models();
    let running = app.models.running();
    own(&mut text, &models, &running);
    of_llama_cpp(&mut text, &models, &running);
    of_vllm(&mut text, &models, &running);
    let started = METRICS.started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    (StatusCode::OK, [kind, (STARTED, HeaderValue::from(started))], text.0).into_response()
}

type Models = [(String, Arc<ModelCounts>)];

/// The format: a line of help and of type for each name, then a line for each value.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        self.labels(labels);
        let _ = writeln!(self.0, " {value}");
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        for (index, (key, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{key}=\"{value}\"", if index == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
    }

    /// A name with one value and no labels.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.value(name, &[], value);
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let (counts, sum) = histogram.read();
        let bounds = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&counts) {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
            self.value(&format!("{name}_bucket"), &labels, count);
        }
        self.value(&format!("{name}_sum"), labels, sum);
        self.value(&format!("{name}_count"), labels, counts.last().copied().unwrap_or_default());
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Relaxed)
}

type Count = fn(&ModelCounts) -> &AtomicU64;
type Times = fn(&ModelCounts) -> &Histogram;
type Gauge = fn(&Running) -> f64;

fn own(text: &mut Text, models: &Models, running: &[Running]) {
    text.single("lair_models_loaded", "gauge", "Models in memory.", running.len());
    text.head("lair_http_answers_total", "counter", "Answers by dialect and status.");
    for ((dialect, status), count) in METRICS.answers() {
        text.value("lair_http_answers_total", &[("dialect", dialect), ("status", &status.to_string())], count);
    }
    text.head("lair_requests_total", "counter", "Generations by how they ended.");
    for (model, counts) in models {
        for (outcome, count) in OUTCOMES.iter().zip(&counts.ended) {
            text.value("lair_requests_total", &[("model", model), ("outcome", outcome)], read(count));
        }
    }
    let counters: &[(&str, &str, Count)] = &[
        ("lair_prompt_tokens_total", "Tokens of prompts.", |counts| &counts.prompt_tokens),
        ("lair_prompt_tokens_cached_total", "Of these, found in the cache.", |counts| &counts.cached_tokens),
        ("lair_generated_tokens_total", "Tokens of answers.", |counts| &counts.generated_tokens),
        ("lair_guessed_tokens_total", "Tokens guessed ahead.", |counts| &counts.guessed_tokens),
        ("lair_accepted_tokens_total", "Guesses that were right.", |counts| &counts.accepted_tokens),
    ];
    for (name, help, count) in counters {
        text.head(name, "counter", help);
        models.iter().for_each(|(model, counts)| text.value(name, &[("model", model)], read(count(counts))));
    }
    let histograms: &[(&str, &str, Times)] = &[
        ("lair_time_to_first_token_seconds", "From the request to its first token.", |c| &c.time_to_first_token),
        ("lair_time_between_tokens_seconds", "Between two tokens of an answer.", |c| &c.between_tokens),
        ("lair_request_seconds", "From the request to its end.", |c| &c.request_time),
        ("lair_queue_seconds", "Until a place was free.", |c| &c.queue_time),
    ];
    for (name, help, times) in histograms {
        text.head(name, "histogram", help);
        models.iter().for_each(|(model, counts)| text.histogram(name, &[("model", model)], times(counts)));
    }
    let gauges: &[(&str, &str, Gauge)] = &[
        ("lair_model_memory_bytes", "Bytes of a model in memory.", |model| model.memory_bytes as f64),
        ("lair_sequences_active", "Sequences that are computed.", |model| model.stats.active_count as f64),
        ("lair_sequences_waiting", "Sequences that wait for a place.", |model| model.stats.waiting_count as f64),
        ("lair_cache_usage_ratio", "Share of the context memory in use.", |model| pages_in_use(&model.stats)),
        ("lair_preemptions", "Sequences that lost their memory to an older one.", |m| m.stats.preemptions as f64),
    ];
    for (name, help, gauge) in gauges {
        text.head(name, "gauge", help);
        running.iter().for_each(|model| text.value(name, &[("model", &model.facts.name)], gauge(model)));
    }
}

/// Share of the pages that sequences hold.
fn pages_in_use(stats: &EngineStats) -> f64 {
    if stats.page_count == 0 { 0.0 } else { stats.held_page_count as f64 / stats.page_count as f64 }
}

/// llama.cpp's names have no labels: they are sums over all models.
fn of_llama_cpp(text: &mut Text, models: &Models, running: &[Running]) {
    let sum = |count: Count| models.iter().map(|(_, counts)| read(count(counts))).sum::<u64>();
    let seconds = |times: Times| models.iter().map(|(_, counts)| times(counts).read().1).sum::<f64>();
    let of_engines = |value: fn(&EngineStats) -> u64| running.iter().map(|model| value(&model.stats)).sum::<u64>();
    let rate = |count: u64, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let (cached, generated) = (sum(|counts| &counts.cached_tokens), sum(|counts| &counts.generated_tokens));
    let prompt = sum(|counts| &counts.prompt_tokens).saturating_sub(cached);
    let (prompt_seconds, seconds) = (seconds(|counts| &counts.prefill_time), seconds(|counts| &counts.decode_time));
    let (steps, rows) = (of_engines(|stats| stats.steps), of_engines(|stats| stats.rows));
    let counters: &[(&str, &str, f64)] = &[
        ("prompt_tokens_total", "Prompt tokens processed.", prompt as f64),
        ("prompt_tokens_cached_total", "Prompt tokens found in the cache.", cached as f64),
        ("prompt_seconds_total", "Time prompts took.", prompt_seconds),
        ("tokens_predicted_total", "Tokens generated.", generated as f64),
        ("tokens_predicted_seconds_total", "Time generating took.", seconds),
        ("n_decode_total", "Steps of the engines.", steps as f64),
        (
            "n_tokens_max",
            "Longest sequence.",
            models.iter().map(|m| read(&m.1.longest_sequence)).max().unwrap_or(0) as f64,
        ),
        ("spec_decode_num_draft_tokens_total", "Tokens guessed.", sum(|counts| &counts.guessed_tokens) as f64),
        ("spec_decode_num_accepted_tokens_total", "Guesses taken.", sum(|counts| &counts.accepted_tokens) as f64),
    ];
    for (name, help, value) in counters {
        text.single(&format!("llamacpp:{name}"), "counter", help, value);
    }
    let gauges: &[(&str, &str, f64)] = &[
        ("prompt_tokens_seconds", "Prompt tokens a second.", rate(prompt, prompt_seconds)),
        ("predicted_tokens_seconds", "Generated tokens a second.", rate(generated, seconds)),
        ("requests_processing", "Requests that are computed.", of_engines(|stats| stats.active_count as u64) as f64),
        ("requests_deferred", "Requests that wait.", of_engines(|stats| stats.waiting_count as u64) as f64),
        ("n_busy_slots_per_decode", "Rows of a step, on average.", rate(rows, steps as f64)),
    ];
    for (name, help, value) in gauges {
        text.single(&format!("llamacpp:{name}"), "gauge", help, value);
    }
}

fn of_vllm(text: &mut Text, models: &Models, running: &[Running]) {
    let gauges: &[(&str, &str, Gauge)] = &[
        ("vllm:num_requests_running", "Requests that are computed.", |model| model.stats.active_count as f64),
        ("vllm:num_requests_waiting", "Requests that wait.", |model| model.stats.waiting_count as f64),
        ("vllm:kv_cache_usage_perc", "Share of the KV cache in use, 1 is all.", |model| pages_in_use(&model.stats)),
    ];
    for (name, help, gauge) in gauges {
        text.head(name, "gauge", help);
        running.iter().for_each(|model| text.value(name, &labels(&model.facts.name), gauge(model)));
    }
    text.head("vllm:num_preemptions_total", "counter", "Sequences that lost their memory.");
    running.iter().for_each(|m| text.value("vllm:num_preemptions_total", &labels(&m.facts.name), m.stats.preemptions));
    let counters: &[(&str, &str, Count)] = &[
        ("vllm:prefix_cache_queries_total", "Tokens looked for in the cache.", |counts| &counts.prompt_tokens),
        ("vllm:prefix_cache_hits_total", "Tokens found there.", |counts| &counts.cached_tokens),
        ("vllm:prompt_tokens_total", "Tokens of prompts.", |counts| &counts.prompt_tokens),
        ("vllm:generation_tokens_total", "Tokens of answers.", |counts| &counts.generated_tokens),
    ];
    for (name, help, count) in counters {
        text.head(name, "counter", help);
        models.iter().for_each(|(model, counts)| text.value(name, &labels(model), read(count(counts))));
    }
    text.head("vllm:request_success_total", "counter", "Requests by how they ended.");
    for (model, counts) in models {
        for (outcome, count) in OUTCOMES.iter().zip(&counts.ended) {
            let labels: Vec<_> = labels(model).into_iter().chain([("finished_reason", *outcome)]).collect();
            text.value("vllm:request_success_total", &labels, read(count));
        }
    }
    let histograms: &[(&str, &str, Times)] = &[
        ("vllm:time_to_first_token_seconds", "Time to the first token.", |c| &c.time_to_first_token),
        ("vllm:inter_token_latency_seconds", "Time between tokens.", |c| &c.between_tokens),
        ("vllm:time_per_output_token_seconds", "Time between tokens.", |c| &c.between_tokens),
        ("vllm:e2e_request_latency_seconds", "Time of a whole request.", |c| &c.request_time),
        ("vllm:request_queue_time_seconds", "Time of waiting.", |c| &c.queue_time),
        ("vllm:request_prefill_time_seconds", "Time of the prompt.", |c| &c.prefill_time),
        ("vllm:request_decode_time_seconds", "Time of the answer.", |c| &c.decode_time),
        ("vllm:request_prompt_tokens", "Tokens of a prompt.", |c| &c.prompt_lengths),
        ("vllm:request_generation_tokens", "Tokens of an answer.", |c| &c.answer_lengths),
    ];
    for (name, help, times) in histograms {
        text.head(name, "histogram", help);
        models.iter().for_each(|(model, counts)| text.histogram(name, &labels(model), times(counts)));
    }
}

fn labels(model: &str) -> [(&str, &str); 2] {
    [("model_name", model), ("engine", "0")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_models_are_escaped_and_all_names_have_help_and_type() {
        let mut text = Text::default();
        let models = [("a\"b\\c".to_owned(), Arc::new(ModelCounts::default()))];
        own(&mut text, &models, &[]);
        of_llama_cpp(&mut text, &models, &[]);
        of_vllm(&mut text, &models, &[]);
        assert!(text.0.contains("lair_prompt_tokens_total{model=\"a\\\"b\\\\c\"} 0\n"), "{}", text.0);
        let mut told = std::collections::BTreeSet::new();
        for line in text.0.lines() {
            if let Some(head) = line.strip_prefix("# TYPE ") {
                let name = head.split(' ').next().expect("a name");
                assert!(told.insert(name), "{name} is told twice");
                assert!(text.0.contains(&format!("# HELP {name} ")), "{name} has no help");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                assert!(
                    told.contains(name) || family.is_some_and(|family| told.contains(family)),
                    "{name} has no type"
                );
                let value = line.rsplit(' ').next().expect("a value");
                assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            }
        }
    }
}
