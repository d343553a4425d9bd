//! The evaluated arguments of a call, and how they meet parameters.

use super::error::{TemplateError, TemplateFault};
use super::value::Value;

#[derive(Default)]
pub(super) struct CallArguments<'t> {
    pub positional: Vec<Value<'t>>,
    pub keyword: Vec<(String, Value<'t>)>,
}

impl<'t> CallArguments<'t> {
    /// The argument for each of `names`, by place or by name; anything left over is refused.
    pub(super) fn bind<const N: usize>(
        self,
        function: &str,
        names: [&str; N],
    ) -> Result<[Option<Value<'t>>; N], TemplateError> {
        let found = self.positional.len();
        if found > N {
            let message = format!("{function}() takes at most {N} arguments ({found} given)");
            return Err(TemplateFault::type_error(message));
        }
        let mut bound = [const { None }; N];
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.keyword {
            match names.iter().position(|known| *known == name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => {
                    let message = format!("{function}() got multiple values for argument '{name}'");
                    return Err(TemplateFault::type_error(message));
                }
                None => {
                    let message = format!("{function}() got an unexpected keyword argument '{name}'");
                    return Err(TemplateFault::type_error(message));
                }
            }
        }
        Ok(bound)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.positional.is_empty() && self.keyword.is_empty()
    }
}
