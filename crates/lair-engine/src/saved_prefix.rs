//! The pages of a prefix handed out as bytes, put back, and let go: what a client saves under a name of its own and restores
//! later, beside what the archive does of itself.
//!
//! Pages are found by their tokens, so a prefix has no place that it is in: what is saved is what is in memory of these
//! tokens, and what is restored is found by every request of the same scope that begins so.

use std::collections::HashSet;

use lair_compute::{PAGE_LENGTH, PageId};

use crate::{
    Engine, PrefixScope, Runner,
    pages::{PageKey, PageTokens, Parent},
};

/// What is to be done with a prefix. Tokens beyond its last full page do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixWork {
    /// With whom it is shared.
    pub scope: PrefixScope,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// What.
    pub action: PrefixAction,
}

/// What is to be done with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefixAction {
    /// Read its pages, as far as they are in memory.
    Read,
    /// Put these pages there, one after the other, as [`PrefixAction::Read`] gave them: of the same model in the same setup.
    Write(Vec<u8>),
    /// Let go of its pages, from the last one up to one that is in use or begins another prefix too.
    Forget,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixDone {
    /// Tokens of the pages that were read, are there now, or are gone.
    pub token_count: usize,
    /// Their bytes, where they were read.
    pub bytes: Vec<u8>,
}

impl<R: Runner> Engine<R> {
    /// Does it, between two steps. Recurrent state is not saved, so a model that has any keeps nothing.
    pub fn work_on_prefix(&mut self, work: &PrefixWork) -> PrefixDone {
        if self.states.is_used() || !self.options.prefix_cache {
            return PrefixDone::default();
        }
        let (pages, _) = work.tokens.as_chunks::<PAGE_LENGTH>();
        match &work.action {
            PrefixAction::Read => self.read_prefix(work.scope, pages),
            PrefixAction::Write(bytes) => self.write_prefix(work.scope, pages, bytes),
            PrefixAction::Forget => self.forget_prefix(work.scope, pages),
        }
    }

    /// The pages of a prefix that are in memory, from the first on.
    fn pages_of_prefix(&self, scope: PrefixScope, pages: &[PageTokens]) -> Vec<PageId> {
        let mut parent = Parent::Root(scope);
        let mut found = Vec::new();
        for tokens in pages {
            let Some(page) = self.pool.find(&PageKey { parent, tokens: *tokens }) else { break };
            found.push(page);
            let Some(next) = self.pool.as_parent(page) else { break };
            parent = next;
        }
        found
    }

    fn read_prefix(&self, scope: PrefixScope, pages: &[PageTokens]) -> PrefixDone {
        let found = self.pages_of_prefix(scope, pages);
        let page_bytes = self.runner.page_bytes();
        let mut bytes = vec![0; found.len() * page_bytes];
        for (page, place) in found.iter().zip(bytes.chunks_exact_mut(page_bytes.max(1))) {
            self.runner.read_page(*page, place);
        }
        PrefixDone { token_count: found.len() * PAGE_LENGTH, bytes }
    }

    fn write_prefix(&mut self, scope: PrefixScope, pages: &[PageTokens], bytes: &[u8]) -> PrefixDone {
        let (mut parent, mut held) = (Parent::Root(scope), Vec::new());
        for (tokens, bytes) in pages.iter().zip(bytes.chunks_exact(self.runner.page_bytes().max(1))) {
            let key = PageKey { parent, tokens: *tokens };
            let page = match self.pool.find(&key) {
                Some(page) => {
                    self.pool.retain(page);
                    page
                }
                // What is in use is not put out for it.
                None if self.pool.available() == 0 => break,
                None => {
                    let page = self.take_page();
                    self.runner.write_page(page, bytes);
                    self.pool.publish(page, key)
                }
            };
            held.push(page);
            let Some(next) = self.pool.as_parent(page) else { break };
            parent = next;
        }
        let token_count = held.len() * PAGE_LENGTH;
        // The last page first, as sequences do, so that a page is evicted before the one above it.
        held.into_iter().rev().for_each(|page| self.pool.release(page));
        PrefixDone { token_count, bytes: Vec::new() }
    }

    fn forget_prefix(&mut self, scope: PrefixScope, pages: &[PageTokens]) -> PrefixDone {
        let mut found = self.pages_of_prefix(scope, pages);
        let parents: HashSet<Parent> = self.pool.parents().collect();
        let mut count = 0;
        let mut below = None;
        while let Some(page) = found.pop() {
            // The page below, which is gone now, was the only one that followed.
            let is_shared = match below {
                None => self.pool.as_parent(page).is_some_and(|parent| parents.contains(&parent)),
                Some(parent) => self.pool.parents().any(|other| other == parent),
            };
            if is_shared || !self.pool.forget(page) {
                break;
            }
            count += 1;
            below = found.last().and_then(|&above| self.pool.as_parent(above));
        }
        PrefixDone { token_count: count * PAGE_LENGTH, bytes: Vec::new() }
    }
}
