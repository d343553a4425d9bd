//! Pages with reference counts, and the prefix cache that finds a page again by the tokens it holds.
//!
//! A full page can be published under the page before it and its own tokens, which makes the published pages a forest:
//! a path from a root spells a prefix. The index compares keys whole, so a collision of hashes cannot serve the pages of
//! another prompt. A published page that no sequence holds stays, and is evicted when pages run out, the one let go
//! longest ago first. Sequences let go of their last page first, so a page is always evicted before the one above it.

use std::collections::HashMap;

use lair_compute::{PAGE_LENGTH, PageId, StateSlot};

use crate::PrefixScope;

/// The tokens of a full page.
pub(crate) type PageTokens = [u32; PAGE_LENGTH];

/// What a published page follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    /// Nothing: it is the first of a sequence.
    Root(PrefixScope),
    /// The page that was published with this number; numbers are never used again.
    Published(u64),
}

/// Under which a page is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    pub(crate) parent: Parent,
    pub(crate) tokens: PageTokens,
}

struct Publication {
    number: u64,
    key: PageKey,
    /// The recurrent state after the page's last token.
    checkpoint: Option<StateSlot>,
}

struct Page {
    /// Places in page tables that hold it.
    references: u32,
    publication: Option<Publication>,
    /// Neighbours in the order of eviction; stand only while it is evictable.
    earlier: Option<PageId>,
    later: Option<PageId>,
}

/// All pages.
pub(crate) struct PagePool {
    pages: Vec<Page>,
    free: Vec<PageId>,
    index: HashMap<PageKey, PageId>,
    next_number: u64,
    /// Ends of the order of eviction.
    first: Option<PageId>,
    last: Option<PageId>,
    evictable_count: usize,
}

/// A page taken, and what was lost for it.
pub(crate) struct Taken {
    pub(crate) page: PageId,
    /// The checkpoint of the page that was evicted.
    pub(crate) checkpoint: Option<StateSlot>,
}

impl PagePool {
    pub(crate) fn new(page_count: usize) -> Self {
        let page = || Page { references: 0, publication: None, earlier: None, later: None };
        Self {
            pages: (0..page_count).map(|_| page()).collect(),
            // Taken from the end: low pages first.
            free: (0..page_count as u32).rev().map(PageId).collect(),
            index: HashMap::with_capacity(page_count),
            next_number: 0,
            first: None,
            last: None,
            evictable_count: 0,
        }
    }

    pub(crate) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// Pages that can be taken.
    pub(crate) fn available(&self) -> usize {
        self.free.len() + self.evictable_count
    }

    /// Pages that no sequence holds but a prefix may find.
    pub(crate) fn evictable_count(&self) -> usize {
        self.evictable_count
    }

    pub(crate) fn references(&self, page: PageId) -> u32 {
        self.pages[page.0 as usize].references
    }

    /// A page for the caller alone.
    pub(crate) fn take(&mut self) -> Option<Taken> {
        let mut checkpoint = None;
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let page = self.first?;
                self.unlink(page);
                checkpoint = self.unpublish(page);
                page
            }
        };
        self.pages[page.0 as usize].references = 1;
        Some(Taken { page, checkpoint })
    }

    /// One more holder.
    pub(crate) fn retain(&mut self, page: PageId) {
        if self.references(page) == 0 {
            self.unlink(page);
        }
        self.pages[page.0 as usize].references += 1;
    }

    /// One holder less. The last one of a published page leaves it evictable.
    pub(crate) fn release(&mut self, page: PageId) {
        let entry = &mut self.pages[page.0 as usize];
        entry.references = entry.references.checked_sub(1).expect("a page is released by one of its holders");
        if entry.references > 0 {
            return;
        }
        if entry.publication.is_some() {
            self.link_last(page);
        } else {
            self.free.push(page);
        }
    }

    /// The published page of this key, if there is one.
    pub(crate) fn find(&self, key: &PageKey) -> Option<PageId> {
        self.index.get(key).copied()
    }

    /// What a page after this published one follows.
    pub(crate) fn as_parent(&self, page: PageId) -> Option<Parent> {
        self.pages[page.0 as usize].publication.as_ref().map(|publication| Parent::Published(publication.number))
    }

    /// Makes a full page findable. If another one holds the same tokens after the same prefix, returns that instead.
    pub(crate) fn publish(&mut self, page: PageId, key: PageKey) -> PageId {
        if let Some(&found) = self.index.get(&key) {
            return found;
        }
        let entry = &mut self.pages[page.0 as usize];
        debug_assert!(entry.references > 0 && entry.publication.is_none());
        entry.publication = Some(Publication { number: self.next_number, key, checkpoint: None });
        self.next_number += 1;
        self.index.insert(key, page);
        page
    }

    pub(crate) fn checkpoint(&self, page: PageId) -> Option<StateSlot> {
        self.pages[page.0 as usize].publication.as_ref().and_then(|publication| publication.checkpoint)
    }

    /// Sets or takes away the checkpoint of a published page; returns the one before.
    pub(crate) fn set_checkpoint(&mut self, page: PageId, checkpoint: Option<StateSlot>) -> Option<StateSlot> {
        let publication = self.pages[page.0 as usize].publication.as_mut();
        let publication = publication.expect("only published pages have checkpoints");
        std::mem::replace(&mut publication.checkpoint, checkpoint)
    }

    /// What the published pages follow.
    pub(crate) fn parents(&self) -> impl Iterator<Item = Parent> + '_ {
        self.index.keys().map(|key| key.parent)
    }

    /// Makes a published page free that no sequence holds and that has no checkpoint; `false` if it is not such a one.
    pub(crate) fn forget(&mut self, page: PageId) -> bool {
        if self.references(page) > 0 || self.checkpoint(page).is_some() {
            return false;
        }
        self.unlink(page);
        self.unpublish(page);
        self.free.push(page);
        true
    }

    fn unpublish(&mut self, page: PageId) -> Option<StateSlot> {
        let publication = self.pages[page.0 as usize].publication.take();
        let publication = publication.expect("only published pages are evictable");
        self.index.remove(&publication.key);
        publication.checkpoint
    }

    fn link_last(&mut self, page: PageId) {
        let last = self.last.replace(page);
        match last {
            Some(last) => self.pages[last.0 as usize].later = Some(page),
            None => self.first = Some(page),
        }
        let entry = &mut self.pages[page.0 as usize];
        (entry.earlier, entry.later) = (last, None);
        self.evictable_count += 1;
    }

    fn unlink(&mut self, page: PageId) {
        let entry = &mut self.pages[page.0 as usize];
        let (earlier, later) = (entry.earlier.take(), entry.later.take());
        match earlier {
            Some(earlier) => self.pages[earlier.0 as usize].later = later,
            None => self.first = later,
        }
        match later {
            Some(later) => self.pages[later.0 as usize].earlier = earlier,
            None => self.last = earlier,
        }
        self.evictable_count -= 1;
    }

    /// Asserts that every page is in exactly one place and counted right; `held` lists the pages of all page tables.
    /// Returns the checkpoints that pages have.
    ///
    /// # Panics
    /// If not, which is a bug of the engine.
    pub(crate) fn check_integrity(&self, held: impl Iterator<Item = PageId>) -> Vec<StateSlot> {
        let mut references = vec![0; self.pages.len()];
        held.for_each(|page| references[page.0 as usize] += 1);
        let mut places = vec![0; self.pages.len()];
        self.free.iter().for_each(|page| places[page.0 as usize] += 1);
        let mut evictable = Vec::new();
        let mut next = self.first;
        while let Some(page) = next {
            evictable.push(page);
            places[page.0 as usize] += 1;
            assert!(evictable.len() <= self.pages.len(), "the order of eviction is a circle");
            next = self.pages[page.0 as usize].later;
        }
        assert_eq!(evictable.len(), self.evictable_count);
        assert_eq!(evictable.last().copied(), self.last);
        let mut published = 0;
        for (index, page) in self.pages.iter().enumerate() {
            assert_eq!(page.references, references[index], "page {index} is held otherwise than counted");
            assert_eq!(places[index], usize::from(page.references == 0), "page {index} is in several places or none");
            if let Some(publication) = &page.publication {
                published += 1;
                assert_eq!(self.index.get(&publication.key), Some(&PageId(index as u32)));
            }
        }
        assert_eq!(published, self.index.len());
        assert!(self.free.iter().all(|page| self.pages[page.0 as usize].publication.is_none()));
        self.check_order_of_eviction(&evictable);
        self.pages.iter().filter_map(|page| page.publication.as_ref()?.checkpoint).collect()
    }

    /// Asserts that every parent is published, and evicted after its children.
    fn check_order_of_eviction(&self, evictable: &[PageId]) {
        let order: HashMap<PageId, usize> = evictable.iter().enumerate().map(|(order, &page)| (page, order)).collect();
        let numbered: HashMap<u64, PageId> = self
            .index
            .values()
            .map(|&page| (self.number(page).expect("the index lists published pages"), page))
            .collect();
        for (key, page) in &self.index {
            let Parent::Published(number) = key.parent else { continue };
            let parent = numbered.get(&number).expect("the parent of a published page is published");
            match (order.get(page), order.get(parent)) {
                (Some(page), Some(parent)) => assert!(page < parent, "a parent is evicted before its child"),
                (None, Some(_)) => panic!("a page is held, but not the one before it"),
                _ => {}
            }
        }
    }

    /// The number under which a page is published.
    pub(crate) fn number(&self, page: PageId) -> Option<u64> {
        self.pages[page.0 as usize].publication.as_ref().map(|publication| publication.number)
    }
}
