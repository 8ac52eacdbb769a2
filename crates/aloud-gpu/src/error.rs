//! What can go wrong with a device.

use aloud_ops::DType;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// There is nothing to run on.
    #[error(
        "no GPU adapter: expected at least one Vulkan, Metal, DX12 or WebGPU adapter, found none; install the driver of \
         your GPU, or a software one (on Debian: apt-get install mesa-vulkan-drivers)"
    )]
    NoAdapter,
    /// The adapter that was asked for is not there.
    #[error("no adapter matches `{wanted}`: found {found}; choose by number or by a part of the name")]
    NoSuchAdapter {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The driver refused to open the device.
    #[error("adapter `{adapter}` did not open: {reason}")]
    DeviceRefused {
        /// Which adapter.
        adapter: String,
        /// What the driver said.
        reason: String,
    },
    /// The device stopped working.
    #[error("the device was lost: {reason}; load the model again")]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },
    /// The device has no room left.
    #[error("the device is out of memory: {reason}; use a smaller quantisation or a smaller context")]
    OutOfMemory {
        /// What the driver said.
        reason: String,
    },
    /// The device refused something that we asked of it.
    #[error("the device refused a request: {reason}")]
    Refused {
        /// What the driver said.
        reason: String,
    },
    /// A weight format without kernels.
    #[error(
        "weight `{name}` is {dtype}, which has no kernel here; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, \
         Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, and F8_E4M3 with scales of 128 x 128: take another quantisation of the model"
    )]
    Unsupported {
        /// Which weight.
        name: String,
        /// Its format.
        dtype: DType,
    },
    /// A row length that the kernels cannot walk.
    #[error("weight `{name}` has rows of {cols} values; expected a multiple of {multiple}")]
    RowLength {
        /// Which weight.
        name: String,
        /// Its columns.
        cols: u32,
        /// What they must be a multiple of.
        multiple: u32,
    },
    /// A stack of matrices that would share scales.
    #[error("weight `{name}` is a stack of matrices of {rows} rows; expected a multiple of {multiple} for its format")]
    StackRows {
        /// Which weight.
        name: String,
        /// Rows of each matrix.
        rows: u32,
        /// What they must be a multiple of.
        multiple: u64,
    },
    /// A buffer that one kernel cannot see whole.
    #[error("`{name}` needs a buffer of {need_bytes} bytes, this device binds at most {limit_bytes}; {way_out}")]
    BindingTooLarge {
        /// Which buffer.
        name: String,
        /// Its size.
        need_bytes: u64,
        /// The device's limit.
        limit_bytes: u64,
        /// What helps.
        way_out: &'static str,
    },
    /// More results under way than the ring holds.
    #[error("{limit} results are under way; read one before the next")]
    RingFull {
        /// Size of the ring.
        limit: usize,
    },
}
