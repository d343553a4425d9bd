//! How much the error of a tensor costs the model.

use super::super::role::Role;

/// How much a tensor's relative error adds to the divergence, in nats, in a model of some thirty layers; only the
/// proportions count.
///
/// Measured on SmolLM2-135M: all tensors of a role in Q4_0, then in Q5_1, and all others in F16, the divergence over the sum
/// of the relative errors, the geometric mean of both (`docs/decisions/0037-target-size.md`). That model has one matrix as
/// embedding and head; where there are two, the head is taken to have two thirds of it.
pub fn sensitivity(role: Role, is_tied: bool) -> f64 {
    match role {
        Role::Embedding if is_tied => 9.1,
        Role::Output => 6.1,
        Role::Embedding => 3.0,
        Role::Query => 0.029,
        Role::Key => 0.039,
        Role::Value => 0.082,
        Role::AttentionOutput => 0.062,
        Role::Up => 0.139,
        Role::Gate => 0.096,
        Role::Down => 0.177,
        // Unknown matrices are taken for middling ones.
        Role::Other => 0.1,
    }
}
