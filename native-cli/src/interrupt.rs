//! Ctrl-C: once stops the answer, a second time, or where there is none, the program.

use crate::failure::INTERRUPTED;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};

const IDLE: u8 = 0;
const ANSWERING: u8 = 1;
const STOPPING: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// Takes Ctrl-C over.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if STATE.compare_exchange(ANSWERING, STOPPING, SeqCst, SeqCst).is_err() {
            std::process::exit(i32::from(INTERRUPTED));
        }
    })
    .context("Ctrl-C cannot be caught")
}

/// While this lives, the first Ctrl-C only makes [`requested`] true.
pub struct Answering;

impl Answering {
    /// Begins an answer.
    pub fn begin() -> Self {
        STATE.store(ANSWERING, SeqCst);
        Answering
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        STATE.store(IDLE, SeqCst);
    }
}

/// Whether the answer is to stop.
pub fn requested() -> bool {
    STATE.load(SeqCst) == STOPPING
}
