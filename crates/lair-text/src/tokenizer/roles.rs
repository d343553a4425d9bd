//! Which tokens end a text, begin a gap and so on, where a file does not say it: by their well-known spellings.
//!
//! The spellings are those llama.cpp knows (`src/llama-vocab.cpp`, `llama_vocab::impl::load`).

use lair_gguf::StringArray;

use super::byte_pair::split_merge;
use super::normalize::ESCAPED_SPACE;
use super::pieces::{PieceList, PieceMap};
use super::vocabulary::{SpecialIds, TokenId, TokenKind, Vocabulary};

/// A role and the spellings of tokens that have it; the first spelling in the vocabulary counts.
type Role = (fn(&mut SpecialIds) -> &mut Option<TokenId>, &'static [&'static str]);

const ROLES: &[Role] = &[
    (
        |ids| &mut ids.eot,
        &[
            "<|eot_id|>",
            "<|im_end|>",
            "<|end|>",
            "<end_of_turn>",
            "<|endoftext|>",
            "<|end_of_text|>",
            "<EOT>",
            "_<EOT>",
            "[EOT]",
            "<｜end▁of▁sentence｜>",
            "<end_of_utterance>",
        ],
    ),
    (|ids| &mut ids.eom, &["<|eom_id|>"]),
    (
        |ids| &mut ids.fim_prefix,
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
    ),
    (
        |ids| &mut ids.fim_suffix,
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    ),
    (
        |ids| &mut ids.fim_middle,
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
    (|ids| &mut ids.fim_padding, &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    (|ids| &mut ids.fim_repository, &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    (|ids| &mut ids.fim_separator, &["<|file_sep|>"]),
];

/// Tokens that end generation wherever they appear.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// The frame of a gpt-oss message: text that is shown and parsed, not control.
const HARMONY_FRAME: &[&str] = &["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// Assigns roles by spelling. Only tokens that could be markers are put in the table for it; a token that merges make
/// is text, as `</s>` is in Qwen's vocabulary.
pub(crate) fn find_roles(
    vocabulary: &mut Vocabulary,
    ids: &mut SpecialIds,
    tokens: &StringArray,
    merges: Option<&StringArray>,
) -> Vec<TokenId> {
    let mut texts = PieceList::default();
    let mut token_ids = Vec::new();
    for (id, text) in tokens.iter().enumerate() {
        let inner = text.trim_start_matches(['_', ESCAPED_SPACE]);
        if (inner.starts_with('<') || inner.starts_with('[')) && text.len() > 2 {
            texts.push(text.as_bytes());
            token_ids.push(id as TokenId);
        }
    }
    let mut map = PieceMap::with_capacity(texts.len());
    for index in 0..texts.len() {
        map.insert(&texts, index as u32);
    }
    let kinds = vocabulary.kinds.clone();
    let is_merged = |text: &str| {
        merges.is_some_and(|merges| {
            merges.iter().any(|line| {
                line.len() == text.len() + 1
                    && split_merge(line.as_bytes()).is_some_and(|(left, right)| {
                        text.as_bytes().strip_prefix(left).is_some_and(|rest| rest == right)
                    })
            })
        })
    };
    assign_roles(vocabulary, ids, |text| {
        let id = map.get(&texts, text.as_bytes()).map(|index| token_ids[index as usize])?;
        (kinds[id as usize] != TokenKind::Normal || !is_merged(text)).then_some(id)
    })
}

/// Fills in the roles that the file left open, corrects the kinds of tokens whose spelling gives them away, and returns
/// the tokens that end generation, sorted. `find` gives the token with a spelling, of any kind.
fn assign_roles(
    vocabulary: &mut Vocabulary,
    ids: &mut SpecialIds,
    find: impl Fn(&str) -> Option<TokenId>,
) -> Vec<TokenId> {
    for (role, spellings) in ROLES {
        if role(ids).is_none()
            && let Some(id) = spellings.iter().find_map(|spelling| find(spelling))
        {
            *role(ids) = Some(id);
            vocabulary.kinds[id as usize] = TokenKind::Control;
        }
    }
    let mut ends: Vec<TokenId> = ENDS.iter().filter_map(|spelling| find(spelling)).collect();
    for &id in &ends {
        vocabulary.kinds[id as usize] = TokenKind::Control;
    }
    for id in HARMONY_FRAME.iter().filter_map(|spelling| find(spelling)) {
        vocabulary.kinds[id as usize] = TokenKind::UserDefined;
    }
    let roles = [ids.eos, ids.eot, ids.eom, ids.fim_padding, ids.fim_repository, ids.fim_separator];
    ends.extend(roles.into_iter().flatten());
    // gpt-oss and Solar end a turn with other tokens; there `<|end|>` ends one message of several.
    let has = |spelling: &str| find(spelling).is_some();
    let has_call = has("<|call|>") || has("<|calls|>");
    if has_call
        && (has("<|return|>") || has("<|flush|>"))
        && let Some(end) = find("<|end|>")
    {
        ends.retain(|&id| id != end);
        vocabulary.kinds[end as usize] = TokenKind::UserDefined;
    }
    // Gemma 4 and PLaMo spell a tag of HTML this way.
    if (has("<|tool_response>") || find("<|plamo:eos|>").is_some_and(|id| ends.contains(&id)))
        && let Some(tag) = find("</s>")
    {
        ends.retain(|&id| id != tag);
        vocabulary.kinds[tag as usize] = TokenKind::Normal;
    }
    ends.sort_unstable();
    ends.dedup();
    ends
}
