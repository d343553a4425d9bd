//! `lair gguf hash`: hashes of the weights, which do not change with the keys.

use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::opened::Opened;
use crate::failure::Outcome;

/// What to hash.
#[derive(Args, Debug)]
pub struct HashArgs {
    /// The file, any shard of a split model, or as `hf.co/USER/REPOSITORY:QUANT` or a link what a server has
    file: String,
    /// XXH64 instead of SHA-256: fast, for finding damage only
    #[arg(long)]
    xxh64: bool,
    /// Only the hash of all tensors together
    #[arg(long)]
    no_layer: bool,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs the command. Lines are those of llama.cpp's `gguf-hash`.
pub fn hash(args: &HashArgs) -> Outcome {
    let opened = Opened::new(&args.file)?;
    let kind = if args.xxh64 { "xxh64" } else { "sha256" };
    let mut all = Hasher::new(args.xxh64);
    let mut tensors = Vec::new();
    for tensor in opened.model().tensors() {
        let mut of_tensor = Hasher::new(args.xxh64);
        opened.read(tensor, |bytes| {
            all.update(bytes);
            if !args.no_layer {
                of_tensor.update(bytes);
            }
            Ok(())
        })?;
        if !args.no_layer {
            tensors.push((tensor.name.as_str(), of_tensor.finish()));
        }
    }
    let all = all.finish();
    if args.json {
        let tensors: serde_json::Map<_, _> =
            tensors.into_iter().map(|(name, hash)| (name.to_owned(), json!(hash))).collect();
        println!("{:#}", json!({ "file": args.file, "kind": kind, "hash": all, "tensors": tensors }));
        return Ok(());
    }
    for (name, hash) in tensors {
        println!("{kind:8}  {hash}  {}:{name}", args.file);
    }
    println!("{kind:8}  {all}  {}", args.file);
    Ok(())
}

enum Hasher {
    Sha256(Box<Sha256>),
    Xxh64(Box<Xxh64>),
}

impl Hasher {
    fn new(is_fast: bool) -> Hasher {
        if is_fast { Hasher::Xxh64(Box::new(Xxh64::new())) } else { Hasher::Sha256(Box::default()) }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Xxh64(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Hasher::Sha256(hasher) => hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            Hasher::Xxh64(hasher) => format!("{:016x}", hasher.finish()),
        }
    }
}

/// XXH64 with seed 0. Source: the specification of xxHash, version 0.1.1.
struct Xxh64 {
    lanes: [u64; 4],
    /// What does not fill a stripe of 32 bytes yet.
    rest: Vec<u8>,
    length: u64,
}

const PRIMES: [u64; 5] =
    [0x9e37_79b1_85eb_ca87, 0xc2b2_ae3d_27d4_eb4f, 0x1656_67b1_9e37_79f9, 0x85eb_ca77_c2b2_ae63, 0x27d4_eb2f_1656_67c5];

impl Xxh64 {
    fn new() -> Xxh64 {
        let lanes = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, 0_u64.wrapping_sub(PRIMES[0])];
        Xxh64 { lanes, rest: Vec::with_capacity(32), length: 0 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let (head, tail) = bytes.split_at(bytes.len().min(32 - self.rest.len()));
            self.rest.extend(head);
            bytes = tail;
            if let Ok(stripe) = <[u8; 32]>::try_from(self.rest.as_slice()) {
                self.stripe(&stripe);
                self.rest.clear();
            }
        }
        let (stripes, tail) = bytes.as_chunks::<32>();
        stripes.iter().for_each(|stripe| self.stripe(stripe));
        self.rest.extend(tail);
    }

    fn stripe(&mut self, stripe: &[u8; 32]) {
        for (lane, bytes) in self.lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
            *lane = round(*lane, u64::from_le_bytes(*bytes));
        }
    }

    fn finish(&self) -> u64 {
        let mut hash = if self.length >= 32 {
            let turned = self.lanes.iter().zip([1, 7, 12, 18]).map(|(lane, by)| lane.rotate_left(by));
            let sum = turned.fold(0_u64, u64::wrapping_add);
            self.lanes
                .iter()
                .fold(sum, |hash, lane| (hash ^ round(0, *lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]))
        } else {
            PRIMES[4]
        };
        hash = hash.wrapping_add(self.length);
        let (words, rest) = self.rest.as_chunks::<8>();
        for word in words {
            hash = (hash ^ round(0, u64::from_le_bytes(*word))).rotate_left(27);
            hash = hash.wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
        }
        let (halves, rest) = rest.as_chunks::<4>();
        for half in halves {
            hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIMES[0]);
            hash = hash.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
        }
        for byte in rest {
            hash ^= u64::from(*byte).wrapping_mul(PRIMES[4]);
            hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
        }
        hash = (hash ^ hash >> 33).wrapping_mul(PRIMES[1]);
        hash = (hash ^ hash >> 29).wrapping_mul(PRIMES[2]);
        hash ^ hash >> 32
    }
}

fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xxh64_gives_the_published_values_however_the_bytes_come() {
        // Made with the Python package `xxhash`.
        let bytes: Vec<u8> = (0..101_u8).collect();
        let cases = [(0, XXH_0), (1, XXH_1), (14, XXH_14), (32, XXH_32), (101, XXH_101)];
        for (length, expected) in cases {
            for piece in [1, 5, 32, 200] {
                let mut hasher = Xxh64::new();
                bytes[..length].chunks(piece).for_each(|piece| hasher.update(piece));
                assert_eq!(hasher.finish(), expected, "{length} bytes in pieces of {piece}");
            }
        }
    }

    const XXH_0: u64 = 0xef46db3751d8e999;
    const XXH_1: u64 = 0xe934a84adb052768;
    const XXH_14: u64 = 0x5cda8b69bbfc1d45;
    const XXH_32: u64 = 0xcbf59c5116ff32b4;
    const XXH_101: u64 = 0xe99038495f85381e;
}
