//! Makes a smaller model file of a larger one: which type each tensor gets, and the writing of it.
