//! What runs a recording.

use crate::recording::Recording;
use crate::tensor::{Elem, Tensor};
use aloud_format::DType;

/// Holds weights and state, and runs recordings over them.
///
/// Futures are not `Send`: in a browser they live on one thread.
#[expect(async_fn_in_trait, reason = "executors are used generically on one thread; no Send bound is wanted")]
pub trait Executor {
    /// A recording made ready: nothing is created when it runs.
    type Plan;
    /// A result under way from the device.
    type Ticket;
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// A zeroed persistent buffer.
    ///
    /// # Errors
    /// If the device cannot hold or bind it.
    fn create_state(&mut self, label: &str, elem: Elem, shape: &[u32]) -> Result<Tensor, Self::Error>;

    /// Room for a weight to be filled by [`Self::write_weight`]: a matrix `[rows, cols]`, or a stack of matrices
    /// `[n, rows, cols]`, of which none is ever cut where the device has to spread the weight over several buffers.
    ///
    /// # Errors
    /// If the format has no kernel here, or the device cannot hold or bind it; and for a stack of F8_B32 if its matrices
    /// have no multiple of 32 rows.
    fn create_weight(&mut self, label: &str, dtype: DType, shape: &[u32]) -> Result<Tensor, Self::Error>;

    /// Fills whole rows, given in the file's block layout; slices come in any order and begin at even rows, those of
    /// F8_B32 at multiples of 32 rows. The rows of a stack are counted through.
    ///
    /// # Errors
    /// If the device fails.
    fn write_weight(&mut self, weight: Tensor, first_row: u32, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Overwrites part of a state buffer; offset and length are multiples of 4 bytes.
    fn write_state(&mut self, state: Tensor, offset_bytes: u64, bytes: &[u8]);

    /// Makes a recording ready to run. The slow part: shaders compile here and nowhere else.
    ///
    /// # Errors
    /// If an op has no kernel, or a buffer does not fit the device.
    fn compile(&mut self, recording: &Recording) -> Result<Self::Plan, Self::Error>;

    /// Runs a plan without waiting for it. `n_kv` bounds the cached positions after the step, this step's included.
    /// With `result`, a copy of that state buffer travels to the host behind the step.
    ///
    /// # Errors
    /// If the device is lost, or more results are under way than [`Self::max_in_flight`].
    fn submit(
        &mut self,
        plan: &Self::Plan,
        n_kv: u32,
        result: Option<Tensor>,
    ) -> Result<Option<Self::Ticket>, Self::Error>;

    /// Has the device make ready whatever these plans run: on some, the slow part comes at first use. Of every kernel a part
    /// runs, and the caller sees to it that a step has no rows meanwhile.
    ///
    /// # Errors
    /// If the device is lost.
    fn warm_up<'p>(&mut self, plans: impl Iterator<Item = &'p Self::Plan>) -> Result<(), Self::Error>
    where
        Self::Plan: 'p;

    /// Waits for a result and copies it out.
    ///
    /// # Errors
    /// If the device is lost.
    async fn read_ticket(&mut self, ticket: Self::Ticket, out: &mut [u8]) -> Result<(), Self::Error>;

    /// Reads a whole state buffer back; waits for all work before.
    ///
    /// # Errors
    /// If the device is lost.
    async fn read_state(&mut self, state: Tensor) -> Result<Vec<u8>, Self::Error>;

    /// Results that may be under way at once.
    fn max_in_flight(&self) -> usize;

    /// The largest single buffer that a kernel can bind, in bytes.
    fn max_binding_bytes(&self) -> u64;

    /// Bytes held: weights and state, and the activations of all plans.
    fn resident_bytes(&self) -> (u64, u64);
}
