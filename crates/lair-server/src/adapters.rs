//! The low-rank adapters of a loaded model, and how much of each is used.

use std::sync::{PoisonError, RwLock};

use crate::error::ApiError;

/// Adapters that were loaded with a model. Requests that do not say otherwise use them as they are set here.
#[derive(Debug, Default)]
pub struct Adapters {
    names: Vec<String>,
    scales: RwLock<Vec<f32>>,
}

impl Adapters {
    /// The adapters by their names, each with its factor.
    pub fn new(adapters: impl IntoIterator<Item = (String, f32)>) -> Adapters {
        let (names, scales) = adapters.into_iter().unzip();
        Adapters { names, scales: RwLock::new(scales) }
    }

    /// Their names; a place in this list is an adapter's number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The factors of requests that do not give their own; empty if there are no adapters.
    pub fn scales(&self) -> Vec<f32> {
        self.scales.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets them for the requests to come. Those that run go on as they began.
    pub fn set_scales(&self, scales: Vec<f32>) {
        assert_eq!(scales.len(), self.names.len(), "every adapter has a factor");
        *self.scales.write().unwrap_or_else(PoisonError::into_inner) = scales;
    }

    /// Factors by adapters' numbers, as requests give them: who is not named is not used.
    ///
    /// # Errors
    /// If a number is no adapter's. One that has a factor of 0 may be, as it changes nothing.
    pub fn chosen(&self, field: &str, asked: &[(usize, f32)]) -> Result<Vec<f32>, ApiError> {
        let mut scales = vec![0.0; self.names.len()];
        for &(number, scale) in asked {
            match scales.get_mut(number) {
                Some(place) => *place = scale,
                None if scale == 0.0 => {}
                None => {
                    let count = self.names.len();
                    let cause = match count {
                        0 => format!("`{field}` names adapter {number}, but the model has no adapters"),
                        _ => format!("`{field}` names adapter {number}, the model has those from 0 to {}", count - 1),
                    };
                    return Err(ApiError::bad(field, cause));
                }
            }
        }
        Ok(scales)
    }
}

#[cfg(test)]
mod tests {
    use super::Adapters;

    #[test]
    fn who_is_not_named_is_not_used() {
        let adapters = Adapters::new([("a".to_owned(), 1.0), ("b".to_owned(), 0.5)]);
        assert_eq!(adapters.scales(), [1.0, 0.5]);
        assert_eq!(adapters.chosen("lora", &[(1, 2.0)]).expect("it is there"), [0.0, 2.0]);
        assert_eq!(adapters.chosen("lora", &[(7, 0.0)]).expect("as good as none"), [0.0, 0.0]);
        assert!(adapters.chosen("lora", &[(2, 1.0)]).is_err());
        assert!(Adapters::default().scales().is_empty());
    }
}
