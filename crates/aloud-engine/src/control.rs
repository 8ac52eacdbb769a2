//! Reaching into a generation from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Reaches into a generation while it is under way; clones reach into the same one.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<AtomicBool>);

impl Control {
    /// Closes the thought, so that the answer begins: a few tokens that are under way may still come. Outside of a thought
    /// nothing changes, but none can begin any more.
    pub fn answer_now(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether that was asked for since the last call.
    pub(crate) fn take_answer_now(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}
