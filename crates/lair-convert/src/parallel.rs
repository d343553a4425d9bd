//! Rows made by several threads, each row by one of them: what comes out does not depend on how many there are.

use std::sync::{Mutex, PoisonError};

/// Elements that a thread takes at a time: long enough that taking costs nothing, short enough that all have some.
const PIECE_ELEMENTS: usize = 1 << 16;

/// Threads that this process may run at once.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Fills `out`, rows of `row_bytes` made of `row_length` elements, by `make`: it gets the index of its first row and the
/// bytes of some rows. The first error in the order of threads is given.
pub(crate) fn fill_rows<E: Send>(
    out: &mut [u8],
    row_bytes: usize,
    row_length: usize,
    make: impl Fn(usize, &mut [u8]) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if out.is_empty() || row_bytes == 0 {
        return Ok(());
    }
    let piece_rows = (PIECE_ELEMENTS / row_length.max(1)).max(1);
    let pieces = out.chunks_mut(piece_rows * row_bytes);
    let threads = threads().min(pieces.len());
    let queue = Mutex::new(pieces.enumerate());
    let work = || {
        loop {
            let piece = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, piece)) = piece else { return Ok(()) };
            make(index * piece_rows, piece)?;
        }
    };
    if threads <= 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let own = work();
        let others = helpers.into_iter().map(|helper| helper.join().expect("making rows does not panic"));
        others.fold(own, |first, next| first.and(next))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_made_once_and_in_its_place() {
        for (rows, row_length) in [(0, 4), (1, 1), (70_000, 2), (3, 100_000), (1000, 0)] {
            let mut out = vec![0u8; rows * 4];
            fill_rows(&mut out, 4, row_length, |first, piece| {
                for (index, row) in piece.chunks_mut(4).enumerate() {
                    let old = u32::from_le_bytes(row.try_into().expect("four bytes"));
                    row.copy_from_slice(&(old + (first + index) as u32 + 1).to_le_bytes());
                }
                Ok::<(), ()>(())
            })
            .expect("nothing fails");
            let found: Vec<u32> = out.chunks(4).map(|row| u32::from_le_bytes(row.try_into().expect("four"))).collect();
            assert_eq!(found, (1..=rows as u32).collect::<Vec<_>>());
        }
        let failed = fill_rows(&mut [0; 8], 4, 1 << 17, |first, _| if first == 1 { Err(first) } else { Ok(()) });
        assert_eq!(failed, Err(1));
    }
}
