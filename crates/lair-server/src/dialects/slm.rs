//! SLM Packager's own API, under `lair slm serve`: a project is loaded by the path of its file, and prompts are continued with
//! it. Source: slm-packager 0.2.2, `api/server.py` and `config/models.py`.
//!
//! Two things differ on purpose. A project that cannot be loaded leaves the one that was there. And a request that gives some
//! parameters keeps the project's own for the others, not the program's defaults.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream::{self, Stream};
use lair_engine::Sampling;
use serde_json::{Value as Json, json};

use super::route::{Field, Kind, Route, fields_of, spoken};
use super::{json_response, stream_response, with_ignored};
use crate::error::{ApiError, ErrorKind};
use crate::fields::{Fields, wrong};
use crate::generation::{Ask, Generation, Piece};
use crate::keys::Scope;
use crate::loaded::{KeepAlive, Lease, blocking};
use crate::projects::{Project, ProjectParams};
use crate::server::SharedApp;

const LOAD_FIELDS: &[Field] = &[Field::required("config_path", Kind::Text)];
const GENERATE_FIELDS: &[Field] = &[Field::required("prompt", Kind::Text), Field::new("params", Kind::Object)];
/// Longest answer that may be asked for: more than any context.
const MAX_TOKENS_MAX: usize = 1 << 30;

pub(super) fn routes() -> Vec<Route> {
    let load_summary = "Under `lair slm serve`: loads a project by the path of its file.";
    let generate_summary = "Under `lair slm serve`: continues a prompt with the project that is loaded.";
    vec![
        // Whoever names a file of this machine may do anything with it.
        Route::post(Scope::Admin, "/load", load_summary, &[LOAD_FIELDS], load),
        Route::post(Scope::Chat, "/generate", generate_summary, &[GENERATE_FIELDS], generate),
        Route::get(Scope::ModelsRead, "/info", "Under `lair slm serve`: the project that is loaded.", info),
    ]
}

/// The project that is answered with.
#[derive(Default)]
pub(crate) struct CurrentProject(Mutex<Option<Arc<Project>>>);

impl CurrentProject {
    /// This one to begin with.
    pub(crate) fn new(first: Option<Project>) -> CurrentProject {
        CurrentProject(Mutex::new(first.map(Arc::new)))
    }

    fn get(&self) -> Option<Arc<Project>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, project: Project) -> Option<Arc<Project>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(Arc::new(project))
    }
}

fn check_served(app: &SharedApp, path: &str) -> Result<(), ApiError> {
    if app.models.source().projects().is_some() {
        return Ok(());
    }
    Err(ApiError::new(ErrorKind::NotFound, format!("there is no path `{path}`"))
        .with_hint("`lair slm serve` answers as SLM Packager does".to_owned()))
}

async fn load(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        check_served(&app, "/load")?;
        let mut fields = fields_of(&app, request).await?;
        let config_path = fields.required_text("config_path")?;
        let ignored = fields.rest();
        let source = Arc::clone(app.models.source());
        let project = blocking(move || match source.projects() {
            Some(projects) => projects.open(&config_path),
            None => Err(ApiError::new(ErrorKind::NotFound, "there are no projects here")),
        })
        .await?;
        let (name, model) = (project.name.clone(), project.model.clone());
        // It is held until it has taken the place of the other: a model that nobody uses may be freed for a third.
        let lease = app.models.get(&model, Some(KeepAlive::Forever)).await?;
        let past = app.project.replace(project);
        drop(lease);
        if let Some(past) = past.filter(|past| past.model != model) {
            app.models.unload(&past.model).await?;
        }
        let body = json!({ "status": "success", "message": format!("Loaded model {name}") });
        Ok(with_ignored(json_response(StatusCode::OK, &body), &ignored))
    };
    spoken("/load", answered.await)
}

async fn info(State(app): State<SharedApp>) -> Response {
    let answered = check_served(&app, "/info").map(|()| {
        let project = app.project.get();
        let body = project.map_or_else(|| json!({ "status": "no model loaded" }), |project| project.settings.clone());
        json_response(StatusCode::OK, &body)
    });
    spoken("/info", answered)
}

async fn generate(State(app): State<SharedApp>, request: Request) -> Response {
    let answered = async {
        check_served(&app, "/generate")?;
        let mut fields = fields_of(&app, request).await?;
        let prompt = fields.required_text("prompt")?;
        let of_request = fields.object("params")?;
        let mut ignored = fields.rest();
        let project = app.project.get().ok_or_else(|| {
            ApiError::new(ErrorKind::BadRequest, "Model not loaded. Call /load first.")
                .with_hint("or name a project: `lair slm serve CONFIG`".to_owned())
        })?;
        let mut params = project.params.clone();
        if let Some(map) = of_request {
            let mut fields = Fields::of(map);
            params.take(&mut fields)?;
            ignored.extend(fields.rest().into_iter().map(|name| format!("params_{name}")));
        }
        let model = Arc::new(app.models.get(&project.model, Some(KeepAlive::Forever)).await?);
        let generation = start(&model, &prompt, &params)?;
        let response = if params.stream {
            stream_response("text/event-stream", events(model, generation))
        } else {
            json_response(StatusCode::OK, &json!({ "text": generation.collect().await?.text }))
        };
        Ok(with_ignored(response, &ignored))
    };
    spoken("/generate", answered.await)
}

impl ProjectParams {
    /// Those of a request over these.
    fn take(&mut self, fields: &mut Fields) -> Result<(), ApiError> {
        self.temperature = number(fields, "temperature", self.temperature, (0.0, 2.0))?;
        self.top_p = number(fields, "top_p", self.top_p, (0.0, 1.0))?;
        self.top_k = fields.count("top_k", 0, usize::MAX >> 1)?.unwrap_or(self.top_k);
        self.max_tokens = fields.count("max_tokens", 1, MAX_TOKENS_MAX)?.unwrap_or(self.max_tokens);
        if let Some(stop) = fields.take("stop") {
            let texts =
                stop.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
            let texts: Option<Option<Vec<String>>> = texts;
            self.stop = texts.flatten().ok_or_else(|| wrong("stop", &stop, "a list of strings"))?;
        }
        self.stream = fields.switch("stream")?.unwrap_or(self.stream);
        let penalty = "repetition_penalty";
        self.repetition_penalty = number(fields, penalty, self.repetition_penalty, (1.0, f32::MAX))?;
        Ok(())
    }

    fn sampling(&self, usual: &Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            repeat_penalty: self.repetition_penalty,
            ..usual.clone()
        }
    }
}

fn number(fields: &mut Fields, name: &str, usual: f32, (least, most): (f32, f32)) -> Result<f32, ApiError> {
    let number = fields.number(name)?.unwrap_or(usual);
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    let expected = if most == f32::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
    Err(ApiError::bad(name, format!("`{name}` is {number}, {expected} expected")))
}

fn start(model: &Arc<Lease>, prompt: &str, params: &ProjectParams) -> Result<Generation, ApiError> {
    let ask = Ask {
        tokens: model.tokens_of_raw_prompt(prompt),
        max_tokens: Some(params.max_tokens),
        sampling: params.sampling(&model.default_sampling),
        stop: params.stop.clone(),
        ..Ask::default()
    };
    Generation::start(model, ask)
}

/// `data: {"text": ...}` for each piece, then `data: [DONE]`; an error in between is an event as well.
fn events(model: Arc<Lease>, generation: Generation) -> impl Stream<Item = String> + Send + 'static {
    let event = |body: &Json| format!("data: {body}\n\n");
    stream::unfold(Some((model, generation)), move |state| async move {
        let (model, mut generation) = state?;
        loop {
            let said = match generation.next().await {
                Some(Ok(Piece::Text { text, .. })) if !text.is_empty() => event(&json!({ "text": text })),
                Some(Ok(Piece::Text { .. } | Piece::Prompt { .. })) => continue,
                Some(Err(error)) => return Some((event(&json!({ "error": error.text() })) + DONE, None)),
                Some(Ok(Piece::End(_))) | None => return Some((DONE.to_owned(), None)),
            };
            return Some((said, Some((model, generation))));
        }
    })
}

/// What ends a stream.
const DONE: &str = "data: [DONE]\n\n";

/// An error as FastAPI has it: a text, or for a field that is wrong a list that says where.
pub(super) fn error_body(error: &ApiError) -> Json {
    match (&error.parameter, &error.kind) {
        (Some(name), ErrorKind::BadRequest) => {
            json!({ "detail": [{ "type": "value_error", "loc": ["body", name], "msg": error.text() }] })
        }
        _ => json!({ "detail": error.text() }),
    }
}

/// The status of an error there: a field that is wrong is 422.
pub(super) fn error_status(error: &ApiError) -> u16 {
    match (&error.parameter, &error.kind) {
        (Some(_), ErrorKind::BadRequest) => 422,
        _ => error.status(),
    }
}
