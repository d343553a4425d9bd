//! Sequences, pages and state, scheduler, sampler and the step.
