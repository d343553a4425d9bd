//! The variables a template sees: frames, each inside another.

use std::cell::RefCell;
use std::rc::Rc;

use super::value::Value;

/// The variables set in one block with a scope of its own.
pub(super) struct Frame<'t> {
    variables: RefCell<Vec<(&'t str, Value<'t>)>>,
    pub parent: Option<Rc<Frame<'t>>>,
}

impl<'t> Frame<'t> {
    pub(super) fn new(parent: Option<Rc<Frame<'t>>>) -> Rc<Frame<'t>> {
        Rc::new(Frame { variables: RefCell::default(), parent })
    }

    /// Sets a variable of this frame, hiding those of the frames around it.
    pub(super) fn set(&self, name: &'t str, value: Value<'t>) {
        let mut variables = self.variables.borrow_mut();
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => variables.push((name, value)),
        }
    }

    /// The value of `name` here or in the nearest frame around.
    pub(super) fn get(&self, name: &str) -> Option<Value<'t>> {
        let mut frame = self;
        loop {
            if let Some((_, value)) = frame.variables.borrow().iter().find(|(known, _)| *known == name) {
                return Some(value.clone());
            }
            frame = frame.parent.as_deref()?;
        }
    }
}
