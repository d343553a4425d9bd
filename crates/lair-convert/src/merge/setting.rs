//! A parameter: a number for all tensors, a list that is interpolated over the layers, or several with filters.

use serde_json::Value as Json;

use super::error::MergeError;

/// A parameter's values, the first whose filter a tensor's name contains counts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting(Vec<Conditional>);

#[derive(Clone, Debug, PartialEq)]
struct Conditional {
    filter: Option<String>,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    Numbers(Vec<f64>),
    Flags(Vec<bool>),
}

impl Setting {
    /// Reads the value of the parameter `name`.
    pub(super) fn parse(name: &str, json: &Json) -> Result<Setting, MergeError> {
        let conditional = |json: &Json| -> Result<Conditional, MergeError> {
            let wrong =
                || MergeError::config(format!("`{name}`"), json, "`value`, and `filter` if it is for some tensors");
            let keys = json.as_object().ok_or_else(wrong)?;
            if let Some(key) = keys.keys().find(|key| !["value", "filter"].contains(&key.as_str())) {
                return Err(MergeError::config(
                    format!("`{name}`"),
                    format!("the key `{key}`"),
                    "`value` and `filter`",
                ));
            }
            let filter = match keys.get("filter") {
                None | Some(Json::Null) => None,
                Some(Json::String(text)) if text == "*" => None,
                Some(Json::String(text)) => Some(text.clone()),
                Some(_) => return Err(wrong()),
            };
            Ok(Conditional { filter, values: Values::parse(name, keys.get("value").ok_or_else(wrong)?)? })
        };
        Ok(Setting(match json {
            Json::Object(_) => vec![conditional(json)?],
            Json::Array(list) if list.iter().any(Json::is_object) => {
                list.iter().map(conditional).collect::<Result<_, _>>()?
            }
            other => vec![Conditional { filter: None, values: Values::parse(name, other)? }],
        }))
    }

    fn values(&self, tensor: &str) -> Option<&Values> {
        let fits = |entry: &&Conditional| entry.filter.as_ref().is_none_or(|filter| tensor.contains(filter.as_str()));
        self.0.iter().find(fits).map(|entry| &entry.values)
    }

    /// The number for the tensor, at the place `t` between the first layer, 0, and the last, 1.
    pub(super) fn number(&self, tensor: &str, t: f64) -> Option<f64> {
        match self.values(tensor)? {
            Values::Numbers(values) => Some(interpolated(values, t)),
            Values::Flags(values) => Some(f64::from(u8::from(at(values, t)))),
        }
    }

    /// The yes or no for the tensor.
    pub(super) fn flag(&self, tensor: &str, t: f64) -> Option<bool> {
        match self.values(tensor)? {
            Values::Numbers(values) => Some(at(values, t) != 0.0),
            Values::Flags(values) => Some(at(values, t)),
        }
    }
}

impl Values {
    fn parse(name: &str, json: &Json) -> Result<Values, MergeError> {
        let wrong = || MergeError::config(format!("`{name}`"), json, "a number, or a list of numbers for the layers");
        let list = match json {
            Json::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        if list.is_empty() {
            return Err(wrong());
        }
        if list.iter().all(Json::is_boolean) {
            return Ok(Values::Flags(list.iter().filter_map(Json::as_bool).collect()));
        }
        // YAML reads `1e-3` as a text.
        let number =
            |json: &Json| json.as_f64().or_else(|| json.as_str()?.parse().ok()).filter(|n: &f64| n.is_finite());
        Ok(Values::Numbers(list.iter().map(number).collect::<Option<_>>().ok_or_else(wrong)?))
    }
}

fn interpolated(values: &[f64], t: f64) -> f64 {
    let scaled = t * (values.len() - 1) as f64;
    let first = (scaled as usize).min(values.len() - 1);
    let second = (first + 1).min(values.len() - 1);
    let part = scaled - first as f64;
    (1.0 - part) * values[first] + part * values[second]
}

fn at<T: Copy>(values: &[T], t: f64) -> T {
    values[((t * (values.len() - 1) as f64) as usize).min(values.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_interpolated_and_the_first_filter_that_fits_counts() {
        let number = |json: Json, tensor: &str, t: f64| Setting::parse("t", &json).expect("sound").number(tensor, t);
        assert_eq!(number(json!(0.5), "x", 0.3), Some(0.5));
        assert_eq!(number(json!([0, 1]), "x", 0.25), Some(0.25));
        assert_eq!(number(json!([0, 0.5, 1]), "x", 1.0), Some(1.0));
        assert_eq!(number(json!([0, 0.5, 0]), "x", 0.75), Some(0.25));
        let several = json!([{"filter": "self_attn", "value": [0, 1]}, {"filter": "mlp", "value": 2}, {"value": 3}]);
        assert_eq!(number(several.clone(), "model.layers.0.self_attn.q_proj.weight", 0.5), Some(0.5));
        assert_eq!(number(several.clone(), "model.layers.0.mlp.up_proj.weight", 0.5), Some(2.0));
        assert_eq!(number(several, "model.norm.weight", 0.5), Some(3.0));
        assert_eq!(number(json!([{"filter": "mlp", "value": 2}]), "lm_head.weight", 0.0), None);
        assert_eq!(Setting::parse("normalize", &json!([true, false])).expect("sound").flag("x", 1.0), Some(false));
        for wrong in [json!([]), json!("much"), json!({"filter": "x"}), json!([{"value": 1, "when": 2}]), json!(null)] {
            assert!(Setting::parse("t", &wrong).is_err(), "{wrong}");
        }
    }
}
