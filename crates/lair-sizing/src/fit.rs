//! What memory a model takes, told from the size of its file.

/// Memory that is left to the rest of the system and of the program.
pub const RESERVE_BYTES: u64 = 256 << 20;
/// The part of its weights that a model's keys and values of some thousand tokens, and what a step computes with, take:
/// 4096 tokens of a model with eight key/value heads of 128 in F16 are 64 KiB a layer and token pair, a tenth of its
/// weights in four bits; the rest is for the steps.
const WORKING_SHARE: f64 = 0.125;

/// The least memory in which a model with weights of this size can be loaded at all.
pub fn least_bytes(weights_bytes: u64) -> u64 {
    weights_bytes.saturating_add(RESERVE_BYTES)
}

/// The memory in which it can be used: with room for keys and values of some thousand tokens. An estimate, as nothing but
/// the size of the file is known before it is here.
pub fn comfortable_bytes(weights_bytes: u64) -> u64 {
    least_bytes(weights_bytes).saturating_add((weights_bytes as f64 * WORKING_SHARE) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_needs_more_than_its_weights() {
        assert_eq!(least_bytes(1 << 30), (1 << 30) + RESERVE_BYTES);
        assert_eq!(comfortable_bytes(1 << 30), (1 << 30) + RESERVE_BYTES + (1 << 27));
        assert_eq!(comfortable_bytes(u64::MAX), u64::MAX, "a size that no file has");
    }
}
