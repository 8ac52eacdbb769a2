//! However large a weight is, and however it is cut, no more than a ring of buffers waits in memory, and every row arrives.

use aloud_cpu::CpuExecutor;
use aloud_format::DType;
use aloud_gpu::{GpuExecutor, MAX_STAGING_BYTES};
use aloud_ops::{Executor, Recording, Step, Tensor};
use aloud_tests::{Numbers, executors, expose, floats, relative_error};

const COLS: u32 = 512;
/// 32 MiB of f32: several times what the ring holds.
const ROWS: u32 = 16_384;
/// Bytes of such a row.
const ROW_BYTES: usize = COLS as usize * 4;

/// The product of a weight that is written in slices of so many rows, and of a vector.
fn product<E: Executor>(e: &mut E, bytes: &[u8], slice_rows: usize, mut look: impl FnMut(&E)) -> Vec<f32> {
    let step = e.create_state("step", aloud_ops::Elem::U32, &[4]).expect("fits");
    e.write_state(step, 0, bytemuck::bytes_of(&Step { n_tokens: 1, ..Step::default() }));
    let weight = e.create_weight("large", DType::F32, &[ROWS, COLS]).expect("fits");
    for (i, slice) in bytes.chunks(slice_rows * ROW_BYTES).enumerate() {
        e.write_weight(weight, (i * slice_rows) as u32, slice).expect("is written");
        look(e);
    }
    let x = floats(e, &[1, COLS], &Numbers::new(7).with_outliers(COLS as usize));
    let mut rec = Recording::new(step, 1);
    aloud_ops::matmul(&mut rec, "product", x, weight, None);
    let y: Tensor = expose(e, &mut rec);
    let plan = e.compile(&rec).expect("has kernels");
    e.submit(&plan, 1, None).expect("runs");
    look(e);
    let y = pollster::block_on(e.read_state(y)).expect("is read");
    bytemuck::cast_slice::<u8, f32>(&y).to_vec()
}

#[test]
fn a_weight_larger_than_the_ring_goes_through_it() {
    let bytes = Numbers::new(5).matrix(DType::F32, ROWS, COLS);
    assert!(bytes.len() as u64 > 2 * MAX_STAGING_BYTES, "the ring is used again and again");
    let expected = product(&mut CpuExecutor::new(), &bytes, ROWS as usize, |_| ());
    for (adapter, mut executor) in executors() {
        for slice_rows in [64, 2_048, ROWS as usize] {
            let before = executor.gpu().counters();
            let (mut most, mut last) = (0, 0);
            let found = product(&mut executor, &bytes, slice_rows, |e: &GpuExecutor| {
                last = e.staging_bytes();
                most = most.max(last);
            });
            let during = executor.gpu().counters() - before;
            let error = relative_error(&found, &expected);
            assert!(error < 3e-6, "{adapter}, {slice_rows} rows at once: {error:e}");
            assert!(most > 0 && most <= MAX_STAGING_BYTES, "{adapter}, {slice_rows} rows at once: {most} bytes wait");
            assert_eq!(last, 0, "{adapter}: a step needs no ring");
            // Step, weight, vector, product, what it is read through, and what the plan makes; the rest is the ring.
            assert!(during.buffers < 12, "{adapter}, {slice_rows} rows at once: {} buffers", during.buffers);
        }
    }
}
