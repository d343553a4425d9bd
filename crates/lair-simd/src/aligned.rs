//! Numbers where vectors find them quickest.

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;

/// So many zeros that begin at a cache line: a vector of sixteen that lies in two takes twice as long to read.
pub struct AlignedF32 {
    /// The numbers, behind some that are left out.
    room: Vec<f32>,
    begin: usize,
}

impl AlignedF32 {
    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        const SPARE: usize = LINE / size_of::<f32>();
        let room = vec![0.0; length + SPARE];
        // No place would be told only where code is run that cannot know it, and then any will do.
        let begin = Some(room.as_ptr().align_offset(LINE)).filter(|&begin| begin <= SPARE).unwrap_or_default();
        Self { room, begin }
    }
}

impl Deref for AlignedF32 {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.room[self.begin..][..self.room.len() - LINE / size_of::<f32>()]
    }
}

impl DerefMut for AlignedF32 {
    fn deref_mut(&mut self) -> &mut [f32] {
        let length = self.len();
        &mut self.room[self.begin..][..length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_begin_at_a_cache_line() {
        for length in [0, 1, 15, 16, 17, 1000, 151_936] {
            let mut zeros = AlignedF32::zeros(length);
            assert_eq!((zeros.len(), zeros.as_ptr() as usize % LINE), (length, 0));
            zeros.iter_mut().for_each(|zero| *zero += 1.0);
            assert!(zeros.iter().all(|&one| one == 1.0));
        }
    }
}
