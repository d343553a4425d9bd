//! From texts to vectors and scores: the one path that all dialects share.

use std::sync::Arc;
use std::time::Instant;

use lair_engine::{EmbedRequest, Embedded, EmbeddingShape, Normalization, Pooling, SequenceError};
use lair_text::prompt;
use tokio::sync::oneshot;

use crate::caller::caller;
use crate::error::{ApiError, ErrorKind};
use crate::loaded::{Lease, blocking};
use crate::request_log::Embedded as Noted;

/// A text to be embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// As it is written; the model's own frame is put around it.
    Text(String),
    /// As tokens, which are taken as they are.
    Tokens(Vec<u32>),
}

/// What is to be embedded, and how.
#[derive(Clone, Debug)]
pub struct EmbedAsk {
    /// The texts.
    pub inputs: Vec<Input>,
    /// How each becomes a vector; as the model says if not given.
    pub pooling: Option<Pooling>,
    /// What length vectors get.
    pub normalization: Normalization,
    /// The first so many numbers of each vector only, brought to that length again.
    pub dimensions: Option<usize>,
    /// Texts are cut to so many tokens; `None` refuses those that do not fit.
    pub cut_to: Option<usize>,
}

impl EmbedAsk {
    /// The texts as the model pools them, of length 1.
    pub fn new(inputs: Vec<Input>) -> EmbedAsk {
        EmbedAsk { inputs, pooling: None, normalization: Normalization::EUCLIDEAN, dimensions: None, cut_to: None }
    }
}

/// What embeddings can be made of a model.
pub(crate) fn shape_of(model: &Lease) -> Result<EmbeddingShape, ApiError> {
    model.engine.limits().embedding.ok_or_else(|| lair_engine::Refusal::NoEmbeddings.into())
}

/// Embeds texts. Dropping the future gives up what is not computed yet.
pub async fn embed(model: &Arc<Lease>, ask: EmbedAsk) -> Result<Embedded, ApiError> {
    let shape = shape_of(model)?;
    let pooling = ask.pooling.unwrap_or(match shape.pooling {
        // A reranker's hidden states are what its classifier reads.
        Pooling::Rank => shape.classifier_pooling,
        of_model => of_model,
    });
    let width = shape.width(pooling);
    if let Some(dimensions) = ask.dimensions
        && (dimensions == 0 || dimensions > width || pooling == Pooling::None)
    {
        let cause = format!("`dimensions` is {dimensions}, the model's vectors have {width}: 1 to {width} expected");
        return Err(ApiError::bad("dimensions", cause));
    }
    let (leased, inputs, cut_to) = (Arc::clone(model), ask.inputs, ask.cut_to);
    let (tokens, cuts) = blocking(move || tokens_of_inputs(&leased, inputs, cut_to)).await?;
    let request = EmbedRequest { inputs: tokens, pooling, adapter_scales: model.adapters.scales() };
    let mut embedded = run(model, request, cuts).await?;
    if pooling != Pooling::None {
        let kept = ask.dimensions.unwrap_or(width);
        for vector in &mut embedded.vectors {
            vector.truncate(kept);
            ask.normalization.apply(vector);
        }
        embedded.width = kept;
    }
    Ok(embedded)
}

/// A text that was cut: its index, its tokens before and after.
type Cut = (usize, usize, usize);

fn tokens_of_inputs(
    model: &Lease,
    inputs: Vec<Input>,
    cut_to: Option<usize>,
) -> Result<(Vec<Vec<u32>>, Vec<Cut>), ApiError> {
    let mut cuts = Vec::new();
    let length_max = cut_to.map(|length| length.min(model.engine.limits().input_length));
    let mut tokens_of = |(index, input): (usize, Input)| match input {
        Input::Text(text) if text.is_empty() => {
            Err(ApiError::bad("input", format!("text {index} of `input` is empty, at least one character expected")))
        }
        Input::Text(text) => {
            let mut tokens = prompt::tokens_of_input(&model.tokenizer, &text);
            let before = tokens.len();
            if let Some(length) = length_max {
                prompt::cut_input(&model.tokenizer, &mut tokens, length);
            }
            note_cut(&mut cuts, index, before, tokens.len());
            Ok(tokens)
        }
        Input::Tokens(mut tokens) => {
            let before = tokens.len();
            tokens.truncate(length_max.unwrap_or(usize::MAX));
            note_cut(&mut cuts, index, before, tokens.len());
            Ok(tokens)
        }
    };
    let tokens = inputs.into_iter().enumerate().map(&mut tokens_of).collect::<Result<_, ApiError>>()?;
    Ok((tokens, cuts))
}

fn note_cut(cuts: &mut Vec<Cut>, index: usize, before: usize, after: usize) {
    if after < before {
        cuts.push((index, before, after));
    }
}

/// Hands a request to the model's engine and waits for its end.
async fn run(model: &Arc<Lease>, request: EmbedRequest, cuts: Vec<Cut>) -> Result<Embedded, ApiError> {
    let caller = caller();
    let token_count = request.inputs.iter().map(Vec::len).sum();
    if let Some(key) = &caller.key {
        key.limiter.take_prompt(token_count, Instant::now())?;
    }
    if let Some(trace) = &caller.trace {
        trace.note_embedded(Noted {
            model: model.facts.name.clone(),
            model_digest: model.facts.digest.clone(),
            input_count: request.inputs.len(),
            token_count,
            cuts,
        });
    }
    let (sender, result) = oneshot::channel::<Result<Embedded, SequenceError>>();
    // A receiver that is gone has given up.
    let guard = model.engine.embed_to(request, Box::new(move |outcome| drop(sender.send(outcome))))?;
    let outcome = result.await;
    drop(guard);
    let gone = |_| ApiError::new(ErrorKind::Internal, "the engine ended before the embeddings did");
    Ok(outcome.map_err(gone)??)
}

/// How well each document fits its query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// In the order of the pairs; higher is better.
    pub scores: Vec<f32>,
    /// Tokens that were read.
    pub token_count: usize,
}

/// Queries with documents, and how they are compared.
#[derive(Clone, Debug)]
pub struct ScoreAsk {
    /// Query and document of each pair.
    pub pairs: Vec<(String, String)>,
    /// Leaves a classifier's score as it is; else it is brought between 0 and 1.
    pub is_raw: bool,
    /// Cuts what is too long; else it is refused.
    pub cuts: bool,
}

/// Scores pairs: by the model's classifier, which reads both texts together, or, of a model that was trained to give
/// embeddings, by the cosine of theirs.
pub async fn score(model: &Arc<Lease>, ask: ScoreAsk) -> Result<Scores, ApiError> {
    let shape = shape_of(model)?;
    if shape.class_count == 0 {
        return match model.facts.capabilities.contains(&"embedding") {
            true => cosines(model, ask).await,
            false => Err(lair_engine::Refusal::NoClassifier.into()),
        };
    }
    if shape.class_count > 1 && !shape.scores_are_shares {
        let cause = format!("the model tells {} classes apart and does not rank texts", shape.class_count);
        return Err(ApiError::new(ErrorKind::BadRequest, cause).with_hint("choose a reranker".to_owned()));
    }
    let (leased, is_raw) = (Arc::clone(model), ask.is_raw || shape.scores_are_shares);
    let (tokens, cuts) = blocking(move || Ok(tokens_of_pairs(&leased, &ask))).await?;
    let adapter_scales = model.adapters.scales();
    let embedded = run(model, EmbedRequest { inputs: tokens, pooling: Pooling::Rank, adapter_scales }, cuts).await?;
    let score = |classes: &Vec<f32>| if is_raw { classes[0] } else { 1.0 / (1.0 + (-classes[0]).exp()) };
    Ok(Scores { scores: embedded.vectors.iter().map(score).collect(), token_count: embedded.token_count })
}

fn tokens_of_pairs(model: &Lease, ask: &ScoreAsk) -> (Vec<Vec<u32>>, Vec<Cut>) {
    let length_max = model.engine.limits().input_length;
    let mut cuts = Vec::new();
    let tokens_of = |(index, (query, document)): (usize, &(String, String))| {
        let tokenizer = &model.tokenizer;
        let mut tokens = match &model.rank_template {
            Some(template) => prompt::tokens_of_rank_template(tokenizer, template, query, document),
            None => prompt::tokens_of_pair(tokenizer, query, document),
        };
        if ask.cuts {
            let before = tokens.len();
            prompt::cut_input(tokenizer, &mut tokens, length_max);
            note_cut(&mut cuts, index, before, tokens.len());
        }
        tokens
    };
    let tokens = ask.pairs.iter().enumerate().map(tokens_of).collect();
    (tokens, cuts)
}

/// Every text once, however many pairs it is in.
async fn cosines(model: &Arc<Lease>, ask: ScoreAsk) -> Result<Scores, ApiError> {
    let mut places = std::collections::HashMap::new();
    let mut texts: Vec<Input> = Vec::new();
    let mut place_of = |text: String| {
        *places.entry(text.clone()).or_insert_with(|| {
            texts.push(Input::Text(text));
            texts.len() - 1
        })
    };
    let pairs: Vec<(usize, usize)> =
        ask.pairs.into_iter().map(|(query, document)| (place_of(query), place_of(document))).collect();
    let embedded = embed(model, EmbedAsk { cut_to: ask.cuts.then_some(usize::MAX), ..EmbedAsk::new(texts) }).await?;
    let vectors = &embedded.vectors;
    let cosine = |&(query, document): &(usize, usize)| {
        let products = vectors[query].iter().zip(&vectors[document]).map(|(q, d)| f64::from(*q) * f64::from(*d));
        products.sum::<f64>() as f32
    };
    Ok(Scores { scores: pairs.iter().map(cosine).collect(), token_count: embedded.token_count })
}
