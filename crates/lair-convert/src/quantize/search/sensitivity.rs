//! How much the error of a tensor costs the model.

use super::super::role::Role;

/// How much a tensor's relative error adds to the divergence, in nats, in a model of some thirty layers; only the
/// proportions count.
///
/// Measured on SmolLM2-135M: all tensors of a role in Q4_0 and all others in F16, the divergence over the sum of the relative
/// errors (`docs/decisions/0037-target-size.md`). That model has one matrix as embedding and head; where there are two,
/// the head is taken to have two thirds of it.
pub fn sensitivity(role: Role, is_tied: bool) -> f64 {
    match role {
        Role::Embedding if is_tied => 8.6,
        Role::Output => 5.7,
        Role::Embedding => 2.9,
        Role::Query => 0.046,
        Role::Key => 0.072,
        Role::Value => 0.107,
        Role::AttentionOutput => 0.058,
        Role::Up => 0.162,
        Role::Gate => 0.117,
        Role::Down => 0.292,
        // Unknown matrices are taken for middling ones.
        Role::Other => 0.12,
    }
}
